/*
 * elf.c - reads an ELF64 executable (System V ABI, chapter 4 and 5) that may be truncated or made up.
 */
#include "elf.h"

#define PT_LOAD 1
#define ET_EXEC 2
#define EM_X86_64 62
#define MEMORY_MAX (1ul << 30)
#define USER_TOP (1ul << 46) /* root's own fixed mappings lie above (root.c) */

struct file_header {
	uint8_t ident[16];
	uint16_t type, machine;
	uint32_t version;
	uint64_t entry, phoff, shoff;
	uint32_t flags;
	uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
struct program_header {
	uint32_t type, flags;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

static void copy(void *to, const uint8_t *from, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		((uint8_t *)to)[i] = from[i];
}

static const char *add_segment(const struct program_header *p, uint64_t bytes, struct elf *out)
{
	uint64_t floor = PAGE;
	if (out->nsegments) {
		const struct elf_segment *last = &out->segment[out->nsegments - 1];
		floor = (last->va + last->in_memory + PAGE - 1) & ~(PAGE - 1);
	}
	if (out->nsegments == ELF_SEGMENTS)
		return "it has more than 16 segments";
	if (p->filesz > p->memsz || p->offset > bytes || p->filesz > bytes - p->offset)
		return "a segment reaches beyond the end of the file (truncated?)";
	if (p->vaddr % PAGE || p->vaddr < floor)
		return "its segments aren't page-aligned and ascending";
	if (p->memsz > MEMORY_MAX || p->vaddr > USER_TOP - MEMORY_MAX)
		return "a segment is too large or too high";
	out->segment[out->nsegments++] = (struct elf_segment){p->vaddr, p->offset, p->filesz, p->memsz, p->flags};
	return NULL;
}

const char *elf_open(const uint8_t *file, uint64_t bytes, struct elf *out)
{
	static const uint8_t ident[7] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
	struct file_header h;
	out->nsegments = 0;
	if (bytes < sizeof h)
		return "it is too short for an ELF header";
	copy(&h, file, sizeof h);
	for (unsigned i = 0; i < sizeof ident; i++)
		if (h.ident[i] != ident[i])
			return "it is no ELF64 file";
	if (h.type != ET_EXEC || h.machine != EM_X86_64)
		return "it is no static x86-64 executable";
	if (h.phentsize != sizeof(struct program_header) || h.phoff > bytes ||
	    h.phnum > (bytes - h.phoff) / sizeof(struct program_header))
		return "its program headers leave the file";
	for (unsigned i = 0; i < h.phnum; i++) {
		struct program_header p;
		copy(&p, file + h.phoff + i * sizeof p, sizeof p);
		const char *wrong = p.type == PT_LOAD && p.memsz ? add_segment(&p, bytes, out) : NULL;
		if (wrong)
			return wrong;
	}
	out->entry = h.entry;
	for (unsigned i = 0; i < out->nsegments; i++)
		if ((out->segment[i].flags & ELF_X) && h.entry - out->segment[i].va < out->segment[i].in_memory)
			return NULL;
	return "its entry point is in no executable segment";
}
