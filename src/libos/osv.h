/*
 * osv.h - the rules that only the layouts osv and osv_2022 have (layout/osv.c): three areas that all show the same memory,
 * so that a block's address says which allocator has it; a debug allocator with addresses of its own; libraries in
 * namespaces of 8 GiB. For programs that live in one of these layouts.
 */
#pragma once

#include "heap.h"
#include "plan.h"

/* For the layouts' tables: before main, the areas are there and malloc is OSv's. */
int osv_start(void);

/* ---- Areas ---- */
enum osv_area { OSV_MAIN, OSV_PAGE, OSV_MEMPOOL, OSV_DEBUG, OSV_NONE };
#define OSV_AREA_BYTES (16ul << 40)
#define OSV_POOL_MAX 1024ul /* bytes: blocks up to here are in the mempool area, up to a page in the page area, else in main */

enum osv_area osv_area(const void *);
va_t osv_area_base(enum osv_area);
/* Where the byte at physical address pa is in one of the first three; readable if its frame is this env's, writable if that
 * is DATA. A frame that has been touched there stays ours until osv_forget, also if it is unmapped everywhere else. */
static inline void *osv_at(enum osv_area area, uint64_t pa) { return (void *)(osv_area_base(area) + pa); }
/* Physical address of a byte in one of the first three, or of any other that is mapped; 0: it isn't. */
uint64_t osv_physical(const volatile void *);
/* Take the page back from an area where it was touched. Not for blocks of malloc: free does it. 0; -EINVAL: no such area. */
int osv_forget(const volatile void *);

/*
 * malloc here: powers of two up to 1024 bytes out of a page that begins with its pool's record; a page; or physically
 * contiguous frames, a record of them before the block. A block is mapped in its own area when it is made, and in the others when
 * it is touched there; free takes it out of all, and gives the frames back. A fork's child has none of its parent's blocks,
 * only an allocator as new: their addresses name the parent's frames. (OSv has no fork.)
 */
extern struct allocator allocator_osv;
/*
 * The same, but new blocks lie in the debug area: on whole pages, a page of fence before, a page without memory behind; what is
 * left of the last page is fence, too. free looks at the fences, and panics. No address is ever used twice, so a block
 * that was freed faults. malloc_default = &allocator_osv_debug chooses it, at any time: free and realloc know by the address.
 */
extern struct allocator allocator_osv_debug;

/* ---- Programs and libraries ---- */
#define OSV_NAMESPACES 32u /* 0: the program's own, there from the start */
#define OSV_NAMESPACE_BYTES (8ul << 30)

struct osv_object {
	va_t lo, hi;  /* whole pages */
	va_t entry;
};
/* A new namespace: 1 to 31; -ENOSPC. Its objects begin at program_base + (i + 1) * 8 GiB. */
int osv_namespace_new(void);
/* Where it begins. */
va_t osv_namespace_base(unsigned i);
/* Unload all that has been loaded at its addresses. 0; -EINVAL: no such namespace, or 0; -errno. */
int osv_namespace_end(unsigned i);
/* Load an ELF file (image.h). One that can move goes behind the last one in its namespace, or where there is room; one that can't
 * goes where it says, if that is in its namespace (0: or outside all of them and what lies between) and nothing is there, least
 * of all the kernel. NULL, or what is wrong, in words. */
const char *osv_load(unsigned i, const void *elf, size_t bytes, struct osv_object *);
/* 0 or -errno. Its addresses are used again when the namespace has no others. */
int osv_unload(struct osv_object *);

/* -- between osv*.c -- */
/* Of the debug area: as an allocator's functions. */
void *osv_debug_alloc(struct allocator *, size_t n, size_t align);
void osv_debug_free(void *);
size_t osv_debug_size(void *);
int osv_debug_check(void);
