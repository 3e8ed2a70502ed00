/* freehold.c - the kit's own: what a program has that asks for nothing else. */
#include "layout.h"

#define RX (RIGHT_R | RIGHT_X)
#define RW (RIGHT_R | RIGHT_W)

const struct layout layout_freehold = {
    .name = "freehold",
    .title = "the kit's own plan",
    .teaches = "The usual order, with room: the heap has 16 TiB of its own, mappings come from above, and nothing can meet. "
               "root has it too: the kernel makes root's first stack where it says.",
    .area = {
        {"[null]", 0, 0x10000, AREA_GUARD, 0, .note = "a null pointer with an offset still faults"},
        {"[text]", 0x400000, 0, AREA_TEXT, RX, .grow = REGION_FIXED},
        {"[rodata]", 0, 0, AREA_RODATA, RIGHT_R, .after = true},
        {"[data]", 0, 0, AREA_DATA, RW, .after = true},
        {"[bss]", 0, 0, AREA_BSS, RW, .after = true},
        {"[heap]", 0, 0x100000000000, AREA_HEAP, RW, REGION_GROW_UP, .after = true, .meets = "ENOMEM at its end"},
        {"[mmap]", 0x100000000000, 0x7e0000000000, AREA_MMAP, RW, REGION_GROW_DOWN, .meets = "ENOMEM at its end"},
        {"[stack]", 0x7f0000100000, 0x7f0000200000, AREA_STACK, RW, REGION_GROW_DOWN, .guard = 1,
         .meets = "an overflow kills in the guard page"},
    },
};
