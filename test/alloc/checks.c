/*
 * checks.c - one walk over everything an allocator promises (heap.h). Each block is filled, to its last usable byte, with a
 * pattern that only it has, and looked at again before it goes: so whatever overlaps or is lost shows.
 */
#include "checks.h"

#include <stdlib.h>
#include <string.h>

#include "heap.h"

#define KIB 1024ul
#define MIB (1024 * KIB)
#define BLOCKS 400u

struct block {
	unsigned char *p;
	size_t n; /* asked for */
	unsigned seed;
};

static uint64_t next_random(uint64_t *x) /* splitmix64 */
{
	uint64_t z = *x += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* Most blocks are small, some are not, few are large. */
static size_t some_size(uint64_t *x)
{
	uint64_t r = next_random(x), kind = r % 100;

	r >>= 8;
	return kind < 70 ? r % 256 : kind < 90 ? r % 2048 : kind < 98 ? r % (16 * KIB) : r % (100 * KIB);
}

static unsigned char byte_of(unsigned seed, size_t i) { return (unsigned char)(seed * 31 + i * 7 + (i >> 8)); }

static void fill(struct block *b, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		b->p[i] = byte_of(b->seed, i);
}

/* Its first n bytes are as they were filled. */
static bool intact(const struct block *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (b->p[i] != byte_of(b->seed, i))
			return false;
	return true;
}

/* A new block in *b, all of it filled. False: there was none. */
static bool take(struct block *b, size_t n, size_t align, unsigned seed)
{
	*b = (struct block){align ? memalign(align, n) : malloc(n), n, seed};
	if (!b->p)
		return false;
	b->n = malloc_usable_size(b->p);
	fill(b, 0, b->n);
	return true;
}

static void drop(struct block *b)
{
	free(b->p);
	b->p = NULL;
}

/* ---- What a block is ---- */

static void check_blocks(void)
{
	struct tally none = {0}, small = {0}, crooked = {0};
	static struct block b[700];
	unsigned n = 0;

	for (size_t size = 0; size < 520; size++, n++) {
		if (!take(&b[n], size, 0, n)) {
			count_bad(&none, "malloc(%zu)", size);
			continue;
		}
		if (b[n].n < size)
			count_bad(&small, "malloc(%zu) gives %zu usable bytes", size, b[n].n);
		if ((uintptr_t)b[n].p % HEAP_ALIGN)
			count_bad(&crooked, "malloc(%zu) is at %p", size, (void *)b[n].p);
	}
	for (size_t size = KIB; size < 3 * MIB; size = size * 5 / 4 + 1, n++) {
		if (!take(&b[n], size, 0, n))
			count_bad(&none, "malloc(%zu)", size);
		else if (b[n].n < size || (uintptr_t)b[n].p % HEAP_ALIGN)
			count_bad(&small, "malloc(%zu) gives %zu usable bytes at %p", size, b[n].n, (void *)b[n].p);
	}
	none_bad(&none, "malloc gives a block for every size from 0 to 3 MiB");
	none_bad(&small, "with at least the bytes asked for");
	none_bad(&crooked, "aligned to %lu", HEAP_ALIGN);

	struct tally lost = {0};
	for (unsigned i = 0; i < n; i++) {
		if (b[i].p && !intact(&b[i], b[i].n))
			count_bad(&lost, "block %u, of %zu bytes", i, b[i].n);
		for (unsigned j = 0; j < i; j++)
			if (b[i].p && b[i].p == b[j].p)
				count_bad(&lost, "blocks %u and %u are both at %p", i, j, (void *)b[i].p);
	}
	none_bad(&lost, "none overlaps another: each keeps every byte, and has an address of its own, those of size 0 too");
	is(malloc_check(), 0, "malloc_check finds the heap consistent");
	for (unsigned i = 0; i < n; i += 2)
		drop(&b[i]);
	is(malloc_check(), 0, "also with every other block freed");
	for (unsigned i = 1; i < n; i += 2)
		drop(&b[i]);
	is(malloc_check(), 0, "and with all of them freed");
}

static void check_aligned(void)
{
	struct tally bad = {0}, lost = {0};
	static struct block b[64];
	unsigned n = 0;

	for (size_t align = 1; align <= MIB; align *= 2) {
		for (size_t size = 1; size <= 10000; size = size * 100 + 3, n++) {
			if (!take(&b[n], size, align, n))
				count_bad(&bad, "memalign(%zu, %zu): none", align, size);
			else if ((uintptr_t)b[n].p % align || (uintptr_t)b[n].p % HEAP_ALIGN || b[n].n < size)
				count_bad(&bad, "memalign(%zu, %zu) is at %p, with %zu bytes", align, size, (void *)b[n].p, b[n].n);
		}
	}
	for (unsigned i = 0; i < n; i++) {
		if (b[i].p && !intact(&b[i], b[i].n))
			count_bad(&lost, "block %u, of %zu bytes", i, b[i].n);
		if (i % 3 == 0)
			drop(&b[i]);
	}
	none_bad(&bad, "memalign aligns to every power of two up to 1 MiB");
	none_bad(&lost, "and those blocks overlap nothing");
	is(malloc_check(), 0, "the heap is consistent with them");
	for (unsigned i = 0; i < n; i++)
		if (i % 3)
			drop(&b[i]);
	void *p = (void *)1, *q = malloc(10);
	ok(posix_memalign(&p, 3, 10) && posix_memalign(&p, 4, 10) && p == (void *)1 && !memalign(48, 10) && !memalign(0, 10),
	   "an alignment that is no power of two is refused");
	ok(posix_memalign(&p, 64, 10) == 0 && (uintptr_t)p % 64 == 0 && p != q, "posix_memalign does what memalign does");
	free(p);
	free(q);
}

/* A number of bytes that the compiler doesn't know. */
static size_t opaque(size_t n)
{
	__asm__("" : "+r"(n));
	return n;
}

static void check_limits(void)
{
	struct block b;

	ok(take(&b, 1000, 0, 1), "a block of 1000 bytes");
	ok(!malloc(opaque(SIZE_MAX)) && !malloc(opaque(SIZE_MAX - 15)) && !malloc(opaque(PTRDIFF_MAX)) && !malloc(opaque(1ul << 46)) &&
	       !memalign(64, opaque(PTRDIFF_MAX)) && !memalign(opaque(1ul << 62), 1),
	   "more than there can be is NULL, whatever it wraps round to");
	ok(!calloc(opaque(1ul << 33), 1ul << 33) && !calloc(opaque(SIZE_MAX), 2) && !calloc(2, opaque(PTRDIFF_MAX)),
	   "calloc of a product past 2^64 is NULL");
	ok(!realloc(b.p, opaque(PTRDIFF_MAX)) && !realloc(b.p, opaque(SIZE_MAX)) && intact(&b, b.n),
	   "realloc to that is NULL, and the block stays as it was");
	free(NULL);
	drop(&b);
	/* Memory that was something else before. */
	for (unsigned i = 0; i < 3; i++) {
		size_t n = 100 * KIB >> 5 * i;
		take(&b, n, 0, i + 1);
		drop(&b);
		unsigned char *p = calloc(n / 4, 4);
		size_t bad = 0;
		for (size_t k = 0; p && k < n / 4 * 4; k++)
			bad += p[k] != 0;
		ok(p && bad == 0, "calloc of %zu bytes is zero, though the memory wasn't", n);
		free(p);
	}
}

static void check_realloc(void)
{
	static const size_t sizes[] = {1, 24, 25, 100, 99, 1000, 5000, 4000, 70000, 300000, 299999, 1100000, 2200000, 3000000,
	                               100000, 4097, 200, 16, 0, 64};
	struct tally lost = {0}, small = {0};
	struct block b = {realloc(NULL, 10), 10, 5}, fence[20];

	ok(b.p != NULL, "realloc of NULL is malloc");
	fill(&b, 0, b.n);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		take(&fence[i], 40, 0, 100 + i); /* so that it can't always grow where it is */
		size_t kept = b.n < sizes[i] ? b.n : sizes[i];
		unsigned char *p = realloc(b.p, sizes[i]);
		if (!p) {
			count_bad(&lost, "realloc to %zu: NULL", sizes[i]);
			continue;
		}
		b.p = p;
		if (!intact(&b, kept))
			count_bad(&lost, "%zu bytes lost by a realloc from %zu to %zu", kept, b.n, sizes[i]);
		b.n = malloc_usable_size(p);
		if (b.n < sizes[i] || (uintptr_t)p % HEAP_ALIGN)
			count_bad(&small, "realloc to %zu: %zu bytes at %p", sizes[i], b.n, (void *)p);
		fill(&b, 0, b.n);
		if (malloc_check())
			count_bad(&small, "inconsistent after a realloc to %zu", sizes[i]);
	}
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		if (!intact(&fence[i], fence[i].n))
			count_bad(&lost, "a neighbour");
		drop(&fence[i]);
	}
	drop(&b);
	none_bad(&lost, "realloc up and down, 1 byte to 3 MB: what fits is kept, and the neighbours are");
	none_bad(&small, "each result large enough and aligned, the heap consistent");
}

/* ---- Any order ---- */

struct seen {
	struct block *blocks;
	unsigned n, live, strange;
	bool hit[BLOCKS];
};

static void visit(void *arg, void *p, size_t bytes, bool live)
{
	struct seen *s = arg;

	if (!live)
		return;
	s->live++;
	for (unsigned i = 0; i < s->n; i++) {
		if (s->blocks[i].p == p) {
			s->strange += s->hit[i] || bytes != s->blocks[i].n;
			s->hit[i] = true;
			return;
		}
	}
	s->strange++;
}

/* Does the walk show the live ones of these blocks, each once, and nothing else? */
static void compare_walk(struct tally *t, struct block *blocks, unsigned n)
{
	static struct seen s;
	unsigned live = 0;

	s = (struct seen){.blocks = blocks, .n = n};
	for (unsigned i = 0; i < n; i++)
		live += blocks[i].p != NULL;
	if (malloc_walk(visit, &s) && (s.live != live || s.strange))
		count_bad(t, "%u blocks are live, the walk shows %u, %u of them wrong", live, s.live, s.strange);
}

/* `steps` of malloc, free, realloc, memalign, in any order. */
static void churn(struct block *b, unsigned n, unsigned steps, uint64_t seed, struct tally *lost, struct tally *walks)
{
	for (unsigned step = 0; step < steps; step++) {
		uint64_t r = next_random(&seed);
		struct block *one = &b[r % n];
		size_t size = some_size(&seed);
		if (one->p && !intact(one, one->n))
			count_bad(lost, "step %u: a block of %zu bytes", step, one->n);
		if (one->p && r >> 32 & 1) {
			size_t kept = one->n < size ? one->n : size;
			unsigned char *p = realloc(one->p, size);
			if (!p) {
				count_bad(lost, "step %u: no memory", step);
				continue;
			}
			one->p = p;
			if (!intact(one, kept))
				count_bad(lost, "step %u: realloc from %zu to %zu", step, one->n, size);
			one->n = malloc_usable_size(p);
			fill(one, 0, one->n);
		} else if (one->p) {
			drop(one);
		} else if (!take(one, size, r >> 40 & 15 ? 0 : 16ul << (r >> 33 & 7), (unsigned)(r >> 48))) {
			count_bad(lost, "step %u: no memory", step);
		}
		if (walks && step % 500 == 0) {
			int bad = malloc_check();
			if (bad)
				count_bad(walks, "step %u: %d inconsistencies", step, bad);
			compare_walk(walks, b, n);
		}
	}
}

static void check_churn(void)
{
	static struct block b[BLOCKS];
	struct tally lost = {0}, walks = {0};

	churn(b, BLOCKS, 6000, 0xa110c, &lost, &walks);
	none_bad(&lost, "6000 steps of malloc, free, realloc and memalign: every block keeps its bytes");
	none_bad(&walks, "the heap is consistent in between, and a walk shows the live blocks, each once");

	struct tally trimmed = {0};
	for (unsigned i = 0; i < BLOCKS; i++)
		if (b[i].p && i % 8)
			drop(&b[i]);
	size_t before = memory_held();
	size_t given = malloc_trim(), after = memory_held();
	for (unsigned i = 0; i < BLOCKS; i++)
		if (b[i].p && !intact(&b[i], b[i].n))
			count_bad(&trimmed, "block %u, of %zu bytes", i, b[i].n);
	if (malloc_check())
		count_bad(&trimmed, "the heap is inconsistent");
	compare_walk(&trimmed, b, BLOCKS);
	none_bad(&trimmed, "a trim leaves the blocks that live as they are");
	ok(after <= before && before - after >= given / 2, "and gives back what it says: %zu of %zu bytes, by its own count %zu",
	   before - after, before, given);
	churn(b, BLOCKS, 1000, 0x7715, &trimmed, &trimmed);
	none_bad(&trimmed, "afterwards everything goes on");
	for (unsigned i = 0; i < BLOCKS; i++)
		drop(&b[i]);
}

/* Memory freed in one size serves the next: what is held doesn't pile up. */
static void check_reuse(size_t start)
{
	enum { BYTES = 1024 * 1024 };
	static unsigned char *p[BYTES / 256];
	size_t most = 0;
	bool all = true;

	for (size_t size = 256; size <= 64 * KIB; size *= 2) {
		unsigned n = (unsigned)(BYTES / size);
		for (unsigned i = 0; i < n; i++) {
			p[i] = malloc(size - 24);
			all &= p[i] != NULL;
		}
		for (unsigned odd = 0; odd < 2; odd++)
			for (unsigned i = odd; i < n; i += 2)
				free(p[i]);
		size_t held = memory_held() - start;
		most = held > most ? held : most;
	}
	ok(all && most < 4 * MIB, "a mebibyte in blocks of 256 bytes, freed, then of 512, and so on to 64 KiB: %zu KiB held at most",
	   most / KIB);
}

/* ---- Threads ---- */

#define THREADS 4u
#define MAILS 64u

static struct tally thread_lost[THREADS];
static struct block *mail[MAILS]; /* blocks on their way to whoever frees them */

static void one_thread(unsigned me)
{
	enum { MINE = 60 };
	static struct block mine[THREADS][MINE];
	uint64_t seed = 0x7123 + me;

	unsigned rounds = malloc_default->threads ? 30 : 6; /* under the kit's mutex less can go wrong */

	for (unsigned round = 0; round < rounds; round++) {
		churn(mine[me], MINE, 40, next_random(&seed), &thread_lost[me], NULL);
		for (unsigned i = 0; i < 20; i++) {
			struct block *b = malloc(sizeof(*b));
			if (!b || !take(b, next_random(&seed) % 300, 0, (unsigned)seed & 0xffff)) {
				count_bad(&thread_lost[me], "no memory");
				continue;
			}
			b = __atomic_exchange_n(&mail[next_random(&seed) % MAILS], b, __ATOMIC_ACQ_REL);
			if (b && !intact(b, b->n))
				count_bad(&thread_lost[me], "a block of %zu bytes from another thread", b->n);
			if (b)
				drop(b);
			free(b);
		}
		let_others();
	}
	for (unsigned i = 0; i < MINE; i++)
		drop(&mine[me][i]);
}

static void check_threads(void)
{
	struct tally lost = {0};

	if (!run_threads(THREADS, one_thread))
		count_bad(&lost, "no threads");
	for (unsigned i = 0; i < MAILS; i++) {
		if (mail[i] && !intact(mail[i], mail[i]->n))
			count_bad(&lost, "a block that nobody took");
		if (mail[i])
			drop(mail[i]);
		free(mail[i]);
		mail[i] = NULL;
	}
	for (unsigned i = 0; i < THREADS; i++)
		lost.bad += thread_lost[i].bad;
	none_bad(&lost, "%u threads at once, who also free each other's blocks: none loses a byte", THREADS);
	is(malloc_check(), 0, "and the heap is consistent afterwards");
}

void check_allocator(void)
{
	struct seen s = {0};

	malloc_trim();
	size_t start = memory_held();
	check_blocks();
	check_aligned();
	check_limits();
	check_realloc();
	check_churn();
	check_reuse(malloc_default->trim ? start : memory_held());
	check_threads();
	malloc_walk(visit, &s);
	is(s.live, 0, "with all blocks freed, the walk shows none");
	malloc_trim();
	if (malloc_default->trim)
		is((int64_t)(memory_held() - start), 0, "and a trim gives all memory back to the system: bytes kept");
	is(malloc_check(), 0, "the empty heap is consistent");
}

/* ---- Exhaustion ---- */

const char *const exhaustion_text[EXHAUSTION_TEXTS] = {
    "when memory runs out, malloc gives NULL",
    "what was given out before is untouched",
    "the heap is consistent, and says NULL again to the next",
    "realloc says NULL too, and the block stays",
    "of what is freed, as much can be had again",
    "with all freed, the largest block of before can be had again",
};

/* Take blocks of `size` until there are none, in a list through their first words. Returns how many. */
static unsigned take_all(void ***list, size_t size)
{
	unsigned n = 0;

	for (void **p; (p = malloc(size)) != NULL; n++) {
		memset(p, (int)(n & 255), size);
		*p = *list;
		*list = p;
	}
	return n;
}

static unsigned free_all(void **list)
{
	unsigned n = 0;

	for (void **p = list, **next; p; p = next, n++) {
		next = *p;
		free(p);
	}
	return n;
}

unsigned check_exhaustion(void)
{
	void **list = NULL, **small = NULL;
	unsigned bad = 0, n = 0;
	const size_t size = 10000;
	size_t largest = 64 * MIB;

	while (largest > size) { /* what can be had in one piece */
		void *p = malloc(largest);
		if (p) {
			free(p);
			break;
		}
		largest = largest * 7 / 8;
	}
	n = take_all(&list, size);
	bad |= (n < 50 || n > 100000) << 0;
	take_all(&small, 100);
	unsigned i = n;
	for (void **p = list; p; p = *p) {
		unsigned char *c = (unsigned char *)p;
		i--;
		for (size_t k = sizeof(void *); k < size; k++)
			bad |= (c[k] != (i & 255)) << 1;
	}
	bad |= (malloc_check() || malloc(size) || malloc(MIB)) << 2;
	bad |= (realloc(list, 20 * size) || ((unsigned char *)list)[size - 1] != ((n - 1) & 255)) << 3;
	void **half = list;
	for (i = 0; i < n / 2; i++)
		half = i < n / 2 - 1 ? *half : half;
	void **rest = *half;
	*half = NULL;
	unsigned freed = free_all(list);
	list = NULL;
	unsigned again = take_all(&list, size);
	bad |= (again < freed - freed / 8) << 4;
	free_all(list);
	free_all(rest);
	free_all(small);
	malloc_trim();
	void *p = malloc(largest - largest / 8);
	bad |= (!p || malloc_check()) << 5;
	free(p);
	malloc_trim();
	return bad;
}
