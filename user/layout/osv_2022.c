/* osv_2022.c - the same program, linked for the table with the areas in the lower half. */
#include "osv.c"
