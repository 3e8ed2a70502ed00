/* linux.c - the lines of the layout linux; they are in linux/. */
#include "linux/parts.h"

const unsigned lines_total = 8;

const struct line lines[] = {
    {1, "text < data < bss < brk, far below mmap < stack < arguments < environment; as ET_EXEC and as static-pie", order},
    {2, "without a seed every place is Linux's own; with seeds stack, mmap, brk, sp and PIE vary, aligned and in range", places},
    {3, "argc, argv, envp and the auxiliary vector are as the ABI says, also when they fill many pages; too much is E2BIG", stack_image},
    {4, "mmap descends, brk ascends; meeting a mapping is ENOMEM, and nothing is harmed", meeting},
    {5, "recursion runs to the stack limit; a mapping within 256 pages stops it before, one without rights does not", stack_growth},
    {6, "page 0 can't be mapped; the last page under TASK_SIZE can, the next can't", ends},
    {7, "MAP_FIXED replaces, and only what it covers; MAP_FIXED_NOREPLACE is EEXIST, and harms nothing", fixed_address},
    {8, "the three overcommit modes refuse by their formulas, for mmap, mprotect, brk, malloc and the stack", overcommit},
    {0},
};
