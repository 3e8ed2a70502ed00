/* dirty.c - dirty pages, read without a system call. */
#include "demo.h"

#define PAGES 64u

/* The page tables are mapped, read-only, in the recursive window: the dirty bits are just there. */
int demo_dirty(void)
{
	struct space *s = space_current();
	uint64_t bitmap = 0;
	int bad = 0;

	char *p = (char *)mm_map(0, PAGES * FH_PAGE, RIGHT_R | RIGHT_W, MM_EAGER);
	if (mm_failed((int64_t)p))
		return check(false, "mm_map");
	bad += check(space_dirty(s, (va_t)p, PAGES, &bitmap) == 0, "64 fresh pages: none is dirty");
	p[3 * FH_PAGE] = 1;
	p[17 * FH_PAGE] = 1;
	p[63 * FH_PAGE] = 1;
	volatile char read = p[40 * FH_PAGE];
	(void)read;
	size_t n = space_dirty(s, (va_t)p, PAGES, &bitmap);
	printf("  written 3, 17 and 63, read 40: bitmap %#018lx\n", bitmap);
	bad += check(n == 3 && bitmap == (1ul << 3 | 1ul << 17 | 1ul << 63), "exactly these are dirty");

	uint64_t tsc = cpu_tsc();
	space_dirty(s, (va_t)p, PAGES, &bitmap);
	printf("  %lu TSC ticks a page, no crossing\n", (cpu_tsc() - tsc) / PAGES);
	bad += check(space_clean(s, (va_t)p, PAGES) == 0 && space_dirty(s, (va_t)p, PAGES, NULL) == 0, "cleaned");
	p[17 * FH_PAGE] = 2;
	n = space_dirty(s, (va_t)p, PAGES, &bitmap);
	bad += check(n == 1 && bitmap == 1ul << 17, "a new write to page 17 shows again: %#lx", bitmap);
	mm_unmap((va_t)p, PAGES * FH_PAGE);
	return bad;
}
