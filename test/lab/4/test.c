/* test.c - assignment 4: a heap. `make grade` is the full judge of an allocator; this is a first one. */
#include <string.h>

#include "grader.h"
#include "lab4.h"

#define BLOCKS 200u
static struct {
	unsigned char *p;
	size_t n;
	unsigned char byte;
} block[BLOCKS];

static void begin(void) { malloc_default = &my_allocator; }

static void consistent(const char *when)
{
	int bad = my_allocator.check(&my_allocator);

	expect(bad == 0, "%s: your check says that the heap is inconsistent (%d)", when, bad);
}

/* All its bytes are what was written: others keep off. */
static void verify(unsigned i, size_t n, unsigned step)
{
	for (size_t k = 0; k < n; k++)
		expect(block[i].p[k] == block[i].byte, "step %u: byte %lu of the block of %lu bytes at %p is %#x, was written as %#x:\n"
		       "do two blocks overlap, or has a tag been written into it?", step, k, block[i].n, (void *)block[i].p, block[i].p[k], block[i].byte);
}

static void got(unsigned i, void *p, size_t n, size_t align, unsigned step)
{
	expect(p != NULL, "step %u: %lu bytes aligned to %lu: NULL, though there is memory", step, n, align);
	expect((uintptr_t)p % align == 0, "step %u: %lu bytes aligned to %lu: %p isn't", step, n, align, p);
	expect((va_t)p >= heap_start() && (va_t)p + n <= heap_end(), "step %u: %lu bytes at %p: not within the heap, [%#lx, %#lx)", step, n, p, heap_start(),
	       heap_end());
	size_t usable = my_allocator.size(&my_allocator, p);
	expect(usable >= n, "step %u: a block of %lu bytes has, you say, %lu that are usable", step, n, usable);
	block[i].p = p;
	block[i].n = n;
	block[i].byte = (unsigned char)(step * 7 + 1);
	memset(p, block[i].byte, n);
}

static void drop(unsigned i)
{
	free(block[i].p);
	block[i].p = NULL;
}

static void test_blocks(void)
{
	begin();
	for (unsigned step = 0; step < 4000; step++) {
		unsigned i = grader_random() % BLOCKS;
		if (block[i].p) {
			verify(i, block[i].n, step);
			drop(i);
		} else {
			size_t n = 1 + grader_random() % (grader_random() % 20 ? 600 : 20000);
			got(i, malloc(n), n, 16, step);
		}
		if (step % 200 == 0)
			consistent("after malloc and free");
	}
	for (unsigned i = 0; i < BLOCKS; i++)
		if (block[i].p) {
			verify(i, block[i].n, 4000);
			drop(i);
		}
	consistent("all is free");
}

static void test_aligned(void)
{
	begin();
	for (unsigned step = 0; step < 600; step++) {
		unsigned i = grader_random() % 60;
		size_t align = 16ul << grader_random() % 9, n = 1 + grader_random() % 500;
		if (block[i].p) {
			verify(i, block[i].n, step);
			drop(i);
		} else {
			got(i, aligned_alloc(align, n), n, align, step);
		}
	}
	consistent("after aligned_alloc and free");
}

#define PIECES 64u

static void test_coalesce(void)
{
	static const unsigned steps[] = {1, 63, 5, 27}; /* odd: each goes through all */
	begin();
	free(malloc(100));
	for (unsigned k = 0; k < 4; k++) {
		for (unsigned i = 0; i < PIECES; i++)
			got(i, malloc(1000), 1000, 16, i);
		va_t end = heap_end();
		for (unsigned i = 0; i < PIECES; i++)
			drop((7 + i * steps[k]) % PIECES);
		consistent("64 blocks are free");
		char *p = malloc(PIECES * 1000);
		expect(p != NULL, "malloc(%u) returned NULL", PIECES * 1000);
		expect(heap_end() <= end, "%u neighbours of 1000 bytes each are free, in steps of %u, then one block of %u bytes is wanted:\n"
		       "the heap grew by %lu bytes, though there was room. Are free neighbours made one, on both sides?", PIECES, steps[k], PIECES * 1000,
		       heap_end() - end);
		free(p);
	}
}

static unsigned char *must_realloc(unsigned char *p, size_t n, size_t kept)
{
	unsigned char *q = my_realloc(&my_allocator, p, n);

	expect(q != NULL, "realloc to %lu bytes returned NULL", n);
	for (size_t k = 0; k < kept; k++)
		expect(q[k] == (unsigned char)(k * 3), "realloc to %lu bytes: byte %lu is %#x, was %#x", n, k, q[k], (unsigned char)(k * 3));
	for (size_t k = 0; k < n; k++)
		q[k] = (unsigned char)(k * 3);
	return q;
}

static void test_realloc(void)
{
	begin();
	unsigned char *p = malloc(100), *between = malloc(3000), *wall = malloc(100);
	expect(p && between && wall, "malloc returned NULL");
	memset(wall, 0xee, 100);
	for (size_t k = 0; k < 100; k++)
		p[k] = (unsigned char)(k * 3);
	free(between);
	unsigned char *q = must_realloc(p, 2000, 100);
	expect(q == p, "a block of 100 bytes at %p, 3000 free bytes behind it: realloc to 2000 moved it to %p", (void *)p, (void *)q);
	q = must_realloc(q, 50, 50);
	expect(q == p, "realloc to fewer bytes moved the block");
	q = must_realloc(q, 5000, 50);
	expect(q != p, "a block grew over its neighbour");
	for (size_t n = 5000; n < 60000; n = n * 5 / 4)
		q = must_realloc(q, n, 5000);
	for (unsigned k = 0; k < 100; k++)
		expect(wall[k] == 0xee, "a realloc has written into another block");
	consistent("after realloc");
	expect(my_realloc(&my_allocator, q, 1ul << 60) == NULL, "realloc to 2^60 bytes succeeded");
	q = must_realloc(q, 100, 100);
	free(q);
	free(wall);
	consistent("after realloc and free");
}

static void test_exhausted(void)
{
	begin();
	unsigned char *p = malloc(1000);
	expect(p != NULL, "malloc(1000) returned NULL");
	memset(p, 0x77, 1000);
	expect(malloc(1ul << 47) == NULL && malloc(~0ul - 100) == NULL && malloc(~0ul) == NULL, "malloc of more than there is returned a block");
	expect(heap_end() - heap_start() < 1ul << 20, "malloc of too much has failed, but the heap grew to %lu bytes", heap_end() - heap_start());
	unsigned char *q = malloc(5000);
	expect(q != NULL, "malloc has failed once, for good reason; now malloc(5000) fails, too");
	memset(q, 0x78, 5000);
	for (unsigned k = 0; k < 1000; k++)
		expect(p[k] == 0x77, "byte %u of a block has changed", k);
	consistent("after a malloc that failed");
}

static void test_check(void)
{
	begin();
	unsigned char *p[8];
	for (unsigned i = 0; i < 8; i++)
		expect((p[i] = malloc(40)) != NULL, "malloc(40) returned NULL");
	consistent("after eight mallocs");
	size_t n = my_allocator.size(&my_allocator, p[3]);
	unsigned char saved[16];
	memcpy(saved, p[3] + n, 16);
	memset(p[3] + n, 0x5a, 16);
	int bad = my_allocator.check(&my_allocator);
	expect(bad > 0, "16 bytes behind the end of a block were overwritten: check returned %d, should find that", bad);
	memcpy(p[3] + n, saved, 16);
	consistent("what was overwritten is as before");
}

/* Random work; the most bytes asked for at a time, over the most frames held at a time, in percent. */
static unsigned utilisation(size_t most)
{
	size_t live = 0, peak = 0;

	begin();
	free(malloc(16));
	uint64_t before = (uint64_t)frame_owned(0), frames = 0;
	for (unsigned step = 0; step < 6000; step++) {
		unsigned i = grader_random() % BLOCKS;
		if (block[i].p && grader_random() % 3) {
			live -= block[i].n;
			drop(i);
		} else if (!block[i].p) {
			size_t n = 16 + grader_random() % most;
			got(i, malloc(n), n, 16, step);
			live += n;
		}
		uint64_t now = (uint64_t)frame_owned(0) - before;
		frames = now > frames ? now : frames;
		peak = live > peak ? live : peak;
	}
	expect(frames > 0, "the heap has taken no frame");
	return (unsigned)(100 * peak / (frames * FH_PAGE));
}

static void at_least(size_t most, unsigned wanted)
{
	unsigned percent = utilisation(most);

	expect(percent >= wanted, "blocks of 16 to %lu bytes: at the peak %u %% of the bytes in the heap's frames were asked for, %u %% are wanted.\n"
	       "Is freed memory used again, are large blocks cut, and how large are the tags?", most + 16, percent, wanted);
}

static void test_half(void) { at_least(3000, 50); }
static void test_most(void) { at_least(3000, 75); }

static const struct lab_test tests[] = {
    {20, "blocks are aligned, apart, and keep what is written", test_blocks},
    {10, "aligned_alloc: 16 to 4096", test_aligned},
    {15, "free neighbours become one block", test_coalesce},
    {15, "realloc keeps the bytes, and the address where there is room", test_realloc},
    {10, "more than there is: NULL, and all goes on", test_exhausted},
    {10, "check finds a block whose end was overwritten", test_check},
    {10, "utilisation: half of the heap", test_half},
    {10, "utilisation: three quarters of the heap", test_most},
};
const struct lab lab = {.title = "Lab 4: a heap", .tests = tests, .ntests = sizeof(tests) / sizeof(tests[0])};
