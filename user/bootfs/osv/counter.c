/*
 * counter.c - a library for the layouts osv and osv_2022, to be loaded more than once. Its one function adds to a counter of
 * its own, which it reaches by an address that the loader has relocated.
 */
#include <stdint.h>

int64_t _start(int64_t add, int64_t **counter);

static int64_t count = 100;
static int64_t *volatile where = &count;
static volatile int64_t calls; /* in .bss */

/* The counter, plus 1000 for each call so far. */
int64_t _start(int64_t add, int64_t **counter)
{
	if (counter)
		*counter = where;
	*where += add;
	return *where + 1000 * ++calls;
}
