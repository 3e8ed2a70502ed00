/*
 * mm.h - mmap, munmap, mprotect and brk, built of regions and pages. All in the calling thread's space.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "region.h"

#define MM_FIXED 1u   /* at `address` exactly; what is mapped there is replaced */
#define MM_NOREPLACE 2u /* with MM_FIXED: -EEXIST if anything is there */
#define MM_EAGER 4u   /* pages now, not at the first touch */
#define MM_LARGE 8u   /* 2 MiB pages where they fit, also on demand */
#define MM_GUARD 16u  /* reserve addresses, without rights: a touch kills; mm_protect makes it usable */
#define MM_SHARED 32u /* a fork shares it instead of copying on write */
#define MM_NORESERVE 64u /* not counted as promised, unless overcommit is forbidden (commit.h) */

/*
 * Map `bytes` (rounded up to pages) of zeroed memory with `rights` (RIGHT_R|W|X; 0: none). Without MM_FIXED `address`
 * is a hint (0: none). Returns the address, or -EINVAL (unaligned fixed address, 0 bytes), -EEXIST, -ENOMEM (no
 * addresses, no frames, no quota, overcommit). Compare with mm_failed.
 * A mapping of 2 MiB or more is aligned to 2 MiB; if it is eager it uses 2 MiB pages without being asked.
 */
int64_t mm_map(va_t address, size_t bytes, unsigned rights, unsigned flags);
static inline int mm_failed(int64_t r) { return (uint64_t)r > -4096ul; }
/* Unmap every page in the range and free its frames; holes are skipped, a region around it is split. */
int mm_unmap(va_t address, size_t bytes);
/* Change rights at once; -ENOMEM if part of the range is not mapped by anyone; -EPERM: W or X for a page whose frame is
 * our parent's, which a fork shares (the kernel widens rights only for who has authority over the frame); -EBUSY: rights
 * 0 for a shared page that others still use. */
int mm_protect(va_t address, size_t bytes, unsigned rights);
/* A stack of `bytes` with a guard page below, growing on faults; a fork copies it at once. Returns its top (exclusive) or
 * -errno. */
int64_t mm_stack(struct space *, size_t bytes, const char *name);

/* brk: the end of the heap. heap_grow(n) moves it by n bytes and returns the old end, or -ENOMEM with nothing changed
 * (past its area's end, another region in the way, below its start). Pages come on demand; shrinking frees them. */
int64_t heap_grow(intptr_t n);
/* The same, and the pages are there when it returns; -ENOMEM also if there are not enough frames. */
int64_t heap_grow_eager(intptr_t n);
/* Addresses that nothing else will be mapped at, aligned to `align` (a power of two, at least a page), for space_fill,
 * space_move and space_drop to put pages at: a touch where there is none kills. The address or -errno. */
int64_t mm_reserve(size_t bytes, size_t align);
va_t heap_start(void);
va_t heap_end(void);
/* For who fills what mm_reserve gave: count the range as promised (commit.h). 0 or -ENOMEM. */
int mm_commit(va_t address, size_t bytes);
/* For start.c: the heap is at layout_heap. */
struct area;
int heap_init(const struct area *);
