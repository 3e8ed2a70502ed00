/* probe.c - looks at itself and ends. See probe.h. Exit status: 0, or what it has not found as it should be. */
#include "probe.h"

#include <elf.h>
#include <string.h>

static int in_data = 1, in_bss;
static int *const moved = &in_data;

static const uint64_t *strings(struct report *r, const uint64_t *words, uint64_t *lo, uint64_t *hi)
{
	for (; *words; words++) {
		const char *s = (const char *)*words;
		if (!*lo)
			*lo = *words;
		else
			r->in_a_row += *words == *hi;
		*hi = *words + strlen(s) + 1;
		r->strings = hash(r->strings, s, strlen(s) + 1);
	}
	return words + 1;
}

static void stack_image(struct report *r)
{
	const uint64_t *words = program_stack + 1, *env, *aux;

	r->sp = (va_t)program_stack;
	r->argc = program_stack[0];
	r->strings = HASH_FIRST;
	env = strings(r, words, &r->args_lo, &r->args_hi);
	aux = strings(r, env, &r->env_lo, &r->env_hi);
	r->envc = (uint64_t)(aux - env) - 1;
	do {
		if (r->naux < 24)
			memcpy(r->aux + 2 * r->naux, aux, 16);
		r->naux++;
		aux += 2;
	} while (aux[-2] != AT_NULL);
}

static uint64_t auxiliary(const struct report *r, uint64_t type)
{
	for (uint64_t i = 0; i < r->naux && i < 24; i++)
		if (r->aux[2 * i] == type)
			return r->aux[2 * i + 1];
	return 0;
}

static __attribute__((noinline)) void crash(void) { __asm__ volatile("ud2"); }

int main(int argc, char **argv)
{
	int64_t page = mm_map(REPORT_AT, sizeof(struct report), RIGHT_R | RIGHT_W, MM_FIXED | MM_NOREPLACE | MM_EAGER);
	struct report *r = (struct report *)page;
	struct region *stack = region_find(space_current(), (va_t)&page);

	if (argc == 2 && strcmp(argv[1], "crash") == 0) /* test/boot/where.py */
		crash();
	if (mm_failed(page) || sizeof(*r) > FH_PAGE)
		return 1;
	stack_image(r);
	if ((uint64_t)argc != r->argc || argv != (char **)(program_stack + 1) || argv[argc] || !auxiliary(r, AT_RANDOM))
		return 2;
	r->image = layout_named("[text]").lo;
	r->text = (va_t)main;
	r->data = (va_t)&in_data;
	r->bss = (va_t)&in_bss;
	r->moved = (va_t)moved;
	r->image_end = layout_named("[bss]").hi;
	r->heap = heap_start();
	r->brk = heap_end();
	r->mmap_base = layout_mmap.hi;
	r->mapping = (va_t)mm_map(0, FH_PAGE, RIGHT_R | RIGHT_W, 0);
	r->second = (va_t)mm_map(0, FH_PAGE, RIGHT_R | RIGHT_W, 0);
	r->stack_base = stack->base;
	r->stack_end = stack->end;
	r->last_page = (va_t)mm_map(0x7fffffffe000, FH_PAGE, RIGHT_R, MM_FIXED | MM_NOREPLACE);
	r->seed = layout_here.seed;
	r->stack_limit = layout_here.stack_limit;
	r->headers = hash(HASH_FIRST, (void *)auxiliary(r, AT_PHDR), auxiliary(r, AT_PHNUM) * auxiliary(r, AT_PHENT));
	memcpy(r->random, (void *)auxiliary(r, AT_RANDOM), 16);
	strncpy(r->name, (const char *)auxiliary(r, AT_EXECFN), sizeof(r->name) - 1);
	*(volatile char *)heap_grow(100) = 1;
	*(volatile char *)r->mapping = 1;
	return 0;
}
