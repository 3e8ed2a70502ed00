/*
 * job.h - between the grader (grader.c), the program that it grades (runner.c, linked with an allocator), and tools/grade.py.
 *
 * The two programs are envs of their own: the runner's memory is the grader's to look at, the grader's isn't the runner's.
 * What the runner is to do next comes through one page, one call at a time; it has no trace, no clock and no books.
 */
#pragma once

#include <stdint.h>

#include "plan.h"

/* ---- The module with the traces, made by tools/grade.py: this header, then the traces' operations. ---- */
#define JOB_MAGIC 0x3165636172744846ul /* "FHtrace1" */
#define JOB_TRACES 64u
struct job_trace {
	char name[24];
	uint32_t ids, nops; /* ids: 0 to ids - 1 */
	uint64_t at;        /* of its operations, in bytes from the start of the module */
	uint64_t peak;      /* most bytes in use at once */
};
struct job {
	uint64_t magic;
	char key[24];       /* begins each line that the grader prints: the runner doesn't know it */
	uint64_t ntraces;
	struct job_trace trace[JOB_TRACES];
};
enum { TRACE_ALLOC, TRACE_FREE, TRACE_REALLOC };
#define EXHAUST_STEPS 6u /* exhaust.c */
#define TRACE_NULL (~0u) /* id: NULL */
struct trace_op {
	uint32_t op, id;
	uint64_t bytes;
};

/* ---- The page between grader and runner: the grader's frame, mapped here in the runner. ---- */
#define CHANNEL_VA 0x7f3000000000ul
#define LANES 8u /* threads of the runner that the grader talks to, each on a line of its own */

enum lane_op {
	LANE_NOP,
	LANE_ALLOC,   /* result = malloc(n), or aligned_alloc(align, n) if align > 0; every page of it touched */
	LANE_FREE,    /* free(p) */
	LANE_REALLOC, /* result = realloc(p, n), touched */
	LANE_SIZE,    /* result = malloc_usable_size(p) */
	LANE_CHECK,   /* result = malloc_check() */
	LANE_TRIM,    /* result = malloc_trim() */
	LANE_WORK,    /* a round of a workload (work.h): p its number, n the round */
};
struct lane {
	uint64_t op, p, n, align;
	uint64_t result; /* written before the block is touched */
	uint64_t done;   /* the call has come back */
	uint64_t thread; /* name of the runner's thread here; the runner's */
	uint64_t bad;    /* LANE_WORK: blocks that weren't as they had been left */
};
struct channel {
	struct lane lane[LANES];
	uint64_t grader;  /* name of the grader's thread: rung with LANE_BELL(lane) */
	uint64_t lanes;
	uint64_t slots;   /* address of the runner's struct slot [LANES][WORK_SLOTS]; the runner's */
	char scratch[2048] __attribute__((aligned(1024))); /* for allocator_none */
};
_Static_assert(sizeof(struct channel) <= FH_PAGE, "one page");

#define LANE_GO (1ul << BELL_USER)                /* to a thread of the runner */
#define LANE_BELL(i) (1ul << (BELL_USER + 1 + (i))) /* to the grader */
