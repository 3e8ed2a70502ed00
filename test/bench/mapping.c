/* mapping.c - pages that come, are asked about, and go. */
#include <string.h>

#include "bench.h"

/* Page tables are zeroed too. */
static uint64_t tables(void) { return space_current()->tables; }

static void demand_zero(void)
{
	bench_group();
	for (int k = 0; k < 12; k++) {
		char *p = bench_fresh(256);
		for (int i = 0; i < 256; i++) {
			uint64_t before = tables();
			bench_begin();
			touch(p + i * FH_PAGE);
			BENCH_END((int64_t)(1 + tables() - before));
		}
		MUST(mm_unmap((va_t)p, 256 * FH_PAGE) == 0);
	}
	bench_report("demand-zero", 1);
}

static void map_touch_unmap(const char *name, unsigned pages, int rounds)
{
	bench_group();
	for (int i = 0; i < rounds; i++) {
		uint64_t before = tables();
		bench_begin();
		char *p = (char *)mm_map(0, pages * FH_PAGE, RW, 0);
		for (unsigned j = 0; j < pages; j++)
			touch(p + j * FH_PAGE);
		int r = mm_unmap((va_t)p, pages * FH_PAGE);
		BENCH_END((int64_t)(pages + tables() - before));
		MUST(r == 0 && space_get(space_current(), (va_t)p) == 0);
	}
	bench_report(name, pages);
}

static void map_eager(const char *name, unsigned pages, int rounds)
{
	bench_group();
	for (int i = 0; i < rounds; i++) {
		uint64_t before = tables();
		bench_begin();
		int64_t p = mm_map(0, pages * FH_PAGE, RW, MM_EAGER);
		BENCH_END((int64_t)(pages + tables() - before));
		MUST(!mm_failed(p) && space_count(space_current(), (va_t)p, pages) == pages);
		MUST(mm_unmap((va_t)p, pages * FH_PAGE) == 0);
	}
	bench_report(name, pages);
}

static void unmap(unsigned pages)
{
	bench_group();
	for (int i = 0; i < 300; i++) {
		char *p = bench_touched(pages);
		bench_begin();
		int r = mm_unmap((va_t)p, pages * FH_PAGE);
		BENCH_END(0);
		MUST(r == 0);
	}
	bench_report("munmap100", pages);
}

/* Every third page is written, which the answer must say. */
static void dirty(unsigned pages)
{
	char *p = bench_touched(pages);
	uint64_t bitmap[2];
	size_t n = 0;

	bench_group();
	for (int i = 0; i < 300; i++) {
		MUST(space_clean(space_current(), (va_t)p, pages) == 0);
		for (unsigned j = 0; j < pages; j += 3)
			touch(p + j * FH_PAGE);
		bench_begin();
		n = space_dirty(space_current(), (va_t)p, pages, bitmap);
		BENCH_END(0);
		MUST(n == (pages + 2) / 3 && bitmap[0] == 0x9249249249249249ul);
	}
	bench_report("dirty", pages);
	MUST(mm_unmap((va_t)p, pages * FH_PAGE) == 0);
}

static void heap(void)
{
	bench_group();
	for (int i = 0; i < 1000; i++) {
		bench_begin();
		int64_t r = heap_grow(FH_PAGE);
		BENCH_END(0);
		MUST(!mm_failed(r));
	}
	bench_report("heap-grow", 1);
	MUST(!mm_failed(heap_grow(-1000 * (intptr_t)FH_PAGE)));
}

void bench_mapping(void)
{
	demand_zero();
	map_touch_unmap("map+touch+unmap-1", 1, 2000);
	map_touch_unmap("map+touch+unmap-64", 64, 300);
	map_touch_unmap("map+touch+unmap-1024", 1024, 30);
	map_eager("map-eager-64", 64, 300);
	unmap(100);
	dirty(100);
	heap();
}
