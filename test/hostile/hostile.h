/*
 * hostile.h - what attackers share. An attacker is NN-name.c: an ordinary program without any right but its own quota, in an
 * env of its own. It does what class NN of docs/hostile.md is about, and says in TAP what came of it: refused with which
 * errno, or survived. It gives back what it took: main (hostile.c) says whether its own books are as before. What it can't
 * see - the canary beside it, everybody's books, the audit - the runner (main.c) looks at afterwards.
 */
#pragma once

#include "cpus.h"
#include "raw.h"
#include "spacewalk.h"
#include "tap.h"
#include "touch.h"

/* The attack; main is in hostile.c. */
void attack(void);

/* A page of the runner's: the canary counts its steps there; attackers see it read-only. It names what is worth attacking. */
#define CANARY_PAGES 16u
struct stage {
	volatile uint64_t steps;      /* the canary works: it counts on */
	volatile uint64_t harm;       /* times that it found its own memory or registers changed */
	uint64_t env, thread;         /* names of the canary's */
	uint64_t root, pt1;           /* pfns of its tables */
	uint64_t page[CANARY_PAGES];  /* of its memory, all patterns */
	uint64_t runner_env, runner_thread, runner_root, runner_page;
};
#define STAGE_VA 0x0e0000000000ul
#define STAGE ((const struct stage *)STAGE_VA)
#define COUNT_VA (STAGE_VA + FH_PAGE) /* struct tap_lines, the runner's and the attacker's */

#define RW (FH_P | FH_W | FH_U | FH_NX)
#define RO (FH_P | FH_U | FH_NX)
#define LINK (FH_P | FH_W | FH_U)

/* A corner of the attacker's own address space: the tables over it, and a DATA frame mapped nowhere. */
#define VA 0x300000000000ul
extern pfn_t pt4, pt3, pt2, pt1, data;

/* One operation by registers; the entry before it is in `old`. EAGAIN is waited for. */
extern pte_t old;
int64_t op(unsigned opcode, uint64_t flags, pfn_t table, unsigned index, pte_t e, va_t va);
static inline int64_t set(pfn_t table, unsigned index, pte_t e) { return op(FH_OP_SET, FH_FLUSH_LOCAL, table, index, e, 0); }
static inline int64_t clear(pfn_t table, unsigned index) { return op(FH_OP_CLEAR, FH_FLUSH_LOCAL, table, index, 0, 0); }
/* n operations at `ops` of this thread's batch (batch_here()) until all are done or one is refused, in as many calls as
 * interrupts make of it; how many are done is in `updated`. */
struct fh_op *batch_here(void);
extern unsigned updated;
int64_t update(struct fh_op *ops, unsigned n);

/* frame_retype, frame_get_typed and frame_free of one, or the end of the attack. */
int64_t retype(pfn_t f, unsigned type);
pfn_t table_new(unsigned type);
pfn_t data_new(size_t n, size_t align);

static inline uint64_t state(pfn_t f) { return frame_record(f)->state; }
static inline unsigned type(pfn_t f) { return fh_type(state(f)); }
static inline uint64_t refs(pfn_t f) { return fh_refs(state(f)); }
static inline pfn_t owner(pfn_t f) { return fh_owner(state(f)); }
static inline volatile uint64_t *at(unsigned page) { return (volatile uint64_t *)(VA + page * FH_PAGE); }
pfn_t free_frame(void);
static inline uint64_t ms(uint64_t n) { return n * info->tsc_khz; }

/* The result must be this one, else it is counted into t. */
bool want(struct tally *t, int64_t got, int64_t wanted, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* One of these two. */
bool either(struct tally *t, int64_t got, int64_t one, int64_t other, const char *format, ...) __attribute__((format(printf, 5, 6)));

/* A child env with five pages and no CPU time of its own (raw.h), or the end of the attack; its tables. */
struct raw *victim(uint64_t quota);
void victim_end(struct raw *, struct tally *);
pfn_t table_of(const struct raw *, unsigned type);

/* Run f(i) on each CPU i at once, on two threads if there is one CPU; f's own loop ends. Between crew_begin and crew_end the
 * first thread is on CPU 0, where it may go on meanwhile, and the rest run on the other CPUs. */
unsigned crew_size(void);
void relax(void); /* in a loop that waits for another CPU; for another thread, if there is one CPU */
void crew_begin(void (*f)(void *));
void crew_end(void);
void crew(void (*f)(void *));

/* A second root of this env: its slots name the same tables. */
pfn_t root_clone(void);
void root_end(pfn_t root, struct tally *);

/*
 * A writer: a thread on another CPU (CPU 0's, if there is only one) that writes MARK to *va, nothing else, until that faults;
 * no system call, and nothing but the kernel makes its CPU forget the translation. writer_go waits for its first write.
 */
#define MARK 0x57a1e57a1e57a1e0ul /* not present, if it lands in a page table */
void writer_begin(void);
void writer_end(void);
bool writer_go(va_t va);
bool writer_ended(void);           /* it has, by a fault */
bool writer_ends(unsigned ms);
/* All that is seen in a word until it has ended, and a while longer. */
uint64_t watch(const volatile uint64_t *word);

/* One instruction or so, in a raw thread without handlers: the vector that stops it; 256: none did. */
unsigned vector_of(struct raw *r, const void *bytes, size_t n, const struct fh_regs *regs);
