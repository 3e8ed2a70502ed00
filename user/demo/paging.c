/* paging.c - demand paging: reserve much, pay for what is touched. */
#include "demo.h"

/* Reserve a terabyte. Touch a hundred pages of it, far apart. */
int demo_paging(void)
{
	const size_t bytes = 1ul << 40, step = 4ul << 20;
	uint64_t frames = frames_now(), faults = faults_now(), tables = space_current()->tables;
	int bad = 0;

	char *p = (char *)mm_map(0, bytes, RIGHT_R | RIGHT_W, 0);
	if (mm_failed((int64_t)p))
		return check(false, "mm_map: %s", error_name((int)(int64_t)p));
	printf("  1 TiB at %p for %lu frames\n", (void *)p, frames_now() - frames);
	bad += check(frames_now() == frames, "a reservation takes no frame");
	for (size_t i = 0; i < 100; i++)
		p[i * step] = (char)i;
	uint64_t made = space_current()->tables - tables;
	printf("  100 pages touched, 4 MiB apart: %lu faults, %lu frames, %lu of them page tables\n", faults_now() - faults,
	       frames_now() - frames, made);
	bad += check(frames_now() - frames == 100 + made, "what was taken is the pages and their tables");
	int wrong = 0;
	for (size_t i = 0; i < 100; i++)
		wrong += p[i * step] != (char)i || p[i * step + 1] != 0;
	bad += check(wrong == 0, "each page holds its byte, else zeroes");
	bad += check(mm_unmap((va_t)p, bytes) == 0 && frames_now() <= frames, "unmapped: pages and tables are back");
	return bad;
}
