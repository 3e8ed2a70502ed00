/* heap.c - the heap grows by brk, a page comes at the first touch. */
#include <stdlib.h>

#include "demo.h"
#include "trace.h"

/* The break is a number in the kit. Moving it costs no crossing and no frame; touching costs one fault and one frame. */
int demo_heap(void)
{
	int bad = 0;
	va_t start = heap_end();
	uint64_t frames = frames_now(), faults = faults_now();

	int64_t old = heap_grow(16 * FH_PAGE);
	printf("  heap [%#lx, %#lx): 16 pages more, %lu frames taken\n", heap_start(), heap_end(), frames_now() - frames);
	bad += check(old == (int64_t)start && frames_now() == frames, "growing takes no frame");

	volatile char *p = (volatile char *)page_up(start);
	p[0] = 1; /* the level-1 table may come with the first page */
	frames = frames_now(), faults = faults_now();
	for (int i = 1; i < 11; i++)
		p[i * FH_PAGE] = (char)i;
	printf("  10 pages touched: %lu faults, %lu frames\n", faults_now() - faults, frames_now() - frames);
	bad += check(frames_now() - frames == 10 && faults_now() - faults == 10, "a frame and a fault for each page touched");
	bad += check(p[5 * FH_PAGE] == 5 && p[5 * FH_PAGE + 1] == 0, "bytes written are there, the others are 0");

	heap_grow(-16 * (intptr_t)FH_PAGE);
	bad += check(heap_end() == start && frames_now() <= frames, "shrinking gives the frames back: %lu", frames_now());

	char *blocks[100];
	MAGIC_BREAK(); /* make bochs CMD='demo heap', then c: it stops here */
	TRACE_BEGIN(); /* make bochs-trace PROG=demo CMD='demo heap' */
	free(malloc(100));
	TRACE_END();
	for (size_t i = 0; i < 100; i++)
		memset(blocks[i] = malloc(i * 100), (int)i, i * 100);
	for (size_t i = 0; i < 100; i += 2)
		free(blocks[i]);
	bad += check(malloc_check() == 0, "malloc: 100 blocks, every other one freed, heap consistent");
	for (size_t i = 1; i < 100; i += 2) {
		for (size_t k = 0; k < i * 100; k++)
			if (blocks[i][k] != (char)i)
				return bad + check(false, "block %lu lost byte %lu", i, k);
		free(blocks[i]);
	}
	return bad + check(malloc_check() == 0, "the others kept their bytes; all freed, heap consistent");
}
