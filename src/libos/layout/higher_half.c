/* higher_half.c - the textbook's: the program at 4 MiB, stacks under a guard of 4 GiB at the top of the lower half. */
#include "layout.h"

#define RX (RIGHT_R | RIGHT_X)
#define RW (RIGHT_R | RIGHT_W)

/* The recursive window that the document makes optional: any slot will do, this is the kernel's neighbour. Read-only, NX. */
#define SELF_SLOT 510u

static int start(void)
{
	struct space *s = space_current();
	struct region r = {
	    .base = layout_named("[self]").lo,
	    .end = layout_named("[self]").hi,
	    .rights = RIGHT_R,
	    .fork = REGION_SKIP,
	    .fault = fault_guard,
	    .name = "[self]",
	};
	pte_t self = pte_make(s->root, RIGHT_R);
	int e = region_add(s, &r);

	return e < 0 ? e : pt_one(s->frames, FH_OP_SET, 0, s->root, SELF_SLOT, &self, 0);
}

const struct layout layout_higher_half = {
    .name = "higher_half",
    .seed = "001_31eeb62786bc07bc.txt",
    .title = "the x86-64 textbook's",
    .teaches = "Guards on both ends of the user's half: 4 MiB over null, and 4 GiB over the stacks, so that neither a null "
               "pointer with an offset nor a stack pointer gone wrong upward meets anything. Heap and mappings come towards each "
               "other and share what is between them.",
    .said = "It puts the recursive mapping into 10 MiB at 0xffffffff_c0000000, inside the kernel's slot; a 4-level self-map needs "
            "a whole PML4 slot, so here it has slot 510. Its kernel (code at -2 GiB, heap, stacks with guard pages) is Freehold's "
            "own: src/kern/layout.h. It gives the stacks no lower end; here their room is 64 GiB.",
    .untested = "- higher_half.6: the kernel's stack is nothing that a libOS could overflow; test/boot/crash.py makes the kernel do "
                "it, and reads the double-fault report.",
    .area = {
        {"[null]", 0, 0x400000, AREA_GUARD, 0, .note = "mm_map refuses it, too"},
        {"[text]", 0x400000, 0, AREA_TEXT, RX, .grow = REGION_FIXED},
        {"[rodata]", 0, 0, AREA_RODATA, RIGHT_R, .after = true},
        {"[data]", 0, 0, AREA_DATA, RW, .after = true},
        {"[bss]", 0, 0, AREA_BSS, RW, .after = true},
        {"[heap]", 0, 0, AREA_HEAP, RW, REGION_GROW_UP, .after = true, .meets = "shares its room with [mmap]: ENOMEM where they meet"},
        {"[mmap]", 0, 0x7fef00000000, AREA_MMAP, RW, REGION_GROW_DOWN, .after = true},
        {"[stack]", 0x7fef00000000, 0x7fff00000000, AREA_STACK, RW, REGION_GROW_DOWN, .guard = 1, .bytes = 8ul << 20,
         .meets = "8 MiB for the first thread, other threads' stacks below"},
        {"[guard]", 0x7fff00000000, 0x800000000000, AREA_GUARD, 0, .note = "first address past it: not canonical, #GP or #SS"},
        {"[self]", 0xffffff0000000000, 0xffffff8000000000, AREA_WINDOW, RIGHT_R,
         .note = "document: 0xffffffff_c0000000, in PML4[511]; moved to slot 510, a whole slot"},
    },
    .start = start,
};
