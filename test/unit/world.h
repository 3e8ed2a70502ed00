/*
 * world.h - a small machine with root in it, made afresh for each test; steps that are checked; frames and envs made
 * in one word.
 *
 * Every step of a test is one of
 *	does(call)                         it succeeds; its result
 *	gives(call, result)                it returns exactly this
 *	refuses(call, EBUSY, "sentence")   it is refused so, in words that contain these, and has changed nothing
 * and each is followed by the audit of all invariants.
 */
#pragma once
#include "suite.h"
#include "epoch.h"
#include "frame.h"
#include "grant.h"
#include "pt.h"
#include "pte.h"

/* The machine: which frame is what at the start. */
#define NFRAMES 2348u     /* no multiple of 512: the last 2 MiB are ragged */
#define A_KERNEL 2u
#define A_DEVICE 32u      /* 8 of root's */
#define A_CPU 40u         /* 2 of root's */
#define ROOT_ENV 63u
#define SMALL 64u         /* FREE, as those below */
#define TABLE_RUN 512u    /* 512 TABLE frames */
#define RUN 1024u         /* two aligned runs of 512 FREE frames */
#define RUN2 1536u
#define RAGGED 2048u      /* 300 FREE frames, and no more */

extern pfn_t root;        /* root's ENV frame */
extern bool world_shallow; /* refuses() looks at records and special frames only: for long loops */
extern bool world_no_audit; /* a counter has been forged */

void world_make(unsigned cpus);
/* 0, or what is wrong in words. */
const char *world_wrong(void);
void world_forge_quota(pfn_t env, uint64_t n); /* out of thin air */

void world_before(void);
/* Everything as it was, but for ticket locks and, if `stamps`, stamps? Else what changed, in words. */
const char *world_changed(bool stamps);
long world_step(long r, const char *call, const char *file, int line);
long world_gives(long r, long want, const char *call, const char *file, int line);
void world_refused(long r, long error, const char *words, bool stamps, const char *call, const char *file, int line);

#define does(call) world_step((call), #call, __FILE__, __LINE__)
#define gives(call, result) world_gives((call), (result), #call, __FILE__, __LINE__)
#define refuses(call, error, words)                                                                                    \
	(world_before(), world_refused((call), FH_##error, words, false, #call, __FILE__, __LINE__))
/* The same, but a stamp may rise: the frame was on its way when the call was refused. */
#define refuses_stamped(call, error, words)                                                                            \
	(world_before(), world_refused((call), FH_##error, words, true, #call, __FILE__, __LINE__))

pfn_t some_free(void);                     /* a FREE frame; another each time */
pfn_t data(pfn_t env);                     /* a DATA frame of env */
pfn_t make(pfn_t env, unsigned type);
pfn_t child(pfn_t parent, uint64_t quota); /* an env */
void run(pfn_t env, pfn_t first, uint64_t n); /* DATA frames of env from `first` */
struct tree { pfn_t t[5]; };               /* t[level] */
struct tree tree(pfn_t env);               /* PT4 to PT1, linked from slot 0 each */
void pin(pfn_t thread, uint64_t *field, pfn_t f); /* as thread_write does */

uint64_t raw(pfn_t t, unsigned index);
void forge(pfn_t t, unsigned index, uint64_t word);
extern pte_t old_entry;
/* One operation on one slot; the old entry in old_entry. */
long op(pfn_t me, unsigned opcode, pfn_t t, unsigned index, pte_t e);
static inline long set(pfn_t me, pfn_t t, unsigned index, pte_t e) { return op(me, FH_OP_SET, t, index, e); }
static inline long clear(pfn_t me, pfn_t t, unsigned index) { return op(me, FH_OP_CLEAR, t, index, 0); }
static inline pte_t rw(pfn_t f) { return f.n << 12 | FH_P | FH_W | FH_U | FH_NX; }
static inline pte_t ro(pfn_t f) { return f.n << 12 | FH_P | FH_U | FH_NX; }
static inline pte_t rx(pfn_t f) { return f.n << 12 | FH_P | FH_U; }
static inline pte_t link_to(pfn_t t) { return t.n << 12 | FH_P | FH_W | FH_U; }
static inline pte_t large(uint64_t first) { return rw(pfn(first)) | FH_PS; }

static inline unsigned type_of(pfn_t f) { return fh_type(state_of(f)); }
static inline uint64_t refs_of(pfn_t f) { return fh_refs(state_of(f)); }
static inline uint64_t count_of(pfn_t t) { return fh_count(record(t)->link); }
static inline uint64_t owned(pfn_t e) { return fh_owned(env_at(e)->account); }
static inline uint64_t quota(pfn_t e) { return fh_quota(env_at(e)->account); }
bool all_bytes(pfn_t f, uint8_t value);
void fill_frame(pfn_t f, uint8_t value);

/* Another CPU does this while the next call awaits quiet; the call is made to await. */
void meanwhile(pfn_t f, void (*what)(void));
/* Run a root on a CPU. */
void run_on(unsigned cpu, pfn_t pt4);
