/* parsers_elf.c - elf_open on good, truncated and made-up files. */
#include "suite.h"
#include "elf.h"

struct header {
	uint8_t ident[16];
	uint16_t type, machine;
	uint32_t version;
	uint64_t entry, phoff, shoff;
	uint32_t flags;
	uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
struct segment {
	uint32_t type, flags;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};
#define MOST 20u
static struct { struct header h; struct segment s[MOST]; uint8_t bytes[600]; } file;
#define AT offsetof(__typeof__(file), bytes)

static struct segment load(uint64_t va, uint64_t bytes, uint64_t memory, uint32_t flags)
{
	return (struct segment){.type = 1, .flags = flags, .offset = AT, .vaddr = va, .filesz = bytes, .memsz = memory};
}

/* text, data with bss, and a note */
static void good(void)
{
	memset(&file, 0x11, sizeof file);
	file.h = (struct header){.ident = {0x7f, 'E', 'L', 'F', 2, 1, 1}, .type = 2, .machine = 62, .version = 1,
	                         .entry = 0x400010, .phoff = offsetof(__typeof__(file), s), .ehsize = 64,
	                         .phentsize = sizeof(struct segment), .phnum = 3};
	file.s[0] = load(0x400000, 600, 600, ELF_X | 4);
	file.s[1] = (struct segment){.type = 4};
	file.s[2] = load(0x401000, 10, 0x3001, ELF_W | 4);
}

/* The file's first n bytes and nothing behind them. */
static const char *open_prefix(uint64_t n, struct elf *out)
{
	uint8_t *copy = malloc(n);
	memcpy(copy, &file, n);
	const char *wrong = elf_open(copy, n, out);
	free(copy);
	return wrong;
}

static const char *open_all(struct elf *out) { return open_prefix(sizeof file, out); }

/* What elf_open promises about whatever it takes. */
static void check_promises(const struct elf *e, uint64_t bytes)
{
	uint64_t floor = PAGE;
	bool entry = false;
	assert_in_range(e->nsegments, 1, ELF_SEGMENTS);
	for (unsigned i = 0; i < e->nsegments; i++) {
		const struct elf_segment *s = &e->segment[i];
		assert_true(s->va % PAGE == 0 && s->va >= floor && s->va + s->in_memory < 1ul << 47);
		assert_true(s->in_file <= s->in_memory && s->in_memory != 0);
		assert_true(s->offset <= bytes && s->in_file <= bytes - s->offset);
		floor = (s->va + s->in_memory + PAGE - 1) & -PAGE;
		entry |= (s->flags & ELF_X) && e->entry >= s->va && e->entry < s->va + s->in_memory;
	}
	assert_true(entry);
}

TEST("a static ELF64 is taken: its loadable segments, in order, and its entry")
{
	struct elf e;
	good();
	assert_null(open_all(&e));
	check_promises(&e, sizeof file);
	assert_int_equal(e.nsegments, 2);
	assert_int_equal(e.entry, 0x400010);
	assert_int_equal(e.segment[1].va, 0x401000);
	assert_int_equal(e.segment[1].in_file, 10);
	assert_int_equal(e.segment[1].in_memory, 0x3001);
	assert_int_equal(e.segment[1].flags & ELF_X, 0);
}

TEST("every prefix of a good ELF is refused in words, up to the whole")
{
	good();
	for (uint64_t n = 0; n < sizeof file; n++) {
		struct elf e;
		const char *wrong = open_prefix(n, &e);
		assert_non_null(wrong);
		assert_non_null(strstr(wrong, n < 64 ? "too short" : n < 64 + 3 * 56 ? "program headers" : "truncated"));
	}
}

TEST("each malformed field of an ELF is refused in words of its own")
{
#define BAD(words, change) do { struct elf e; good(); change; const char *w = open_all(&e);                            \
		if (!w || !strstr(w, words)) suite_fail(__FILE__, __LINE__, "%s: %s", #change, w ? w : "accepted");    \
	} while (0)
	BAD("no ELF64", file.h.ident[0] = 0);
	BAD("no ELF64", file.h.ident[4] = 1);
	BAD("no ELF64", file.h.ident[5] = 2);
	BAD("no ELF64", file.h.ident[6] = 0);
	BAD("no static x86-64", file.h.type = 3);
	BAD("no static x86-64", file.h.machine = 3);
	BAD("program headers", file.h.phentsize = 55);
	BAD("program headers", file.h.phentsize = 0);
	BAD("program headers", file.h.phoff = ~0ul);
	BAD("program headers", file.h.phoff = sizeof file + 1);
	BAD("program headers", file.h.phoff = -56ul);
	BAD("program headers", file.h.phnum = 0xffff);
	BAD("entry point", file.h.phnum = 0);
	BAD("entry point", file.h.entry = 0x401000);
	BAD("entry point", file.h.entry = 0x400000 + 600);
	BAD("entry point", file.h.entry = 0x3fffff);
	BAD("entry point", file.h.entry = ~0ul);
	BAD("entry point", file.s[0].flags = 6);
	BAD("beyond the end", file.s[0].offset = ~0ul);
	BAD("beyond the end", file.s[0].offset = AT + 1);
	BAD("beyond the end", file.s[0].filesz = ~0ul);
	BAD("beyond the end", file.s[2].filesz = 0x3002);
	BAD("page-aligned and ascending", file.s[0].vaddr++);
	BAD("page-aligned and ascending", file.s[0].vaddr = 0);
	BAD("page-aligned and ascending", file.s[2].vaddr = 0x400000);
	BAD("page-aligned and ascending", file.s[2].vaddr = 0x3ff000);
	BAD("page-aligned and ascending", file.s[0].memsz = 0x1001);
	BAD("too large or too high", file.s[2].vaddr = 1ul << 46);
	BAD("too large or too high", file.s[2].vaddr = -PAGE);
	BAD("too large or too high", file.s[2].vaddr = 1ul << 63);
	BAD("too large or too high", file.s[2].memsz = (1ul << 30) + 1);
	BAD("too large or too high", file.s[2].memsz = ~0ul);
}

TEST("an ELF has 16 segments at most; empty ones don't count")
{
	struct elf e;
	for (unsigned n = 16; n <= 17; n++) {
		good();
		file.h.phnum = 20;
		for (unsigned i = 0; i < 20; i++)
			file.s[i] = load(0x400000 + i * PAGE, 0, i < n ? PAGE : 0, ELF_X);
		const char *wrong = open_all(&e);
		if (n == 16)
			assert_null(wrong);
		else
			assert_string_equal(wrong, "it has more than 16 segments");
	}
}

TEST("mutated ELFs are refused, or keep every promise")
{
	srandom(1);
	unsigned taken = 0;
	for (unsigned i = 0; i < 60000; i++) {
		struct elf e;
		good();
		for (unsigned k = random() % 4 + 1; k; k--) {
			unsigned at = random() % (random() % 2 ? AT : 64 + 3 * 56);
			static const uint8_t edges[] = {0, 1, 2, 0x7f, 0x80, 0xff, 0x10, 0x40};
			((uint8_t *)&file)[at] = random() % 2 ? edges[random() % 8] : random();
		}
		uint64_t n = random() % 3 ? sizeof file : random() % sizeof file;
		if (!open_prefix(n, &e)) {
			check_promises(&e, n);
			taken++;
		}
	}
	assert_true(taken > 1000);
}
