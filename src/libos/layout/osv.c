/* osv.c - a kernel for one program: all memory three times, and the address of a block says who allocated it. */
#include "osv.h"

const struct layout layout_osv = {
    .name = "osv",
    .seed = "002_18d436c398ec6f73.txt, first half",
    .title = "all memory three times; an address is its allocator's tag",
    .teaches = "Addresses are plenty: the same frames can be mapped three times, and the bits that are left over say something. Here "
               "they say which allocator a block came from, so that free looks nothing up to know whom to ask. A fourth area "
               "spends them: the debug allocator never uses an address twice, so that every late use of a block faults. Libraries "
               "get 8 GiB of addresses for each copy of the program's world, so that one library can be there twice.",
    .said = "Its kernel maps all memory; here the areas show what this env owns, mapped when it is touched. The debug area's 80 TiB "
            "reach through PML4[511], which is Freehold's, and the kit's slots: here it has 16 TiB, as the others. The code is one "
            "program, so there is no fork in OSv: a fork's child has these areas, but none of its parent's blocks. Namespaces "
            "give separate copies; symbols are not looked up, as objects with relocations other than R_X86_64_RELATIVE are refused.",
    .area = {
        OSV_CORE,
        OSV_ALIASES(0xffff800000000000, 0xffff900000000000, 0xffffa00000000000, 0xffffb00000000000, 0xffffc00000000000),
    },
    .start = osv_start,
};
