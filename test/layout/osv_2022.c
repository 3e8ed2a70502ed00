/* osv_2022.c - the lines of the layout osv, with the areas in the lower half. */
#include "osv.c"
