/* osv.h - what the tables osv and osv_2022 have in common: all but where the areas are. */
#pragma once

#include "layout.h"

int osv_start(void);

#define RX (RIGHT_R | RIGHT_X)
#define RW (RIGHT_R | RIGHT_W)
#define RWX (RIGHT_R | RIGHT_W | RIGHT_X)

#define OSV_CORE \
	{"[null]", 0, 0x10000, AREA_GUARD, 0, .note = "not in the seed"}, \
	{"[text]", 0x200000, 0, AREA_TEXT, RX, \
	 .note = "the program of this layout is OSv's kernel, its ELF file at kernel_base; OSv maps it one to one, here its frames are anywhere"}, \
	{"[rodata]", 0, 0, AREA_RODATA, RIGHT_R, .after = true}, \
	{"[data]", 0, 0, AREA_DATA, RW, .after = true}, \
	{"[bss]", 0, 0, AREA_BSS, RW, .after = true}, \
	{"[heap]", 0, 0x1800000, AREA_HEAP, RW, REGION_GROW_UP, .after = true, .meets = "ENOMEM at the kernel's end", \
	 .note = "not in the seed, OSv has no brk: what the kernel leaves of its 22 MiB. malloc doesn't use it"}, \
	{"[program]", 0x100000000000, 0x100200000000, AREA_OWN, RWX, REGION_GROW_UP, .meets = "an object that doesn't fit is refused", \
	 .note = "objects from program_base on, rights as their segments say"}, \
	{"[namespaces]", 0x100400000000, 0x104200000000, AREA_OWN, RWX, REGION_GROW_UP, .meets = "the 32nd is refused", \
	 .note = "31 of 8 GiB; the seed's end 0x1040_0200_0000 is a slip for 0x1042_0000_0000, and the 8 GiB at 0x1002_0000_0000 stay unused"}, \
	{"[stack]", 0x1ffffff00000, 0x200000000000, AREA_STACK, RW, REGION_GROW_DOWN, .guard = 1, \
	 .note = "the first thread's; not in the seed. Other threads' are mappings"}, \
	{"[mmap]", 0x200000000000, 0x400000000000, AREA_MMAP, RW | RIGHT_LARGE, REGION_GROW_UP, \
	 .note = "not in the seed; 2 MiB or more is aligned to 2 MiB, and comes in 2 MiB pages where free memory allows"}

#define OSV_ALIASES(main_lo, page_lo, mempool_lo, debug_lo, hi) \
	{"[main]", main_lo, page_lo, AREA_ALIAS, RW, .note = "blocks above 4096 bytes, in frames that lie one after the other"}, \
	{"[page]", page_lo, mempool_lo, AREA_ALIAS, RW, .note = "the same memory; blocks above 1024 bytes, a page each"}, \
	{"[mempool]", mempool_lo, debug_lo, AREA_ALIAS, RW, .note = "the same memory; blocks up to 1024 bytes"}, \
	{"[debug]", debug_lo, hi, AREA_OWN, RW, REGION_GROW_UP, .meets = "NULL at its end: no address comes back", \
	 .note = "not the same memory: addresses that are used once"}
