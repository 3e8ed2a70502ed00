/*
 * layout.h - the kernel half: PML4[511], the same entry in every address space, supervisor-only and global.
 *
 *   ffffffff_ffffffff +----------------------------------------------------+ rights
 *                     | kernel image: text r-x, rodata r--, data/bss rw-   |
 *   ffffffff_80000000 +----------------------------------------------------+ (physical address + KBASE)
 *                     :                                                    :
 *   fffffff8_00000000 | per-CPU areas of 64 KiB: stacks, guards, struct cpu| rw- NX
 *                     +----------------------------------------------------+
 *   fffffff4_00000000 | MMIO: LAPIC, VGA text; uncached                    | rw- NX
 *                     +----------------------------------------------------+
 *   fffffff0_00000000 | ownership table, 16 GiB reserved                   | rw- NX
 *                     +----------------------------------------------------+
 *   ffffff80_00000000 | direct map of RAM, 448 GiB; kernel text and rodata | rw- NX
 *                     | read-only here too                                 |
 *                     +----------------------------------------------------+
 *
 * A per-CPU area (offsets; each stack grows down into the unmapped page under it):
 *   0x1000-0x4fff kernel stack | 0x6000 #DF | 0x8000 NMI | 0xa000 #MC | 0xc000 struct cpu | 0xe000 #DB
 *
 * Physical, as in Resea: AP start-up 0x5000, its GDTR 0x6000, image from 0x100000, image, modules and the kernel's
 * own frames below 0x5000000, everything above free for envs. What does not fit goes to the top of RAM.
 */
#pragma once
#include "types.h"

#define DIRECT_BASE 0xffffff8000000000ul
#define DIRECT_SIZE (448ul << 30)
#define TABLE_BASE 0xfffffff000000000ul
#define TABLE_SIZE (16ul << 30)
#define MMIO_BASE 0xfffffff400000000ul
#define PERCPU_BASE 0xfffffff800000000ul
#define PERCPU_SIZE 0x10000ul
#define PERCPU_STACK 0x1000ul /* lowest byte of the 16 KiB kernel stack */
#define PERCPU_STACK_SIZE 0x4000ul
#define PERCPU_DF 0x6000ul
#define PERCPU_NMI 0x8000ul
#define PERCPU_MC 0xa000ul
#define PERCPU_CPU 0xc000ul
#define PERCPU_DB 0xe000ul
#define KBASE 0xffffffff80000000ul

#define USER_START 0x5000000ul /* first physical address handed out */
#define LOW_MEMORY 0x100000ul  /* never handed out */
#define DEVICE_LO 0xa0000ul    /* VGA: DEVICE frames, root's at start */
#define DEVICE_HI 0xc0000ul

_Static_assert(DIRECT_BASE == FH_KERNEL_BASE && DIRECT_BASE == -(512ul << 30), "the kernel is PML4[511]");
_Static_assert(DIRECT_BASE + DIRECT_SIZE == TABLE_BASE, "448 GiB of direct map end where the table begins");
_Static_assert(TABLE_BASE + TABLE_SIZE == MMIO_BASE, "16 GiB of table end where MMIO begins");
_Static_assert(DIRECT_SIZE / FH_PAGE * 32 <= TABLE_SIZE, "a record for every frame of the direct map");
_Static_assert(DIRECT_SIZE / FH_PAGE <= 1ul << FH_PFN_BITS, "a pfn fits its field");
_Static_assert(PERCPU_BASE + (FH_MAX_CPUS + 1) * PERCPU_SIZE <= KBASE, "per-CPU areas end under the image");
_Static_assert(KBASE == -(2ul << 30), "the image is at -2 GiB: mcmodel=kernel");

/* The stacks of a per-CPU area: mapped by memory.c, walked by report.c. */
static const struct { uint64_t off, bytes; } percpu_stacks[] = {
	{PERCPU_STACK, PERCPU_STACK_SIZE}, {PERCPU_DF, FH_PAGE}, {PERCPU_NMI, FH_PAGE}, {PERCPU_MC, FH_PAGE}, {PERCPU_DB, FH_PAGE}};
#define PERCPU_STACKS (sizeof percpu_stacks / sizeof *percpu_stacks)
