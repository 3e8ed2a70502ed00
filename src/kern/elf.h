/*
 * elf.h - static ELF64 executables: the header and segments of the root module, checked. Pure.
 */
#pragma once
#include "types.h"

#define ELF_SEGMENTS 16u
#define ELF_X 1u
#define ELF_W 2u

struct elf_segment { uint64_t va, offset, in_file, in_memory; uint32_t flags; };
struct elf {
	uint64_t entry;
	unsigned nsegments;
	struct elf_segment segment[ELF_SEGMENTS]; /* ascending, page-aligned, no page in two of them */
};

/* NULL, or the sentence that says what is wrong. `file` may be any bytes. */
const char *elf_open(const uint8_t *file, uint64_t bytes, struct elf *out);
