/*
 * model.h - the machine as docs/design.md has it, slow and plain: a table of frames, what stands in each table's slots, who
 * pins what. Nothing is counted: references, an env's frames, a table's entries and the place of a foreign link are
 * looked up each time. Of src/kern it shares abi.h only, and decodes every word by itself.
 *
 * A call gathers every reason there is to refuse it. The kernel must refuse if there is one, with the errno of one of them.
 */
#pragma once
#include "abi.h"
#include <stdbool.h>

#define M_FRAMES 1600u
#define M_CPUS 2u
#define M_SLOTS 4u                 /* slots of a table that are modelled: 0, 1, 510, 511. The others stay empty */
#define M_KERNEL_ENTRY 0x2003ul    /* what stands in slot 511 of a PT4 */
#define M_POISON 0xa5a5a5a5a5a5a5a5ul
#define M_MARK 0x1234567890ul      /* what a user has written into a DATA frame */
#define M_REFS_LIMIT ((1u << 24) - 1 - 1024)
#define M_ACCOUNT_MAX ((1l << 31) - 1)
#define M_SERIAL_MAX ((1ul << 37) - 1)
#define M_IDLE (~0ul)              /* epoch of an idle CPU */
#define M_ROUND 64u                /* frames of a call, slots of a round */
#define M_NO_ROOT 1u               /* the frame of the kernel's own root */

struct m_name { unsigned env; uint64_t serial; }; /* env 0: nobody */

struct m_frame {
	uint8_t type;                     /* enum fh_type */
	bool dead, frozen;                /* ENV */
	unsigned owner;                   /* the ENV frame of; 0: nobody */
	struct m_name tenant;             /* granted to; of a FREE frame: its last owner */
	uint64_t stamp;                   /* clock when it last lost a mapping or a right */
	unsigned extra;                   /* references from outside of what is modelled */
	uint64_t slot[M_SLOTS];           /* entries of a table; else the bytes there */
	uint64_t serial;                  /* ENV, THREAD */
	long quota;                       /* ENV */
	unsigned depth, nlost, lost[4];   /* ENV; lost: frames entered in the repossession vector by this call */
	unsigned pin[4], run;             /* THREAD: root, upcall root, upcall, batch; enum fh_thread_state */
};

struct model {
	unsigned nframes, ncpus, width;   /* width: physical address bits */
	bool large_exec;
	bool interrupt;                   /* one is pending all the time */
	unsigned special;                 /* no table, ENV or THREAD from this frame on */
	unsigned cpu, budget, forced;     /* of the running CPU: who it is, flushes it may force, flushes forced in this call */
	uint64_t clock, epoch[M_CPUS];
	unsigned loaded[M_CPUS];          /* root in CR3 */
	struct m_frame f[M_FRAMES];
};

/* Reasons to refuse, as a set. */
#define FH_X(name, number, text) M_BIT_##name,
enum { FH_ERRORS(FH_X) M_NERRORS };
#undef FH_X
#define FH_X(name, number, text) M_##name = 1u << M_BIT_##name,
enum { FH_ERRORS(FH_X) };
#undef FH_X
unsigned m_reason(long error); /* of an errno */

struct m_result {
	unsigned why; /* empty: it succeeds */
	long value;
	uint64_t old; /* pt_set's old entry; pt_update's whole operations done */
};

/* What is looked up. */
bool m_within(const struct model *m, unsigned e, unsigned a);
bool m_authority(const struct model *m, unsigned me, unsigned owner);
void m_references(const struct model *m, unsigned *refs); /* of every frame */
unsigned m_refs(const struct model *m, unsigned f);
unsigned m_present(const struct model *m, unsigned t);
/* The slot of another owner's table that links t: its parent, 0 if there is none. */
unsigned m_foreign(const struct model *m, unsigned t, unsigned *index);
struct m_place { unsigned parent, index; };
void m_foreign_all(const struct model *m, struct m_place *place); /* the same of every frame */
long m_owned(const struct model *m, unsigned e);
struct m_name m_name_of(const struct model *m, unsigned e);
bool m_is_table(unsigned type);
bool m_lives(const struct model *m, struct m_name name);
unsigned m_index(unsigned slot); /* which slot of a table this is */
int m_slot(unsigned index);      /* the reverse, -1: not modelled */

/* The calls. */
struct m_result m_alloc(struct model *m, unsigned me, uint64_t first, uint64_t n, uint64_t name, uint64_t flags);
struct m_result m_free(struct model *m, unsigned me, uint64_t first, uint64_t n);
struct m_result m_retype(struct model *m, unsigned me, uint64_t f, uint64_t type);
struct m_result m_grant(struct model *m, unsigned me, uint64_t f, uint64_t name);
struct m_result m_take(struct model *m, unsigned me, uint64_t first, uint64_t n);
struct m_result m_sync(struct model *m, uint64_t first, uint64_t n);
struct m_result m_lookup(const struct model *m, unsigned me, uint64_t name);
struct m_result m_move_quota(struct model *m, unsigned e, long n);
struct m_result m_pt_set(struct model *m, unsigned me, uint64_t what, uint64_t entry, uint64_t va);
struct m_result m_pt_update(struct model *m, unsigned me, struct fh_op *ops, uint64_t n);

/* What happens around them. */
void m_load(struct model *m, unsigned root); /* on m->cpu */
void m_enter_idle(struct model *m);
void m_leave_idle(struct model *m);
void m_tick(struct model *m);
struct m_result m_pin(struct model *m, unsigned thread, unsigned which, unsigned f); /* 0: unpin */

/* NULL, or which invariant of DESIGN 2 doesn't hold, and for which frame. */
const char *m_broken(const struct model *m, unsigned *frame);
/* The same of a step: what may change hands or type, and when (invariants 3 and 10). */
const char *m_bad_step(const struct model *before, const struct model *after, unsigned *frame);
