/* elf_kit.c - the kit's spawn.c, with a child env that only looks at what is placed in it. */
#include "elf_kit.h"
#include "src/libos/spawn.c"
#include <stdlib.h>

#define WORDS_MAX 700u

static const char *file;
static size_t file_size;
static struct { va_t start, end; unsigned rights; } placed[SEGMENTS_MAX + 8];
static unsigned nplaced;
static char stack_page[FH_PAGE];
static bool started;

static char *words[WORDS_MAX + 1];
static struct fh_info page = {.batch_va = 0x7f0000050000, .upcall_va = 0x7f0000051000};
const struct fh_info *info = &page;

int child_place(struct space *s, va_t va, size_t n, unsigned rights, const void *src, size_t bytes, size_t lead)
{
	(void)s;
	FUZZ_CHECK(va % FH_PAGE == 0 && n > 0 && n <= HEAP_LIMIT / FH_PAGE && va >= 16 * FH_PAGE);
	FUZZ_CHECK(lead < FH_PAGE && bytes <= n * FH_PAGE - lead);
	if (va < HEAP_LIMIT)
		FUZZ_CHECK(va + n * FH_PAGE <= HEAP_LIMIT && (const char *)src >= file && bytes <= file_size &&
		           (const char *)src + bytes <= file + file_size);
	if (va == STACK_TOP - FH_PAGE)
		memcpy(stack_page, src, FH_PAGE);
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
	FUZZ_CHECK(rsp % 16 == 0 && rsp >= STACK_TOP - FH_PAGE && rsp < STACK_TOP);
	const uint64_t *at = (const uint64_t *)(stack_page + (rsp - (STACK_TOP - FH_PAGE)));
	for (uint64_t i = 0; i < at[0]; i++) {
		FUZZ_CHECK(at[1 + i] >= STACK_TOP - FH_PAGE && at[1 + i] + strlen(words[i]) < STACK_TOP);
		FUZZ_CHECK(strcmp(stack_page + (at[1 + i] - (STACK_TOP - FH_PAGE)), words[i]) == 0);
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
	(void)c, (void)title, (void)quota, (void)f, (void)share;
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
	file = (const char *)bytes;
	file_size = n;
	nplaced = 0;
	started = false;
	FUZZ_CHECK((spawn(&e, bytes, n, words, &options) == 0) == started);
}

/* ---- What else spawn.c asks for ---- */

void *meta_alloc(size_t n) { return calloc(1, n); }
void meta_free(void *p, size_t n) { (void)n; free(p); }
int child_abandon(struct child *c, int error) { (void)c; return error; }
int module_get(unsigned i, struct module *m) { (void)i, (void)m; return -ENOENT; }
const char *startup_name(const char *path, char *buffer, size_t n) { (void)n; *buffer = *path; return buffer; }
int printf(const char *format, ...) { (void)format; return 0; }
int space_map(struct space *s, va_t va, pfn_t pfn, size_t n, unsigned rights)
{
	(void)s, (void)va, (void)pfn, (void)n, (void)rights;
	return 0;
}
