/*
 * subject.h - the graded program as the grader has it: an env of its own, its child.
 *
 * What is known of it comes from where it can't write: its memory is read through its own page tables, linked into the
 * grader's tree; the frames that it holds are in its ENV frame; time is the grader's.
 */
#pragma once

#include "kit.h"

#include "job.h"

/* Instructions (TSC ticks under icount) that one call, and one round of a workload, may take. */
#define CALL_LIMIT 50000000ul
#define ROUND_LIMIT 4000000000ul

struct spent {
	uint64_t instructions, upcalls, calls, flushes;
	uint64_t round_trips;
};

extern struct channel *channel;
extern char trouble[320]; /* why the last function that failed did, as a sentence */
/* Set it, from what it was if need be. Returns false. */
bool fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Start `program` with so many frames of quota and threads. False: trouble. */
bool subject_start(const struct module *program, uint64_t quota, unsigned lanes);
/* The end of it, in whatever state it is: no frame is left of it. */
void subject_end(void);

/* One call, on one thread. *result may be NULL. False: it didn't come back. What it cost, with the round trip, is added
 * to *spent, if that isn't NULL. */
bool subject_call(unsigned lane, enum lane_op op, uint64_t p, uint64_t n, uint64_t align, uint64_t *result, struct spent *spent);
/* A round of a workload on all threads at once. */
bool subject_round(unsigned work, unsigned round, uint64_t *instructions);
/* Told by the run with allocator_none: what a round trip costs, and how many frames the runner has without an allocator's. */
void subject_calibrate(void);
/* Without the round trips. */
struct spent subject_spent(const struct spent *);

/* Frames it holds, above those of the runner itself: those that it owns or has handed on to envs below it. */
uint64_t subject_held(void);
/* n bytes at p of it, to be read and written here. NULL: not all of it is its own, mapped and writable: trouble. */
volatile char *subject_memory(uint64_t p, uint64_t n);
/* Threads that it has. */
unsigned subject_threads(void);
