/* osv_2022.c - the layout osv as its system has it since 2022: the four areas in the lower half. */
#include "osv.h"

const struct layout layout_osv_2022 = {
    .name = "osv_2022",
    .seed = "002_18d436c398ec6f73.txt, first half",
    .title = "OSv, with its areas where it has moved them",
    .teaches = "The same program, linked for another table: what knows the areas by name and not by number moves with them.",
    .said = "The seed has them in the upper half, see osv. Since 2022 the system itself has them here, below 0x8000_0000_0000.",
    .area = {
        OSV_CORE,
        OSV_ALIASES(0x400000000000, 0x500000000000, 0x600000000000, 0x700000000000, 0x800000000000),
    },
    .start = osv_start,
};
