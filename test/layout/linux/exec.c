/* exec.c - lines 1 to 3: what a program finds when it starts. Probes are started and tell. */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "child.h"
#include "parts.h"
#include "probe.h"

extern const char probe_exec[], probe_exec_end[], probe_pie[], probe_pie_end[];

struct kind {
	const char *name, *elf;
	size_t bytes;
	bool moves;
};
enum { EXEC, PIE };
static struct kind kinds[2];

static void find_kinds(void)
{
	kinds[EXEC] = (struct kind){"ET_EXEC", probe_exec, (size_t)(probe_exec_end - probe_exec), false};
	kinds[PIE] = (struct kind){"static-pie", probe_pie, (size_t)(probe_pie_end - probe_pie), true};
}

static char *const few_args[] = {"dir/probe.elf", "", "two words", NULL};
static char *const few_env[] = {"HOME=/", "EMPTY=", NULL};

/* Start a probe, wait, copy its report. */
static bool probe(const struct kind *k, char *const *argv, const struct spawn_options *o, struct report *out)
{
	struct env *e = NULL;
	struct report *there = NULL;

	memset(out, 0, sizeof(*out));
	if (!expect_returns(spawn(&e, k->elf, k->bytes, argv, o), 0, "a %s starts", k->name))
		return false;
	bool good = expect(env_wait(e) == ENV_EXITED, "it ends by itself") && expect_is(env_status(e), 0, "its status");
	struct space s = child_space(e);
	pte_t entry = good ? space_get(&s, REPORT_AT) : 0;
	space_unpeek(&s);
	if (good && (there = scratch_map(fh_pte_pfn(entry), 1, RIGHT_R)) != NULL) {
		*out = *there;
		scratch_put((va_t)there, 1);
	}
	env_reap(&e, NULL);
	return expect(there != NULL, "its report can be read");
}

static bool probe_seed(const struct kind *k, uint64_t seed, uint64_t limit, struct report *out)
{
	return probe(k, few_args, &(struct spawn_options){.seed = seed, .stack_limit = limit, .envp = few_env, .slots = 8}, out);
}

/* ---- 1 ---- */

void order(void)
{
	struct report r;

	find_kinds();
	for (unsigned i = 0; i < 4; i++) {
		const struct kind *k = &kinds[i / 2];
		if (!probe_seed(k, i % 2 * 12345, 0, &r))
			return;
		expect(r.text < r.data && r.data < r.bss && r.bss < r.heap && r.heap <= r.brk, "%s: text, data, bss, heap: %#lx %#lx %#lx %#lx",
		       k->name, r.text, r.data, r.bss, r.heap);
		expect(r.mapping > r.brk && r.mapping - r.brk > 16ul << 40, "%s: mappings, at %#lx, are far above brk %#lx", k->name, r.mapping, r.brk);
		expect(r.mapping < r.stack_base && r.stack_base < r.sp && r.sp < r.args_lo && r.args_lo < r.args_hi && r.args_hi <= r.env_lo &&
		       r.env_hi < r.stack_end && r.stack_end <= LINUX_TASK_SIZE,
		       "%s: mapping, stack, arguments, environment: %#lx %#lx %#lx %#lx", k->name, r.mapping, r.sp, r.args_lo, r.env_lo);
	}
	/* And here, by name. */
	static int data = 1, bss;
	const struct {
		const char *name;
		va_t va;
	} here[] = {{"[text]", (va_t)order}, {"[data]", (va_t)&data}, {"[bss]", (va_t)&bss}, {"[heap]", heap_start()},
	            {"[mmap]", (va_t)mm_map(0, FH_PAGE, RW, 0)}, {"[stack]", (va_t)&r}, {"[stack]", program_stack[1]}, {"[end]", LINUX_TASK_SIZE}};
	for (unsigned i = 0; i < sizeof(here) / sizeof(here[0]); i++) {
		struct region *g = region_find(space_current(), here[i].va);
		expect(g && strcmp(g->name, here[i].name) == 0, "%#lx is in %s", here[i].va, here[i].name);
	}
	mm_unmap(here[4].va, FH_PAGE);
}

/* ---- 2 ---- */

static void exactly(const struct kind *k)
{
	struct report r, again;

	if (!probe_seed(k, 0, 0, &r) || !probe_seed(k, 0, 0, &again))
		return;
	expect_is((int64_t)r.image, k->moves ? 0x555555554000 : 0x400000, "%s: the image", k->name);
	expect_is((int64_t)r.mmap_base, 0x7ffff7fff000, "%s: mmap_base", k->name);
	expect_is((int64_t)r.mapping, 0x7ffff7ffe000, "%s: the first mapping of a page", k->name);
	expect_is((int64_t)r.stack_end, 0x7ffffffff000, "%s: the stack's top", k->name);
	expect_is((int64_t)r.heap, (int64_t)r.image_end, "%s: brk's start is the end of bss", k->name);
	expect_is((int64_t)r.moved, (int64_t)r.data, "%s: a pointer in its data", k->name);
	expect(memcmp(&r, &again, sizeof(r)) == 0, "%s: a second one has it all alike", k->name);
}

/* The smallest and largest of a place over many seeds. */
struct span {
	const char *name;
	uint64_t lo, hi, range; /* range: they may lie this far apart, at most */
	unsigned changes;
	uint64_t last;
};
static void widen(struct span *s, uint64_t at)
{
	s->lo = s->lo < at ? s->lo : at;
	s->hi = s->hi > at ? s->hi : at;
	s->changes += at != s->last;
	s->last = at;
}

#define SEEDS 14

static void vary(const struct kind *k)
{
	struct span s[] = {
	    {"stack", ~0ul, 0, 16ul << 30, 0, 0},      {"mmap", ~0ul, 0, 1ul << 40, 0, 0}, {"brk", ~0ul, 0, 1ul << 30, 0, 0},
	    {"sp in its 8 KiB", ~0ul, 0, 8192, 0, 0}, {"image", ~0ul, 0, 1ul << 40, 0, 0},
	};
	struct report r;

	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		if (!probe_seed(k, seed * 0x10001, 0, &r))
			return;
		widen(&s[0], r.stack_end);
		widen(&s[1], r.mmap_base);
		widen(&s[2], r.heap - r.image_end);
		widen(&s[3], r.stack_end - r.sp);
		widen(&s[4], r.image);
		expect(!((r.stack_end | r.mmap_base | r.heap | r.image) % FH_PAGE) && r.sp % 16 == 0, "page-aligned, sp to 16: %#lx %#lx %#lx %#lx %#lx",
		       r.stack_end, r.mmap_base, r.heap, r.image, r.sp);
		/* Room for the whole stack and its guard gap under the lowest one that could have been drawn. */
		expect(r.stack_end <= LINUX_TASK_SIZE && r.stack_end > LINUX_TASK_SIZE - (16ul << 30) &&
		       r.mmap_base <= LINUX_TASK_SIZE - (16ul << 30) + FH_PAGE - LINUX_STACK_LIMIT - 256 * FH_PAGE && r.mapping == r.mmap_base - FH_PAGE,
		       "seed %lu: stack %#lx and mmap_base %#lx in range", r.seed, r.stack_end, r.mmap_base);
		expect(!k->moves || (r.image >= LINUX_PIE_BASE && r.image < LINUX_PIE_BASE + (1ul << 40)), "image %#lx in range", r.image);
		expect(r.moved == r.data, "its pointers are moved with it");
		expect(r.heap >= r.image_end, "brk %#lx after bss", r.heap);
	}
	for (unsigned i = 0; i < (k->moves ? 5u : 4u); i++)
		expect(s[i].changes >= SEEDS - 1 && s[i].hi - s[i].lo < s[i].range && s[i].hi - s[i].lo > s[i].range / 2,
		       "%s: %s takes %u places, %#lx to %#lx", k->name, s[i].name, s[i].changes, s[i].lo, s[i].hi);
	expect(k->moves || s[4].changes == 1, "an ET_EXEC stays at its addresses");
}

/* More seeds than programs can be started for: the same rule, asked. */
static void many_seeds(void)
{
	struct report r;
	struct places p;
	struct tally t = {0};
	unsigned mmap = layout_index(program_layout, AREA_MMAP), stack = layout_index(program_layout, AREA_STACK);
	const va_t highest = LINUX_TASK_SIZE - (16ul << 30) + FH_PAGE - LINUX_STACK_LIMIT - 256 * FH_PAGE;

	for (uint64_t seed = 1; seed <= 20000; seed++)
		if (layout_arrange(program_layout, seed, 0, &p) < 0 || p.area[mmap].hi > highest || p.area[mmap].hi <= highest - (1ul << 40) ||
		    p.area[stack].hi > LINUX_TASK_SIZE || p.area[stack].hi <= LINUX_TASK_SIZE - (16ul << 30) || p.heap_gap >= 1ul << 30 ||
		    p.bias < LINUX_PIE_BASE || p.bias >= LINUX_PIE_BASE + (1ul << 40) ||
		    (p.area[mmap].hi | p.area[stack].hi | p.heap_gap | p.bias) % FH_PAGE)
			count_bad(&t, "seed %lu: mmap %#lx, stack %#lx", seed, p.area[mmap].hi, p.area[stack].hi);
	expect(t.bad == 0, "20000 seeds stay in range");
	if (layout_arrange(program_layout, 77, 0, &p) == 0 && probe_seed(&kinds[PIE], 77, 0, &r))
		expect(p.area[mmap].hi == r.mmap_base && p.area[stack].hi == r.stack_end && p.bias == r.image, "and a program is where they say");
}

static void limits(void)
{
	struct report r;

	if (probe_seed(&kinds[EXEC], 0, 64ul << 20, &r))
		expect_is((int64_t)r.mmap_base, 0x7ffff7fff000, "with a stack limit of 64 MiB, mmap_base"), expect_is((int64_t)r.stack_limit, 64 << 20, "limit");
	if (probe_seed(&kinds[EXEC], 0, 256ul << 20, &r))
		expect_is((int64_t)r.mmap_base, (int64_t)(LINUX_TASK_SIZE - (257ul << 20)), "with one of 256 MiB, mmap_base");
	if (probe_seed(&kinds[PIE], 0, ~0ul, &r)) {
		expect_is((int64_t)r.mmap_base, (int64_t)page_up(LINUX_TASK_SIZE - LINUX_TASK_SIZE / 6 * 5), "with no limit, mmap_base");
		expect(r.mapping == r.mmap_base - FH_PAGE && r.heap == r.image_end, "and a static-pie above it works, too");
	}
}

void places(void)
{
	struct report a, b;

	find_kinds();
	exactly(&kinds[EXEC]);
	exactly(&kinds[PIE]);
	vary(&kinds[PIE]);
	vary(&kinds[EXEC]);
	many_seeds();
	limits();
	if (probe_seed(&kinds[PIE], 0xabcdef, 0, &a) && probe_seed(&kinds[PIE], 0xabcdef, 0, &b))
		expect(memcmp(&a, &b, sizeof(a)) == 0 && a.seed == 0xabcdef, "the same seed again is the same program");
}

/* Where the stack is not in the way. */
void last_page(void)
{
	struct report r;

	find_kinds();
	if (probe_seed(&kinds[PIE], 4711, 0, &r))
		expect_returns((int64_t)r.last_page, 0x7fffffffe000, "a program whose stack is elsewhere maps the last page");
	if (probe_seed(&kinds[PIE], 0, 0, &r))
		expect_returns((int64_t)r.last_page, -EEXIST, "one whose stack ends there");
}

/* ---- 3 ---- */

static uint64_t of_strings(char *const *argv, char *const *envp)
{
	uint64_t h = HASH_FIRST;

	for (; *argv; argv++)
		h = hash(h, *argv, strlen(*argv) + 1);
	for (; *envp; envp++)
		h = hash(h, *envp, strlen(*envp) + 1);
	return h;
}

static bool aux(const struct report *r, uint64_t type, uint64_t *value)
{
	for (uint64_t i = 0; i < r->naux && i < 24; i++) {
		*value = r->aux[2 * i + 1];
		if (r->aux[2 * i] == type)
			return true;
	}
	return false;
}

static void aux_is(const struct report *r, uint64_t type, uint64_t want, const char *name)
{
	uint64_t value = 0;

	if (expect(aux(r, type, &value), "there is an %s", name))
		expect_is((int64_t)value, (int64_t)want, "%s", name);
}

/* `random`: the bytes of another one, and then of this. */
static void image_of(const struct kind *k, uint64_t seed, uint64_t *random)
{
	const Elf64_Ehdr *h = (const Elf64_Ehdr *)k->elf;
	struct report r;
	uint64_t value = 0;

	if (!probe_seed(k, seed, 0, &r))
		return;
	expect_is((int64_t)r.argc, 3, "argc");
	expect_is((int64_t)r.envc, 2, "strings of the environment");
	expect(r.strings == of_strings(few_args, few_env), "arguments and environment are what they were");
	expect_is((int64_t)r.in_a_row, 3, "strings that follow the one before");
	expect(r.args_hi == r.env_lo && r.env_hi + sizeof("dir/probe.elf") + 8 == r.stack_end, "environment, the file's name, 8 bytes, the stack's end");
	expect(r.sp % 16 == 0 && r.sp < r.args_lo, "sp is %#lx", r.sp);
	va_t bias = k->moves ? r.image : 0;
	aux_is(&r, AT_PHDR, r.image + h->e_phoff, "AT_PHDR");
	aux_is(&r, AT_PHENT, sizeof(Elf64_Phdr), "AT_PHENT");
	aux_is(&r, AT_PHNUM, h->e_phnum, "AT_PHNUM");
	aux_is(&r, AT_PAGESZ, 4096, "AT_PAGESZ");
	aux_is(&r, AT_BASE, 0, "AT_BASE");
	aux_is(&r, AT_FLAGS, 0, "AT_FLAGS");
	aux_is(&r, AT_ENTRY, bias + h->e_entry, "AT_ENTRY");
	aux_is(&r, AT_SECURE, 0, "AT_SECURE");
	aux_is(&r, AT_UID, 0, "AT_UID");
	aux_is(&r, AT_EXECFN, r.env_hi, "AT_EXECFN");
	expect(strcmp(r.name, few_args[0]) == 0, "AT_EXECFN leads to the file's name");
	expect(r.headers == hash(HASH_FIRST, k->elf + h->e_phoff, h->e_phnum * sizeof(Elf64_Phdr)), "AT_PHDR leads to the program headers");
	expect(aux(&r, AT_RANDOM, &value) && value > r.sp && value + 16 <= r.args_lo, "AT_RANDOM is 16 bytes between the vectors and the strings");
	expect(r.random[0] != random[0] && r.random[1] != random[1], "other bytes with another seed");
	expect(r.random[0] != r.random[1], "and not the same 8 twice");
	expect(r.naux <= 24 && !r.aux[2 * r.naux - 2] && !r.aux[2 * r.naux - 1], "the last of %lu entries is AT_NULL", r.naux);
	memcpy(random, r.random, 16);
}

/* As many strings as `n`, each `bytes` long with its NUL, all the same one. */
static int start(char **argv, char *text, unsigned n, size_t bytes, uint64_t limit, struct report *r)
{
	static char *const none[] = {NULL};
	struct spawn_options o = {.stack_limit = limit, .envp = none, .slots = 8};
	struct env *e = NULL;

	memset(text, 'x', bytes - 1);
	text[bytes - 1] = '\0';
	argv[0] = "p";
	for (unsigned i = 1; i <= n; i++)
		argv[i] = text;
	argv[n + 1] = NULL;
	if (r) {
		bool good = probe(&kinds[EXEC], argv, &o, r);
		expect(good && r->argc == n + 1 && r->in_a_row == n && r->strings == of_strings(argv, none), "%u strings of %lu bytes arrive", n, bytes);
		return 0;
	}
	int result = spawn(&e, kinds[EXEC].elf, kinds[EXEC].bytes, argv, &o);
	if (result == 0)
		env_reap(&e, NULL);
	return result;
}

static void sizes(void)
{
	enum { TEXT = 160 << 10, ARGS = 1000 };
	char *text = malloc(TEXT), **argv = malloc((ARGS + 2) * sizeof(*argv));
	struct report r;

	if (!expect(text && argv, "memory"))
		return;
	start(argv, text, ARGS, 100, 0, &r);
	start(argv, text, 3, LINUX_STRING_MOST, 0, &r);
	expect_returns(start(argv, text, 1, LINUX_STRING_MOST + 1, 0, NULL), -E2BIG, "a string of more than 128 KiB");
	/* A quarter of the stack limit, for strings, the file's name, and two words' pointers. */
	expect_returns(start(argv, text, 16, LINUX_STRING_MOST, 0, NULL), -E2BIG, "2 MiB with a stack limit of 8 MiB");
	start(argv, text, 1, (128 << 10) - 2 - 2 - 16, 512 << 10, &r);
	expect_returns(start(argv, text, 1, (128 << 10) - 2 - 2 - 16 + 1, 512 << 10, NULL), -E2BIG, "a byte more than 128 KiB with one of 512 KiB");
	start(argv, text, 1, (128 << 10) - 2 - 2 - 16 + 1, 768 << 10, &r);
	expect_returns(start(argv, text, 1, 100000, 96 << 10, NULL), -E2BIG, "more than the stack limit");
	free(argv);
	free(text);
}

void stack_image(void)
{
	find_kinds();
	uint64_t random[2] = {0, 0};

	image_of(&kinds[EXEC], 0, random);
	image_of(&kinds[EXEC], 99, random);
	image_of(&kinds[PIE], 0, random);
	image_of(&kinds[PIE], 7, random);
	sizes();
}
