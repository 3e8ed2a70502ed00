/*
 * fuzzer.h - a worker of the system-call fuzzer (fuzz.c): a raw thread that runs this code and nothing else, and makes
 * calls that it draws from a generator of its own. Its state lies in a page of the fuzzer's, mapped in all envs of workers at
 * the same address, so that it goes on after a fault. It works in turns; the generator's state at the begin of each is a function
 * of the worker's key and the number of the turn. So a turn's choices follow from the seed as far as what it draws does not
 * depend on what it has found: what the others have done to the ownership table meanwhile.
 *
 * The worker shares the program's text and rodata, read-only. It touches no other data of the program.
 */
#pragma once

#include "kit.h"
#include "raw.h"

#define FUZZ_PLACES 8u
#define FUZZ_FRAMES 16u /* frames of a place that are worth naming */
#define FUZZ_ERRORS 16u
#define FUZZ_DONE 14u   /* columns of a histogram beside the errors: it succeeded; */
#define FUZZ_AWAY 15u   /* it didn't return there */
#define FUZZ_LAST 8u
#define FUZZ_KEPT 96u  /* the first turns, of which the choices are kept: */
#define FUZZ_HASHED 3u /* the draws that every turn makes: what it does, and the first choice of how */
#define FUZZ_VA 0x300000000000ul
#define FUZZ_WINDOW_SLOT 256u /* slots of a worker's PT2 for tables of the arena */
#define FUZZ_WINDOWS 4u

/* What all workers may read. */
struct fuzz_board {
	pfn_t arena;
	uint64_t narena, nframes, tsc_khz, ncpus, places;
	pfn_t special[24]; /* of nobody here, or of all: to be attacked */
	uint64_t nspecial;
	uint64_t slot_cpu, slot; /* CPU frame and slot that a worker was given last */
	struct fuzz_place {
		uint64_t env, thread; /* names */
		pfn_t frame[FUZZ_FRAMES]; /* root, PT3, PT2, PT1, the raw pages, ENV, THREAD; 0 ends the list */
	} place[FUZZ_PLACES + 1]; /* the last is the canary's */
};
enum { FUZZ_ROOT, FUZZ_PT3, FUZZ_PT2, FUZZ_PT1, FUZZ_RAW, FUZZ_ENV = FUZZ_RAW + RAW_PAGES, FUZZ_THREAD };

/* A worker's own page. */
struct fuzz {
	uint64_t stack_top; /* first: fuzz_land takes it from here */
	uint64_t place, random;
	uint64_t key, turn, drawn; /* seed of all turns; turns begun; draws in this one, */
	uint64_t choices;          /* and a hash of them */
	uint8_t chose[FUZZ_KEPT];  /* the same of each turn, never 0; 0: it was interrupted before */
	volatile uint64_t steps, target; /* calls made; to be made */
	uint64_t lost;      /* landings since a call last returned */
	uint64_t touches, poked, faults, landed;
	uint64_t calling;   /* 1 + the call that it is in */
	uint64_t bad;       /* answers that can't be */
	uint64_t wrong[6];  /* the first of them: number, arguments, result */
	uint64_t last[FUZZ_LAST][6];
	uint32_t calls[FH_NSYSCALLS + 1][FUZZ_ERRORS]; /* by call (the last: no such number) and error, or as above */
	uint32_t ops[FH_NOPS][FUZZ_ERRORS]; /* pt_set alone */
};
_Static_assert(sizeof(struct fuzz_board) <= FH_PAGE && sizeof(struct fuzz) <= FH_PAGE, "a page each");

static inline struct fuzz_board *fuzz_board(void) { return (struct fuzz_board *)FUZZ_VA; }
static inline struct fuzz *fuzz_of(unsigned place) { return (struct fuzz *)(FUZZ_VA + (1 + place) * FH_PAGE); }

/* Where the worker of a place begins, and where it lands after a fault. */
va_t fuzz_landing(unsigned place);
/* Column of an errno, and the reverse. */
unsigned fuzz_column(int64_t result);
int fuzz_error(unsigned column);
/* Does the reference list the error of this column for the call? */
bool fuzz_documented(unsigned call, unsigned column);
