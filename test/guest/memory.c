/*
 * memory.c - mm_map, mm_unmap, mm_protect, heap, malloc and stacks, as a program sees them: what may be touched, what it
 * holds, and how many frames that costs. Rights are tried out by touching: what was taken away faults at once.
 */
#include <errno.h>
#include <string.h>

#include "tap.h"
#include "touch.h"

#define RW (RIGHT_R | RIGHT_W)
#define RX (RIGHT_R | RIGHT_X)
#define KIB 1024ul
#define PAGES(n) ((n) * FH_PAGE)

/* ---- Helpers ---- */

static char *map(size_t bytes, unsigned rights, unsigned flags)
{
	int64_t r = mm_map(0, bytes, rights, flags);

	if (mm_failed(r))
		panic("mm_map(%lu): %s", bytes, error_name((int)r));
	return (char *)r;
}

static void unmap(char *p, size_t bytes)
{
	if (mm_unmap((va_t)p, bytes) < 0)
		panic("mm_unmap(%lu)", bytes);
}

static size_t not_zero(const char *p, size_t bytes)
{
	size_t n = 0;

	for (const uint64_t *w = (const uint64_t *)p; w < (const uint64_t *)(p + bytes); w++)
		n += *w != 0;
	return n;
}

/* 2 MiB entries in the range. */
static unsigned large_pages(const char *p, size_t bytes)
{
	unsigned n = 0;
	struct leaf leaf;
	va_t end = (va_t)p + bytes;

	for (va_t at = (va_t)p; space_next(space_current(), at, end, &leaf); at = leaf.va + (leaf.level == 2 ? PLAN_LARGE : FH_PAGE))
		n += leaf.level == 2 && leaf.pte & FH_P;
	return n;
}

/* Frames of data, without page tables: those come and go with trimming. */
static uint64_t present(const char *p, size_t bytes) { return space_count(space_current(), (va_t)p, bytes / FH_PAGE); }

static uint64_t owned(void)
{
	trim_tables();
	return frames_owned();
}

/* ---- The tests ---- */

static void check_map(void)
{
	uint64_t before = owned();
	char *p = map(5 * FH_PAGE + 1, RW, 0), *q = map(1, RIGHT_R, 0);

	is((int64_t)present(p, PAGES(6)), 0, "mapped, nothing is there");
	is((int64_t)not_zero(p, PAGES(6)), 0, "touched, it is all zero, six pages for five and a byte");
	ok(!reads(p + PAGES(6)) || p + PAGES(6) == q, "and no more");
	ok(writes(p + PAGES(6) - 1) && reads(q) && !writes(q), "the rights are those asked for");
	p[7] = TOUCH_RET;
	ok(!runs(p + 7), "data can't be executed");
	ok(q < p || q >= p + PAGES(6), "the second mapping lies elsewhere");
	unmap(p, PAGES(6));
	unmap(q, PAGES(1));
	ok(!reads(p) && !writes(p + PAGES(5)) && !reads(q), "unmapped, a touch is refused");
	p = map(PAGES(300), RW, MM_EAGER);
	is((int64_t)present(p, PAGES(300)), 300, "eager: 300 pages are there at once");
	is((int64_t)not_zero(p, PAGES(300)), 0, "all zero");
	unmap(p, PAGES(300));
	p = map(PAGES(3), RIGHT_W, 0);
	is((int)rights_at(p), RW, "who may write may read");
	unmap(p, PAGES(3));
	is((int64_t)owned(), (int64_t)before, "all frames are back");
}

static void check_fixed(void)
{
	char *p = map(PAGES(10), RW, MM_EAGER);
	va_t va = (va_t)p;

	memset(p, 7, PAGES(10));
	returns(mm_map(va + PAGES(9), PAGES(2), RW, MM_FIXED | MM_NOREPLACE), -EEXIST, "NOREPLACE: one page in the way is enough");
	returns(mm_map(va - PAGES(1), PAGES(2), RW, MM_FIXED | MM_NOREPLACE), -EEXIST, "from either side");
	ok(p[PAGES(9)] == 7, "and it stays");
	returns(mm_map(va + PAGES(3), PAGES(2), RIGHT_R, MM_FIXED), (int64_t)(va + PAGES(3)), "FIXED: replaces two pages");
	is((int64_t)present(p, PAGES(10)), 8, "their frames are gone");
	is((int64_t)not_zero(p + PAGES(3), PAGES(2)), 0, "zeroes instead");
	ok(p[PAGES(3) - 1] == 7 && p[PAGES(5)] == 7 && !writes(p + PAGES(4)), "with other rights; their neighbours are as before");
	unmap(p, PAGES(10));
	returns(mm_map(va + 100, PAGES(1), RW, 0), (int64_t)va, "a hint, rounded down, is taken if it is free");
	int64_t other = mm_map(va, PAGES(1), RW, 0);
	ok(!mm_failed(other) && other != (int64_t)va, "if it isn't, the mapping goes elsewhere");
	unmap((char *)other, PAGES(1));
	unmap(p, PAGES(1));

	returns(mm_map(0, 0, RW, 0), -EINVAL, "no bytes");
	returns(mm_map(0, ~0ul, RW, 0), -EINVAL, "too many bytes");
	returns(mm_map(0, PAGES(1), 64, 0), -EINVAL, "rights that are none");
	returns(mm_map(va + 1, PAGES(1), RW, MM_FIXED), -EINVAL, "FIXED at no page");
	returns(mm_map(0x7ffffffff000ul, PAGES(2), RW, MM_FIXED), -EINVAL, "FIXED beyond the user's addresses");
	returns(mm_map(FH_KERNEL_BASE, PAGES(1), RW, MM_FIXED), -EINVAL, "FIXED over the kernel");
	returns(mm_map(0, layout_mmap.hi - layout_mmap.lo + PAGES(1), RW, 0), -ENOMEM, "more addresses than there are");
	ok(mm_failed(mm_map(0, PAGES(1), RW, MM_FIXED)), "nobody maps the null page");
	static const va_t kit[] = {META_VA, THREADS_VA, SCRATCH_VA, TABLE_VA, WINDOW_VA};
	struct tally t = {0};
	for (unsigned i = 0; i < sizeof(kit) / sizeof(kit[0]); i++)
		if (mm_map(kit[i], PAGES(1), RW, MM_FIXED) != -EINVAL || mm_unmap(kit[i], PAGES(1)) != -EINVAL ||
		    mm_protect(kit[i], PAGES(1), RW) != -EINVAL || mm_unmap(kit[i] - PAGES(1), PAGES(2)) != -EINVAL)
			count_bad(&t, "%#lx", kit[i]);
	none_bad(&t, "the kit's own areas can't be mapped over, unmapped or protected");
	returns(mm_map(0, 1ul << 40, RW, MM_EAGER), -ENOMEM, "more eager pages than frames");
	is((int64_t)present((char *)layout_mmap.lo, layout_mmap.hi - layout_mmap.lo), 0, "leaves none behind");
}

static void check_split(void)
{
	char *p = map(PAGES(16), RW, MM_EAGER);

	for (size_t i = 0; i < 16; i++)
		memset(p + PAGES(i), (int)i + 1, FH_PAGE);
	uint64_t before = owned();
	returns(mm_unmap((va_t)p + PAGES(6), PAGES(4)), 0, "four of sixteen pages are unmapped, in the middle");
	is((int64_t)(before - owned()), 4, "four frames are back");
	ok(!reads(p + PAGES(6)) && !reads(p + PAGES(10) - 1), "a touch there is refused");
	unsigned wrong = 0;
	for (size_t i = 0; i < 16; i++)
		wrong += (i < 6 || i >= 10) && (p[PAGES(i)] != (char)(i + 1) || !writes(p + PAGES(i + 1) - 1));
	is(wrong, 0, "both sides hold what they held");
	returns(mm_unmap((va_t)p + PAGES(4), PAGES(8)), 0, "unmapping across the hole");
	is((int64_t)present(p, PAGES(16)), 8, "leaves eight");
	returns(mm_map((va_t)p + PAGES(4), PAGES(8), RW, MM_FIXED | MM_NOREPLACE), (int64_t)(p + PAGES(4)), "the hole is free");
	is((int64_t)not_zero(p + PAGES(4), PAGES(8)), 0, "and zero");
	unmap(p, PAGES(16));
	returns(mm_unmap((va_t)p, PAGES(16)), 0, "unmapping what isn't mapped is no error");
	returns(mm_unmap((va_t)p + 1, PAGES(1)), -EINVAL, "an unaligned address is one");
}

static void check_protect(void)
{
	char *p = map(PAGES(8), RW, 0);
	pfn_t frame;

	p[0] = p[PAGES(1)] = p[PAGES(7)] = TOUCH_RET;
	frame = frame_at(p);
	struct {
		unsigned rights;
		const char *text;
	} steps[] = {
	    {RIGHT_R, "read-only: a write faults"}, {RX, "executable: it runs, a write faults"}, {RW, "data again: it doesn't run"},
	    {0, "without rights: a read faults"},   {RIGHT_R, "read-only again, from nothing"},   {RW | RIGHT_X, "everything"},
	};
	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		returns(mm_protect((va_t)p, PAGES(1), steps[i].rights), 0, "%s", steps[i].text);
		is((int)rights_at(p), (int)steps[i].rights, "at once");
		is(rights_at(p + PAGES(1)), RW, "the next page is as before");
	}
	ok(p[0] == TOUCH_RET && frame_at(p) == frame, "the byte and the frame are those of before");
	returns(mm_protect((va_t)p + PAGES(2), PAGES(2), RIGHT_R), 0, "pages that aren't there yet");
	ok(reads(p + PAGES(2)) && !writes(p + PAGES(3)), "come with their new rights");
	is((int64_t)not_zero(p + PAGES(2), PAGES(2)), 0, "as zeroes");
	returns(mm_protect((va_t)p + PAGES(4), PAGES(1), 0), 0, "and a page that isn't there loses all");
	ok(!reads(p + PAGES(4)) && !writes(p + PAGES(4)), "then it doesn't come");
	mm_unmap((va_t)p + PAGES(5), PAGES(1));
	returns(mm_protect((va_t)p, PAGES(8), RIGHT_R), -ENOMEM, "a range with a hole");
	ok(writes(p) && writes(p + PAGES(7)), "nothing of it changes");
	returns(mm_protect((va_t)p + 8, PAGES(1), RIGHT_R), -EINVAL, "an unaligned address");
	mm_protect((va_t)p, PAGES(1), 0);
	uint64_t before = owned();
	unmap(p, PAGES(1));
	is((int64_t)(before - owned()), 1, "a page without rights, unmapped, gives its frame back");
	unmap(p, PAGES(8));
}

static void check_guard(void)
{
	char *p = map(PAGES(4), RW, MM_GUARD);

	ok(!reads(p) && !writes(p + PAGES(3)), "a guard: every touch is refused");
	returns(mm_protect((va_t)p + PAGES(1), PAGES(2), RW), 0, "part of it is made usable");
	ok(!reads(p) && !reads(p + PAGES(4) - 1), "the rest guards");
	is((int64_t)not_zero(p + PAGES(1), PAGES(2)), 0, "it is zero");
	unmap(p, PAGES(4));
}

static void check_large(void)
{
	const size_t bytes = 2 * PLAN_LARGE + PAGES(3);
	char *p = map(bytes, RW, MM_EAGER);

	ok((va_t)p % PLAN_LARGE == 0, "2 MiB and more are aligned to 2 MiB");
	is(large_pages(p, bytes), 2, "eager, they are 2 MiB pages where these fit");
	is((int64_t)present(p, bytes), (int64_t)(bytes / FH_PAGE), "the rest small ones");
	is((int64_t)not_zero(p, bytes), 0, "all zero");
	for (size_t i = 0; i < bytes; i += FH_PAGE)
		*(size_t *)(p + i) = i;
	returns(mm_protect((va_t)p, PLAN_LARGE, RIGHT_R), 0, "the rights of a whole one change");
	ok(!writes(p) && !writes(p + PLAN_LARGE - 1) && writes(p + PLAN_LARGE), "to its last byte");
	is(large_pages(p, bytes), 2, "and it stays one");
	returns(mm_protect((va_t)p + PLAN_LARGE + PAGES(17), PAGES(2), RIGHT_R), 0, "the rights of two pages inside the other");
	is(large_pages(p, bytes), 1, "split it");
	ok(writes(p + PLAN_LARGE + PAGES(17) - 1) && !writes(p + PLAN_LARGE + PAGES(17)) && !writes(p + PLAN_LARGE + PAGES(19) - 1) &&
	       writes(p + PLAN_LARGE + PAGES(19)), "exactly these lose W");
	returns(mm_unmap((va_t)p + PAGES(100), PAGES(10)), 0, "unmapping inside the first");
	is(large_pages(p, bytes), 0, "splits it too");
	is((int64_t)present(p, bytes), (int64_t)(bytes / FH_PAGE) - 10, "and takes ten pages");
	unsigned wrong = 0;
	for (size_t i = 0; i < bytes; i += FH_PAGE)
		wrong += (i < PAGES(100) || i >= PAGES(110)) && *(size_t *)(p + i) != i;
	is(wrong, 0, "all others hold what they held");
	unmap(p, bytes);

	p = map(PLAN_LARGE + PAGES(1), RW, MM_LARGE);
	is((int64_t)present(p, bytes), 0, "LARGE without EAGER: nothing is there");
	ok(writes(p + 12345), "at the first touch");
	is(large_pages(p, PLAN_LARGE), 1, "2 MiB come");
	ok(writes(p + PLAN_LARGE) && !writes(p + PLAN_LARGE + PAGES(1)), "the tail is a small page");
	returns(mm_protect((va_t)p, PLAN_LARGE, 0), 0, "without rights");
	ok(!reads(p) && !reads(p + PLAN_LARGE - 1), "nothing of it can be read");
	returns(mm_protect((va_t)p, PLAN_LARGE, RW), 0, "with them again");
	is((int64_t)(present(p, PLAN_LARGE)), FH_LARGE_FRAMES, "all is there");
	unmap(p, PLAN_LARGE + PAGES(1));
	p = map(PLAN_LARGE, RX, MM_LARGE);
	ok(reads(p) && !writes(p), "executable mappings are good too");
	unmap(p, PLAN_LARGE);
}

/* Frames that somebody wrote, used again by the same env: is all of them zero? */
static void check_zero(void)
{
	const size_t n = 200;
	char *p = map(PAGES(n), RW, MM_EAGER);
	pfn_t lowest = frame_at(p), dirty[200];
	struct tally t = {0};
	unsigned again = 0;

	memset(p, 0xa5, PAGES(n));
	for (size_t i = 0; i < n; i++) {
		dirty[i] = frame_at(p + PAGES(i));
		lowest = dirty[i] < lowest ? dirty[i] : lowest;
	}
	unmap(p, PAGES(n));
	for (unsigned way = 0; way < 2; way++) {
		frames_first.cursor = lowest;
		p = map(PAGES(n), RW, way ? MM_EAGER : 0);
		for (size_t i = 0; i < n; i++) {
			if (not_zero(p + PAGES(i), FH_PAGE))
				count_bad(&t, "page %lu", i);
			for (size_t k = 0; k < n; k++)
				again += dirty[k] == frame_at(p + PAGES(i));
		}
		memset(p, 0x5a, PAGES(n));
		unmap(p, PAGES(n));
	}
	none_bad(&t, "demand-zero and eager pages are zero, whatever was in the frames");
	ok(again > n, "%u of %lu were frames written before", again, 2 * n);
}

/* ---- A random walk: every page against what it should be ---- */

#define WALK 48u
static struct {
	uint8_t mapped, rights, tag; /* tag: its first byte */
} model[WALK];

static void look(struct tally *t, char *p, unsigned i, unsigned step)
{
	char *q = p + PAGES(i);
	unsigned want = model[i].mapped ? model[i].rights : 0;
	unsigned got = (reads(q) ? RIGHT_R : 0) | (writes(q) ? RIGHT_W : 0);

	if (got != (want & RW) || (got && *q != (char)model[i].tag))
		count_bad(t, "step %u: page %u: rights %u, should be %u; byte %d, should be %u", step, i,
		          got, want, got ? *q : -1, model[i].tag);
	if (got & RIGHT_W)
		*q = (char)(model[i].tag = (uint8_t)(step | 1));
}

static void check_random(void)
{
	char *p = map(PAGES(WALK), RW, MM_GUARD);
	uint64_t before;
	struct tally t = {0};

	unmap(p, PAGES(WALK));
	before = owned();
	for (unsigned step = 0; step < 1500; step++) {
		unsigned a = random64() % WALK, b = a + 1 + random64() % (WALK - a), rights = random64() % 3, hole = 0;
		rights = rights == 2 ? RW : rights;
		va_t va = (va_t)p + PAGES(a);
		size_t bytes = PAGES((size_t)(b - a));
		int64_t r, want = 0;
		switch (random64() % 4) {
		case 0:
			want = (int64_t)va;
			r = mm_map(va, bytes, rights, MM_FIXED | (random64() % 2 ? MM_EAGER : 0));
			for (unsigned i = a; i < b; i++)
				model[i].mapped = 1, model[i].rights = (uint8_t)rights, model[i].tag = 0;
			break;
		case 1:
			r = mm_unmap(va, bytes);
			for (unsigned i = a; i < b; i++)
				model[i].mapped = model[i].tag = 0;
			break;
		default:
			r = mm_protect(va, bytes, rights);
			for (unsigned i = a; i < b; i++)
				hole |= !model[i].mapped;
			want = hole ? -ENOMEM : 0;
			for (unsigned i = a; i < b && !hole; i++)
				model[i].rights = (uint8_t)rights;
		}
		if (r != want)
			count_bad(&t, "step %u: [%u, %u) returned %ld, not %ld", step, a, b, r, want);
		for (unsigned i = 0; i < WALK; i += step % 16 ? 7 : 1)
			look(&t, p, step % 16 ? (i + step) % WALK : i, step);
	}
	none_bad(&t, "1500 random changes: each page has the rights and the byte that it should have");
	unmap(p, PAGES(WALK));
	is((int64_t)owned(), (int64_t)before, "and gives its frame back");
}

/* ---- Heap and stacks ---- */

static void check_heap(void)
{
	va_t end = heap_end();
	uint64_t before = frames_owned();
	volatile char *p = (volatile char *)page_up(end);

	is(heap_grow(0), (int64_t)end, "the heap ends where it ended");
	is(heap_grow(1), (int64_t)end, "a byte more");
	is(heap_grow((intptr_t)(page_up(end) + PAGES(64) - end - 1)), (int64_t)end + 1, "64 pages more");
	ok(writes(p) && writes(p + PAGES(64) - 1) && !reads(p + PAGES(64)), "usable to the last byte");
	memset((char *)p, 0x77, PAGES(64));
	is((int64_t)(frames_owned() - before), 64, "a frame for each page");
	is(heap_grow(-(intptr_t)PAGES(32)), (int64_t)(p + PAGES(64)), "half of that less");
	is((int64_t)(frames_owned() - before), 32, "half the frames are back");
	ok(reads(p + PAGES(32) - 1) && !reads(p + PAGES(32)), "and no longer usable");
	heap_grow((intptr_t)PAGES(32));
	is((int64_t)not_zero((char *)p + PAGES(32), PAGES(32)), 0, "grown again, it is zero");
	ok(p[PAGES(32) - 1] == 0x77, "the rest is as it was");
	returns(heap_grow((intptr_t)(layout_heap.hi - heap_end() + 1)), -ENOMEM, "past its limit it doesn't grow");
	returns(heap_grow(-(intptr_t)(heap_end() - heap_start() + 1)), -ENOMEM, "nor shrink below its start");
	returns(heap_grow(INTPTR_MIN), -ENOMEM, "nor by 2^63 bytes");
	is((int64_t)heap_end(), (int64_t)(p + PAGES(64)), "these change nothing");
	va_t top = layout_heap.hi - PAGES(16);
	returns(mm_map(top, PAGES(1), RW, MM_FIXED | MM_NOREPLACE), -EEXIST, "its room is reserved");
	returns(heap_grow((intptr_t)(layout_heap.hi - heap_end())), (int64_t)(p + PAGES(64)), "all of it can be had");
	ok(writes((char *)layout_heap.hi - 1), "to the last byte");
	heap_grow(-(intptr_t)(layout_heap.hi - end));
	ok(!reads((char *)layout_heap.hi - 1) && !reads(p), "and given back");
	space_trim(space_current(), page_up(end), layout_heap.hi);
	is((int64_t)frames_owned(), (int64_t)before, "with every frame");
}

#define BLOCKS 200u
static struct {
	unsigned char *p;
	size_t n;
	unsigned char byte;
} block[BLOCKS];

static void verify(struct tally *t, unsigned i, size_t n)
{
	for (size_t k = 0; k < n; k++) {
		if (block[i].p[k] != block[i].byte) {
			count_bad(t, "block %u of %lu bytes: byte %lu", i, block[i].n, k);
			return;
		}
	}
}

static void check_malloc(void)
{
	struct tally t = {0};

	for (unsigned step = 0; step < 6000; step++) {
		unsigned i = random64() % BLOCKS;
		size_t n = random64() % (random64() % 20 ? 600 : 20000), align = 16;
		unsigned char *p;
		if (block[i].p)
			verify(&t, i, block[i].n);
		if (block[i].p && random64() % 2) {
			free(block[i].p);
			block[i].p = NULL;
			continue;
		}
		if (block[i].p) {
			size_t kept = n < block[i].n ? n : block[i].n;
			if ((p = realloc(block[i].p, n)) != NULL)
				block[i].p = p;
			verify(&t, i, kept);
		} else if (random64() % 4 == 0) {
			p = aligned_alloc(align = 16ul << random64() % 9, n);
		} else {
			p = random64() % 2 ? malloc(n) : calloc(n, 1);
		}
		if (!p || (uintptr_t)p % align || malloc_usable_size(p) < n) {
			count_bad(&t, "step %u: %lu bytes, aligned to %lu: %p", step, n, align, (void *)p);
			continue;
		}
		block[i].p = p, block[i].n = n, block[i].byte = (unsigned char)step;
		memset(p, block[i].byte, n);
		if (step % 200 == 0 && malloc_check())
			count_bad(&t, "step %u: the heap is inconsistent", step);
	}
	for (unsigned i = 0; i < BLOCKS; i++) {
		if (block[i].p)
			verify(&t, i, block[i].n);
		free(block[i].p);
	}
	none_bad(&t, "6000 random malloc, calloc, realloc, aligned_alloc and free: aligned, apart, and nothing written is lost");
	is(malloc_check(), 0, "the heap is consistent");
	unsigned char *dirty = malloc(5000), *clean;
	memset(dirty, 0xff, 5000);
	free(dirty);
	clean = calloc(100, 50);
	is((int64_t)not_zero((char *)clean, 4992), 0, "calloc's bytes are zero");
	free(clean);
	free(NULL);
	ok(!calloc(1ul << 33, 1ul << 33) && !malloc(~0ul) && !malloc(1ul << 47), "more than there is: NULL");
	ok(!aligned_alloc(24, 100), "an alignment that is no power of two: NULL");
}

static unsigned deep(unsigned n)
{
	volatile char here[PAGES(1)];

	here[0] = (char)n;
	return n ? deep(n - 1) + (here[0] == (char)n) : 0;
}

static void on_stack(void *arg) { *(unsigned *)arg = deep(50); }

static void check_stack(void)
{
	const size_t bytes = 64 * KIB;
	int64_t top = mm_stack(space_current(), bytes, "[test]");
	volatile char *p = (volatile char *)top;
	struct env *child;
	unsigned depth = 0;

	ok(!mm_failed(top), "a stack of 64 KiB");
	ok(writes(p - 1) && !reads(p), "ends where it should");
	ok(writes(p - PAGES(9)), "grows down to where it is touched");
	is((int64_t)present((char *)p - bytes, bytes), 2, "by the pages touched");
	ok(writes(p - bytes + PAGES(1)), "to its last page but one");
	ok(!writes(p - bytes + PAGES(1) - 1) && !reads(p - bytes), "the last is its guard");
	unmap((char *)p - bytes, bytes);
	struct thread *t = thread_new(on_stack, &depth, NULL);
	ok(t && thread_join(t) == 0 && depth == 50, "50 calls with a page of locals each, on a thread's stack");
	int r = env_fork(&child);
	if (r == 0) {
		touch_end();
		exit((int)deep(100000));
	}
	ok(r > 0 && env_wait(child) == ENV_EXITED && env_status(child) == 128 + 14,
	   "a program that recurses for ever ends at the guard");
	if (r > 0)
		env_reap(&child, NULL);
}

int main(void)
{
	char *warm = malloc(3 * KIB * KIB); /* the heap keeps what it once had: not a loss */

	memset(warm, 1, 3 * KIB * KIB);
	free(warm);
	tap_begin();
	touch_begin();
	check_map();
	check_fixed();
	check_split();
	check_protect();
	check_guard();
	check_large();
	check_zero();
	check_random();
	check_heap();
	check_malloc();
	check_stack();
	touch_end();
	return tap_end();
}
