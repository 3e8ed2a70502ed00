/*
 * source.h - where an allocator's memory comes from. Thin: each function is a line or two over mm.h, space.h and frames.h,
 * and there is a second implementation for Linux (tools/host/source.c), so that an allocator which uses only these can be
 * debugged there.
 *
 * Addresses and frames are two things. What is granted here comes with its frames, zeroed, at once: when there are no more
 * (or the quota is used up), the function says so, and malloc can return NULL. Memory that comes at the first touch can
 * only kill the program then.
 *
 *   brk-like         source_grow                    one range that grows and shrinks at its end
 *   mmap-like        source_map, source_unmap       ranges anywhere; 2 MiB pages where size and alignment are multiples
 *   addresses first  source_reserve, source_commit, source_discard
 *   remapping        source_move, source_alias, source_hold     what an exokernel can do and mmap can't, or hardly
 *   raw frames       frames.h, space.h              frame_get, space_map, space_unmap, frame_put: by number. Not on Linux
 *
 * Units are bytes; addresses and sizes are multiples of SOURCE_PAGE unless said otherwise. Functions that return int: 0 or
 * -errno. All may be called by several threads at once, on ranges that don't overlap.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SOURCE_PAGE 4096ul
#define SOURCE_LARGE (2048 * 1024ul) /* a 2 MiB page */

/* Move the end of the heap by n bytes, any number; the old end, or NULL: no frames, no addresses; nothing has changed.
 * Below 0: the pages past the new end go back to the system. Others may move it in between. */
void *source_grow(intptr_t n);

/* n bytes, zeroed, aligned to `align` (a power of two; SOURCE_PAGE or more). If both are multiples of SOURCE_LARGE, in 2 MiB
 * pages as far as free memory allows. NULL: no frames, no addresses. */
void *source_map(size_t n, size_t align);
/* Give back part of a mapping or all of it, also of what was reserved: addresses and frames. */
int source_unmap(void *p, size_t n);

/* Addresses alone: a touch is a fault, and kills. NULL: none left. */
void *source_reserve(size_t n, size_t align);
/* Zeroed frames for a range that is reserved and has none. -ENOMEM: there are not enough; nothing has changed. */
int source_commit(void *p, size_t n);
/* The frames go back to the system, the addresses stay reserved: a touch is a fault. */
int source_discard(void *p, size_t n);

/*
 * Move the pages of [from, from + n), with what is in them, to [to, to + n), which is reserved and has none: page tables
 * change, no byte is copied. `from` is then reserved. If both addresses are alike modulo SOURCE_LARGE, and nothing else has
 * been committed in the same 2 MiB pieces, a step moves a whole page table: 2 MiB for the price of one page.
 * -EEXIST: there is something at `to`; -ENOMEM: no frame for a page table. Then nothing has moved.
 */
int source_move(void *to, void *from, size_t n);
/* The page at `page` becomes a second view of the frame of page `of`; the frame that it had goes back to the system, unless
 * there is another view of it. Neither was made of a 2 MiB page. */
int source_alias(void *page, void *of);
/* While a page is held, reads go on, and who writes to it waits (it faults again and again). Of all threads. */
int source_hold(void *page, bool hold);

/* The CPU that runs the caller, from 0, now: it may be another one in a moment. How many there are. */
unsigned source_cpu(void);
unsigned source_cpus(void);

/* Say so and end the program: the heap is broken, or its user is. */
_Noreturn void source_fatal(const char *format, ...) __attribute__((format(printf, 1, 2)));
