/*
 * plan.h - where the kit's own areas lie in every address space, and the doorbell bits the kit uses.
 *
 * A plan is policy: nothing below is known to the kernel, except that root finds itself placed like this at its start
 * (struct fh_info says where). These are the same in every program of the kit, whatever
 * its layout, so a parent can lay out a child. They are in slots 508 and 509, which no layout uses.
 *
 *   fffffe80_00000000  window    this space's own page tables (PT4[509] names the PT4)            r--
 *   fffffe40_00000000  TABLE_VA  the ownership table                                              r--
 *   fffffe20_00000000  BOOTFS_VA modules, one after the other, whole pages (root and its shell)   r--
 *   fffffe10_c0000000  CPUS_VA   CPU frames: whose turn it is                                     r--
 *   fffffe10_80000000  SCRATCH   pages mapped for a moment: a child's memory, a foreign table     rw-
 *   fffffe10_40000000  THREADS   64 KiB for each thread: upcall frame, batch frame, handler stacks rw-
 *   fffffe10_00000000  META_VA   the kit's own records: regions, threads, children (never faults) rw-
 *   fffffe00_00051000  upcall frame of the first thread  \  where exactly,                        rw-
 *   fffffe00_00050000  batch frame of the first thread    > struct fh_info                        rw-
 *   fffffe00_00000000  info page, clock, refusals        /  says                                  r--
 *   everything else is the layout's (layout.h): image, heap, mappings, stacks
 *
 * The kit's areas each start at a multiple of 1 GiB, so that a second address space of the same env shares them by one
 * link each (space_fork) and the kit works alike in both.
 */
#pragma once

#include "abi.h"

typedef uint64_t va_t;  /* virtual address, bytes */
typedef uint64_t pfn_t; /* physical frame number; 0 is no frame: frame 0 is never handed out */
typedef uint64_t pte_t; /* page-table entry, or the libOS's own non-present word */

#define PLAN_GIB (1ul << 30)
#define PLAN_LARGE (FH_PAGE * FH_LARGE_FRAMES) /* 2 MiB */

#define KIT_LO 0xfffffe0000000000ul /* from here to WINDOW_END all is the kit's */
#define META_VA 0xfffffe1000000000ul
#define THREADS_VA 0xfffffe1040000000ul
#define SCRATCH_VA 0xfffffe1080000000ul
#define CPUS_VA 0xfffffe10c0000000ul
#define BOOTFS_VA 0xfffffe2000000000ul
#define TABLE_VA 0xfffffe4000000000ul    /* = info.table_va */
#define WINDOW_VA 0xfffffe8000000000ul /* = info.window_va */
#define WINDOW_END 0xffffff0000000000ul

/* Doorbell bits of the kit. Programs use BELL_USER and up. Each has one purpose, so that no wait eats another's bits. */
enum {
	BELL_WAKE = 0,      /* mutex, condition, join: taken by code outside handlers */
	BELL_CHILD = 1,     /* a child's first thread stopped or faulted */
	BELL_CONSOLE = 2,   /* console input */
	BELL_WAKE_NESTED = 3, /* as BELL_WAKE, taken inside an upcall handler */
	BELL_USER = 8,
};

static inline uint64_t page_down(uint64_t x) { return x & ~(FH_PAGE - 1); }
static inline uint64_t page_up(uint64_t x) { return (x + FH_PAGE - 1) & ~(FH_PAGE - 1); }

_Static_assert(META_VA % PLAN_GIB == 0 && THREADS_VA % PLAN_GIB == 0 && SCRATCH_VA % PLAN_GIB == 0, "one link each");
_Static_assert(CPUS_VA % PLAN_GIB == 0 && BOOTFS_VA % PLAN_GIB == 0 && TABLE_VA % PLAN_GIB == 0, "one link each");
_Static_assert(WINDOW_VA == (0xffff000000000000ul | (uint64_t)FH_WINDOW_SLOT << 39), "slot 509");
