/*
 * work.h - workloads of several threads, in the style of larson, cache-scratch, cache-thrash and of producers and consumers.
 *
 * Each thread works on an array of slots, each slot a block or none. A workload goes in rounds; after each one the arrays
 * may go on to the next thread, which then frees what another one has allocated. What a thread does in a round follows from
 * the workload, the round and the array alone, not from the other threads: so the grader knows what must be in each slot when
 * all have ended a round, and looks.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORK_SLOTS 128u

struct work {
	const char *name;
	unsigned slots;    /* of each array */
	unsigned steps;    /* of each thread in a round; one allocates a block and frees the one before */
	unsigned rounds;
	unsigned least, most; /* bytes of a block */
	unsigned writes;   /* how often each block is written to */
	bool in_order;     /* slots one after the other, not by lot */
	bool pass_on;      /* arrays go on to the next thread after each round */
	bool stepped;      /* the threads take turns at every few instructions of the allocator */
};

static const struct work works[] = {
    {"larson", .slots = 128, .steps = 400, .rounds = 6, .least = 16, .most = 512, .writes = 1, .pass_on = true},
    {"producer-consumer", .slots = 100, .steps = 300, .rounds = 6, .least = 24, .most = 256, .writes = 1, .in_order = true, .pass_on = true},
    {"cache-thrash", .slots = 1, .steps = 300, .rounds = 3, .least = 8, .most = 8, .writes = 50},
    {"cache-scratch", .slots = 1, .steps = 300, .rounds = 3, .least = 8, .most = 8, .writes = 50, .pass_on = true},
    {"stepped", .slots = 16, .steps = 25, .rounds = 4, .least = 16, .most = 200, .writes = 1, .pass_on = true, .stepped = true},
};
#define WORKS (sizeof(works) / sizeof(works[0]))

struct slot { /* in the runner */
	uint64_t p, bytes, key;
};

/* splitmix64 (Steele, Lea, Flood 2014). */
static inline uint64_t work_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ul);
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ul;
	z = (z ^ z >> 27) * 0x94d049bb133111ebul;
	return z ^ z >> 31;
}

/* One step: which slot, how many bytes, which pattern. Start a round with work_seed. */
struct work_step {
	unsigned slot;
	uint64_t bytes, key;
};
static inline uint64_t work_seed(unsigned work, unsigned round, unsigned array)
{
	return ((uint64_t)work << 16 | round) << 16 | array;
}
static inline struct work_step work_next(const struct work *w, uint64_t *state, unsigned step)
{
	uint64_t a = work_random(state), b = work_random(state);
	return (struct work_step){w->in_order ? step % w->slots : (unsigned)(a >> 32) % w->slots,
	                          w->least + (uint32_t)a % (w->most - w->least + 1), b};
}
/* The array that thread `lane` has in a round. */
static inline unsigned work_array(const struct work *w, unsigned round, unsigned lane, unsigned lanes)
{
	return w->pass_on ? (lane + round) % lanes : lane;
}

/*
 * What a block is filled with: words that follow from a key, and a tail of bytes. In blocks past 32 KiB only one word of
 * nine is looked at.
 */
#define PATTERN_STEP(n) ((n) > 32768 ? 72u : 8u)
static inline uint64_t pattern_word(uint64_t key, size_t at) { return key + at * 0x9e3779b97f4a7c15ul; }
static inline void pattern_fill(volatile char *p, size_t n, uint64_t key)
{
	for (size_t i = 0; i + 8 <= n; i += PATTERN_STEP(n))
		*(volatile uint64_t *)(p + i) = pattern_word(key, i);
	for (size_t i = n & ~7ul; i < n; i++)
		p[i] = (char)pattern_word(key, i);
}
/* The first byte that is wrong in a block that was filled with n bytes and of which `kept` are left; kept: none. */
static inline size_t pattern_wrong(const volatile char *p, size_t n, size_t kept, uint64_t key)
{
	for (size_t i = 0; i + 8 <= kept; i += PATTERN_STEP(n)) {
		uint64_t wrong = *(const volatile uint64_t *)(p + i) ^ pattern_word(key, i);
		if (wrong && i + 8 <= n)
			return i + (size_t)__builtin_ctzl(wrong) / 8;
	}
	for (size_t i = n & ~7ul; i < n && i < kept; i++)
		if (p[i] != (char)pattern_word(key, i))
			return i;
	return kept;
}
