/* elf_kit.c - the kit's image.c and spawn.c, with a child env that only looks at what is placed in it. */
#include "elf_kit.h"
#include "src/libos/image.c"
#include "src/libos/layout.c"
#include "src/libos/spawn.c"
#include <stdlib.h>

#define WORDS_MAX 700u

/* The tables that are linked with this are themselves; of the others there is but the name. */
#define X(n) __attribute__((weak)) const struct layout layout_##n = {.name = #n};
#include "src/libos/layout/list.h"
#undef X
const struct layout *const program_layout = &layout_freehold;

static struct { const char *at; size_t n; } source[3]; /* what may be placed: the file, a copy of it, the stack's page */
static struct { va_t start, end; unsigned rights; } placed[SEGMENTS_MAX + 8];
static unsigned nplaced;
static char stack_page[FH_PAGE];
static va_t stack_top;
static bool started;

static char *words[WORDS_MAX + 1];
static struct fh_info page = {.batch_va = KIT_LO + 0x50000, .upcall_va = KIT_LO + 0x51000};
const struct fh_info *info = &page;

int child_place(struct space *s, va_t va, size_t n, unsigned rights, const void *src, size_t bytes, size_t lead)
{
	bool ours = bytes == 0;
	(void)s;
	FUZZ_CHECK(va % FH_PAGE == 0 && n > 0 && va >= LOWEST && va < FH_KERNEL_BASE && n <= (FH_KERNEL_BASE - va) / FH_PAGE);
	FUZZ_CHECK(lead < FH_PAGE && bytes <= n * FH_PAGE - lead);
	for (unsigned i = 0; i < 3; i++)
		ours |= source[i].at && (const char *)src >= source[i].at && bytes <= source[i].n &&
		        (const char *)src <= source[i].at + source[i].n - bytes;
	FUZZ_CHECK(ours);
	if (src == source[2].at && src) {
		memcpy(stack_page, src, FH_PAGE);
		stack_top = va + FH_PAGE;
	}
	for (unsigned i = 0; i < nplaced; i++)
		FUZZ_CHECK(va + n * FH_PAGE <= placed[i].start || va >= placed[i].end);
	placed[nplaced].start = va;
	placed[nplaced].end = va + n * FH_PAGE;
	placed[nplaced++].rights = rights;
	return 0;
}

/* argc, argv and the strings lie in the stack's highest page as they were given. */
static void check_arguments(va_t rsp)
{
	FUZZ_CHECK(rsp % 16 == 0 && rsp >= stack_top - FH_PAGE && rsp < stack_top);
	const uint64_t *at = (const uint64_t *)(stack_page + (rsp - (stack_top - FH_PAGE)));
	for (uint64_t i = 0; i < at[0]; i++) {
		FUZZ_CHECK(at[1 + i] >= stack_top - FH_PAGE && at[1 + i] + strlen(words[i]) < stack_top);
		FUZZ_CHECK(strcmp(stack_page + (at[1 + i] - (stack_top - FH_PAGE)), words[i]) == 0);
	}
	FUZZ_CHECK(words[at[0]] == NULL && at[1 + at[0]] == 0);
}

int child_start(struct child *c, const struct fh_regs *regs, uint64_t fs_base, unsigned slots, bool stopped)
{
	bool entry = false;
	(void)c, (void)fs_base, (void)slots, (void)stopped;
	for (unsigned i = 0; i < nplaced; i++)
		entry |= (placed[i].rights & RIGHT_X) && regs->rip >= placed[i].start && regs->rip < placed[i].end;
	FUZZ_CHECK(entry);
	check_arguments(regs->rsp);
	started = true;
	return 0;
}

int child_new(struct child *c, const char *title, uint64_t quota, struct frames *f, bool share)
{
	static struct env env;
	(void)title, (void)quota, (void)f, (void)share;
	c->env = &env;
	return 0;
}

void spawn_kit(const uint8_t *bytes, size_t n, uint32_t arguments)
{
	static char text[FH_PAGE + 1];
	struct frames *frames = (struct frames *)text; /* some; nobody looks at them */
	const struct spawn_options options = {.frames = frames};
	struct env *e;
	unsigned nwords = (arguments & 0xffff) % WORDS_MAX, length = (arguments >> 16) % FH_PAGE;
	memset(text, 'a', sizeof text - 1);
	for (unsigned i = 0; i < nwords; i++)
		words[i] = text + FH_PAGE - (i == 0 ? length : i % 3);
	words[nwords] = NULL;
	memset(source, 0, sizeof source);
	source[0].at = (const char *)bytes;
	source[0].n = n;
	nplaced = 0;
	started = false;
	FUZZ_CHECK((spawn(&e, bytes, n, words, &options) == 0) == started);
}

/* ---- What else spawn.c asks for ---- */

void *meta_alloc(size_t n) { source[2].n = n; return (void *)(source[2].at = calloc(1, n)); }
void meta_free(void *p, size_t n) { (void)n; free(p); source[2].at = NULL; source[2].n = 0; }
int64_t mm_map(va_t va, size_t n, unsigned rights, unsigned flags)
{
	(void)va, (void)rights, (void)flags;
	source[1].n = n;
	return (int64_t)(source[1].at = calloc(1, n));
}
int mm_unmap(va_t va, size_t n) { (void)n; free((void *)va); return 0; }
int child_abandon(struct child *c, int error) { (void)c; return error; }
int module_get(unsigned i, struct module *m) { (void)i, (void)m; return -ENOENT; }
const char *startup_name(const char *path, char *buffer, size_t n) { (void)n; *buffer = *path; return buffer; }
int printf(const char *format, ...) { (void)format; return 0; }
int space_map(struct space *s, va_t va, pfn_t pfn, size_t n, unsigned rights)
{
	(void)s, (void)va, (void)pfn, (void)n, (void)rights;
	return 0;
}
va_t region_gap_up(struct space *s, va_t lo, va_t hi, uint64_t bytes, uint64_t align)
{
	(void)s, (void)lo, (void)hi, (void)bytes, (void)align;
	return 0;
}
const char __image_start[1] = "", __text_end[1] = "", __rodata_start[1] = "", __rodata_end[1] = "", __data_end[1] = "", __image_end[1] = "";
unsigned devices_give(uint64_t env)
{
	(void)env;
	return 0;
}
