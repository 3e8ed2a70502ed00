/* main.c - the harness, and the order of the benchmarks. Each does the work of the line of that name in docs/bench.md, as
 * peers/linux/bench.c does it, and leaves the same state behind. */
#include <stdio.h>

#include "bench.h"

struct samples *samples;
static uint64_t overhead; /* of an empty pair */
static uint32_t seed = 12345;

unsigned bench_random(unsigned below)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % below;
}

void bench_group(void) { samples->n = 0; }

void bench_sample(uint64_t now, int64_t frames)
{
	if (samples->n == SAMPLES)
		return;
	samples->value[samples->n] = now - samples->began;
	samples->rep[samples->n++] = frames < 0 ? ~0ul : (uint64_t)frames * REP_FRAME;
}

/* Heap sort (Williams 1964): qsort of the libc is not worth linking for this. */
static void sift(uint64_t *v, uint64_t at, uint64_t n)
{
	for (uint64_t child; (child = 2 * at + 1) < n; at = child) {
		child += child + 1 < n && v[child + 1] > v[child];
		if (v[at] >= v[child])
			return;
		uint64_t t = v[at];
		v[at] = v[child];
		v[child] = t;
	}
}

static uint64_t median(uint64_t *v, uint64_t n)
{
	MUST(n > 0);
	for (uint64_t i = n / 2; i-- > 0;)
		sift(v, i, n);
	for (uint64_t end = n; end-- > 1;) {
		uint64_t t = v[0];
		v[0] = v[end];
		v[end] = t;
		sift(v, 0, end);
	}
	return v[n / 2];
}

static void print(const char *name, const char *suffix, uint64_t counts, unsigned per)
{
	char label[40];

	counts = counts > overhead ? counts - overhead : 0;
	snprintf(label, sizeof(label), "%s%s", name, suffix);
	printf("%-28s %8lu\n", label, (counts + per / 2) / per);
}

void bench_report(const char *name, unsigned per)
{
	static uint64_t plain[SAMPLES];
	uint64_t n = samples->n, known = 0, rounds = 0;

	for (uint64_t i = 0; i < n; i++) {
		if (samples->rep[i] == ~0ul)
			continue;
		plain[known++] = samples->value[i] - samples->rep[i];
		rounds += samples->rep[i];
	}
	print(name, "", median(samples->value, n), per);
	if (known && rounds)
		print(name, "/rep1", median(plain, known), per);
}

char *bench_fresh(size_t pages)
{
	int64_t p = mm_map(0, pages * FH_PAGE, RW, 0);
	MUST(!mm_failed(p));
	return (char *)p;
}

char *bench_touched(size_t pages)
{
	char *p = bench_fresh(pages);

	for (size_t i = 0; i < pages; i++)
		touch(p + i * FH_PAGE);
	return p;
}

/* The counter counts instructions, and REP rounds as said: else every line below would mean something else. */
static void calibrate(void)
{
	static uint64_t words[512];
	uint64_t count;

	bench_group();
	for (int i = 0; i < 500; i++) {
		bench_begin();
		BENCH_END(0);
	}
	overhead = median(samples->value, samples->n);
	bench_begin();
	__asm__ volatile("mov $100000, %0; 1: dec %0; jnz 1b" : "=r"(count));
	uint64_t spent = bench_read() - samples->began - overhead;
	if (spent != 200001)
		printf("bench: 200001 instructions counted as %lu: run it under icount (make bench)\n", spent);
	void *to = words;
	count = 512;
	bench_begin();
	__asm__ volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(0) : "memory");
	spent = bench_read() - samples->began - overhead;
	if (spent < REP_FRAME || spent > REP_FRAME + 4)
		printf("bench: a rep stosq of 512 words counts %lu: /rep1 lines are wrong\n", spent);
}

int main(void)
{
	int64_t p = mm_map(0, sizeof(*samples), RW, MM_SHARED | MM_EAGER);

	MUST(!mm_failed(p));
	samples = (struct samples *)p;
	calibrate();
	char which[8];
	if (boot_option("bench", which, sizeof(which))) { /* bench=longest: the other table */
		bench_longest();
		return 0;
	}
	bench_traps();
	bench_protection();
	bench_mapping();
	bench_envs();
	bench_alloc();
	return 0;
}
