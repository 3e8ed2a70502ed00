/* flat.c - 4 GiB in which everybody may do everything, as on a machine without memory protection. */
#include "layout.h"

#define RWX (RIGHT_R | RIGHT_W | RIGHT_X)

const struct layout layout_flat = {
    .name = "flat",
    .title = "4 GiB, everything rwx",
    .teaches = "What protection is good for, by its absence: a stray write changes the program's code, and nothing says so. "
               "Only page 0 faults. Every pointer fits 32 bits.",
    .area = {
        {"[null]", 0, 0x1000, AREA_GUARD, 0, .grow = REGION_FIXED},
        {"[text]", 0x100000, 0, AREA_TEXT, RWX, .grow = REGION_FIXED},
        {"[rodata]", 0, 0, AREA_RODATA, RWX, .after = true},
        {"[data]", 0, 0, AREA_DATA, RWX, .after = true},
        {"[bss]", 0, 0, AREA_BSS, RWX, .after = true},
        {"[heap]", 0, 0, AREA_HEAP, RWX, REGION_GROW_UP, .after = true, .meets = "shares its room with [mmap]: ENOMEM where they meet"},
        {"[mmap]", 0, 0xff800000, AREA_MMAP, RWX, REGION_GROW_DOWN, .after = true},
        {"[stack]", 0xff800000, 0x100000000, AREA_STACK, RWX, REGION_GROW_DOWN, .meets = "no guard: it runs into [mmap]"},
    },
};
