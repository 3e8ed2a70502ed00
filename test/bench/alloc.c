/* alloc.c - a block grows by two pages: by copying it (allocator_tags), by moving its page tables (allocator_remap), or where
 * it is, in the addresses that remap keeps for it. */
#include "bench.h"

#define MIB (1024 * 1024ul)
#define MORE (2 * FH_PAGE)

extern struct allocator allocator_remap;

/* realloc of n bytes that can't stay where they are. */
static void grow_tags(const char *name, size_t n)
{
	struct allocator *a = &allocator_tags;

	bench_group();
	for (int i = 0; i < 8; i++) {
		char *p = a->alloc(a, n, HEAP_ALIGN), *next = a->alloc(a, 100, HEAP_ALIGN);
		MUST(p && next);
		p[n - 1] = 1;
		bench_begin();
		char *q = a->realloc(a, p, n + MORE);
		BENCH_END(-1);
		MUST(q && q != p && q[n - 1] == 1);
		a->free(a, q);
		a->free(a, next);
		a->trim(a);
	}
	bench_report(name, 1);
}

static void grow_remap(const char *name, size_t n, bool moves)
{
	struct allocator *a = &allocator_remap;

	bench_group();
	for (int i = 0; i < 8; i++) {
		char *p = a->alloc(a, moves ? n / 4 : n, HEAP_ALIGN);
		MUST(p);
		if (moves) /* up to the end of its addresses */
			MUST(a->realloc(a, p, n) == p);
		p[n - 1] = 1;
		bench_begin();
		char *q = a->realloc(a, p, n + MORE);
		BENCH_END(-1);
		MUST(q && (q != p) == moves && q[n - 1] == 1);
		a->free(a, q);
	}
	bench_report(name, 1);
}

/* The pages of a mebibyte to another address, with nothing else around it. */
static void move_pages(void)
{
	bench_group();
	for (int i = 0; i < 8; i++) {
		char *from = source_reserve(SOURCE_LARGE, SOURCE_LARGE), *to = source_reserve(SOURCE_LARGE, SOURCE_LARGE);
		MUST(from && to && source_commit(from, MIB) == 0);
		from[MIB - 1] = 1;
		bench_begin();
		int r = source_move(to, from, MIB);
		BENCH_END(0);
		MUST(r == 0 && to[MIB - 1] == 1);
		source_unmap(from, SOURCE_LARGE);
		source_unmap(to, SOURCE_LARGE);
	}
	bench_report("move-1MiB", 1);
}

void bench_alloc(void)
{
	move_pages();
	grow_tags("realloc-1MiB-copy", MIB);
	grow_remap("realloc-1MiB-in-place", MIB, false);
	grow_tags("realloc-2MiB-copy", 2 * MIB - 64);
	grow_remap("realloc-2MiB-remap", 2 * MIB - 64, true);
}
