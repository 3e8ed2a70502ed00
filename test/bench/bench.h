/*
 * bench.h - the harness. Under icount the time stamp counter counts executed instructions (those of the kernel too), so a
 * sample is exact and repeats to the last digit. What is printed is the median of many samples, less the cost of
 * reading the counter twice; the first samples warm tables and the like.
 *
 * Each round of a REP instruction counts as one there. Where the number of frames zeroed and copied between the two
 * readings is known, a second line NAME/rep1 counts those REP instructions once each, as docs/bench.md does. Short ones (the
 * kit's memmove of regions, the 22 words of an upcall's registers) stay as they are in both.
 */
#pragma once

#include "kit.h"

#define SAMPLES 4096u
#define REP_FRAME 512u /* extra counts of one `rep stosq` or `rep movsq` over a frame: one for each word */

/* Samples lie in shared memory: a forked child adds to its parent's, and a fork does not copy them. */
struct samples {
	uint64_t n, value[SAMPLES];
	uint64_t rep[SAMPLES]; /* of it, rounds of REP instructions; ~0: not known */
	uint64_t began;
};
extern struct samples *samples;

void bench_group(void); /* forget all samples */
static inline void bench_begin(void)
{
	__asm__ volatile("" ::: "memory");
	samples->began = cpu_tsc();
}
static inline uint64_t bench_read(void)
{
	uint64_t now = cpu_tsc();
	__asm__ volatile("" ::: "memory");
	return now;
}
/* The end of a sample, in which `frames` were zeroed or copied (-1: nobody knows). */
#define BENCH_END(frames) bench_sample(bench_read(), (frames))
void bench_sample(uint64_t now, int64_t frames);
/* Print the median, divided by `per`. */
void bench_report(const char *name, unsigned per);

/* End the run with a sentence. */
#define MUST(condition) ((condition) ? (void)0 : panic("%s:%d: %s", __FILE__, __LINE__, #condition))

#define RW (RIGHT_R | RIGHT_W)
char *bench_fresh(size_t pages);   /* mapped, untouched */
char *bench_touched(size_t pages); /* and touched */
static inline void touch(char *p) { __asm__ volatile("movb $1, (%0)" : : "r"(p) : "memory"); }
unsigned bench_random(unsigned below); /* the same sequence in every run, and in peers/linux/bench.c */

void bench_traps(void), bench_protection(void), bench_mapping(void), bench_envs(void), bench_alloc(void),
    bench_longest(void);
