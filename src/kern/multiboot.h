/*
 * multiboot.h - what the boot loader says (multiboot1 specification, 3.3), copied out and checked before any memory is
 * claimed. Pure: memory is read through boot_read.
 */
#pragma once
#include "types.h"

#define MAX_RAM 64u
#define COMMAND_MAX 512u

struct range { uint64_t start, end; }; /* physical, page-aligned; end is exclusive */
static inline bool overlaps(struct range a, struct range b) { return a.start < b.end && b.start < a.end; }
struct boot_module {
	struct range where;
	uint64_t bytes;
	char command[128];
};
struct boot_info {
	unsigned nram, nmodules;
	uint64_t beyond; /* bytes of RAM above the direct map, left alone */
	struct range ram[MAX_RAM]; /* ascending, disjoint */
	struct boot_module module[FH_MAX_MODULES];
	char command[COMMAND_MAX];
};

/* n bytes at a physical address below 4 GiB. False if the range leaves that. */
bool boot_read(uint64_t pa, void *to, uint64_t n);

/* Does r lie in one piece of RAM? */
bool in_ram(const struct boot_info *b, struct range r);

/* NULL, or the sentence that says what is wrong. */
const char *multiboot_parse(uint32_t magic, uint32_t info, struct boot_info *out);
