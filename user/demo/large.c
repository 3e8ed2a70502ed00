/* large.c - 2 MiB pages: one entry for 512 frames. */
#include "demo.h"

int demo_large(void)
{
	const size_t bytes = 4 * PLAN_LARGE;
	struct space *s = space_current();
	int bad = 0;

	space_trim(s, layout_mmap.lo, layout_mmap.hi); /* empty tables of earlier demos are not to be counted */
	uint64_t frames = frames_now(), faults;

	char *p = (char *)mm_map(0, bytes, RIGHT_R | RIGHT_W, MM_EAGER);
	if (mm_failed((int64_t)p))
		return check(false, "mm_map: %s", error_name((int)(int64_t)p));
	pte_t e = space_get(s, (va_t)p);
	printf("  8 MiB at %p: %lu frames, entry %#lx\n", (void *)p, frames_now() - frames, e);
	bad += check(e & FH_PS && (va_t)p % PLAN_LARGE == 0 && fh_pte_pfn(e) % FH_LARGE_FRAMES == 0,
	             "it is one 2 MiB entry, aligned at both ends");
	faults = faults_now();
	for (size_t i = 0; i < bytes; i += FH_PAGE)
		p[i] = (char)(i / FH_PAGE);
	bad += check(faults_now() == faults, "2048 pages written without a fault");

	mm_protect((va_t)p + FH_PAGE, FH_PAGE, RIGHT_R);
	e = space_get(s, (va_t)p);
	bad += check(!(e & FH_PS) && e & FH_W && !(space_get(s, (va_t)p + FH_PAGE) & FH_W),
	             "mm_protect of one page in it splits it into 512");
	bad += check(space_get(s, (va_t)p + PLAN_LARGE) & FH_PS, "the next is still whole");
	int wrong = 0;
	for (size_t i = 0; i < bytes; i += FH_PAGE)
		wrong += p[i] != (char)(i / FH_PAGE);
	bad += check(wrong == 0, "every byte is still there");
	bad += check(mm_unmap((va_t)p, bytes) == 0, "unmapped");

	p = (char *)mm_map(0, 2 * PLAN_LARGE, RIGHT_R | RIGHT_W, MM_LARGE);
	faults = faults_now();
	memset(p, 1, 2 * PLAN_LARGE);
	printf("  4 MiB on demand, written: %lu faults\n", faults_now() - faults);
	bad += check(faults_now() - faults == 2, "one fault for each 2 MiB");
	mm_unmap((va_t)p, 2 * PLAN_LARGE);
	space_trim(s, layout_mmap.lo, layout_mmap.hi);
	return bad + check(frames_now() <= frames, "all frames are back: %lu owned", frames_now());
}
