/*
 * elf.c - the kernel's elf_open, for root, and the kit's spawn, for all other programs (elf_kit.c), on the same bytes.
 * After 4 bytes for the kit: {length 4}, to which the file's bytes are continued by zeroes.
 */
#include "elf_kit.h"
#include "elf.h"
#include <stdlib.h>

#define FILE_MAX (96u << 10)

static void check_kernel(const uint8_t *file, uint64_t n)
{
	struct elf e;
	uint64_t floor = PAGE;
	bool entry = false;
	if (elf_open(file, n, &e))
		return;
	FUZZ_CHECK(e.nsegments >= 1 && e.nsegments <= ELF_SEGMENTS);
	for (unsigned i = 0; i < e.nsegments; i++) {
		const struct elf_segment *s = &e.segment[i];
		FUZZ_CHECK(s->va % PAGE == 0 && s->va >= floor && s->in_memory && s->in_memory < 1ul << 47 && s->va < 1ul << 47);
		FUZZ_CHECK(s->va + s->in_memory <= 0x7f0000000000); /* root's own mappings (root.c) */
		FUZZ_CHECK(s->in_file <= s->in_memory && s->offset <= n && s->in_file <= n - s->offset);
		floor = (s->va + s->in_memory + PAGE - 1) & -PAGE;
		entry |= (s->flags & ELF_X) && e.entry >= s->va && e.entry < s->va + s->in_memory;
	}
	FUZZ_CHECK(entry);
}

void fuzz_one(const uint8_t *bytes, size_t n)
{
	struct input in = {bytes, n};
	uint32_t arguments = take_bytes(&in, 4), length = take_bytes(&in, 4) % FILE_MAX;
	uint8_t *file = calloc(length + 1, 1);
	memcpy(file, in.at, MIN(in.n, length));
	file = realloc(file, length ? length : 1); /* a read past the end is reported */
	check_kernel(file, length);
	spawn_kit(file, length, arguments);
	free(file);
}
