/* parts.h - what the parts of the model share among themselves. */
#pragma once
#include "model.h"
#include <stdlib.h>
#include <string.h>

static inline bool bit(uint64_t w, unsigned n) { return w >> n & 1; }
static inline uint64_t bits(uint64_t w, unsigned lo, unsigned hi) { return w << (63 - hi) >> (63 - hi + lo); }
static inline struct m_result refused(unsigned why) { return (struct m_result){.why = why}; }
static inline struct m_result gives(long value) { return (struct m_result){.value = value}; }

enum what { EMPTY, LEAF, LARGE, LINK, SELF };

struct entry {
	enum what what;
	uint64_t first, n; /* frames named */
	bool writable, no_exec, dirty, accessed, uncached; /* uncached: any cache bit */
};

static inline unsigned level_of(unsigned type) { return type == FH_PT1 ? 1 : type == FH_PT2 ? 2 : type == FH_PT3 ? 3 : 4; }
static inline bool counted(unsigned type) { return type != FH_TABLE && type != FH_CPU; }
static inline bool same_name(struct m_name a, struct m_name b) { return a.env == b.env && a.serial == b.serial; }
static inline bool takeable(unsigned type) { return type == FH_DATA || type == FH_DEVICE || type == FH_CPU; }
static inline bool window(unsigned type) { return type == FH_PT1 || type == FH_PT2; }

/* What the CPU makes of a word in a table of this level; t: the table. */
struct entry m_read_entry(unsigned level, unsigned t, uint64_t w);
/* INV 7: may a user write this word there, whatever it names? */
unsigned m_check_word(const struct model *m, unsigned level, uint64_t w, struct entry *e);
bool m_on_one_line(const struct model *m, unsigned a, unsigned b);
/* The entry in a modelled slot; the kernel's own counts as none. */
struct entry m_entry_at(const struct model *m, unsigned t, unsigned slot);

/* The TLB clock. */
bool m_quiet(const struct model *m, uint64_t stamp);
unsigned m_would_wait(const struct model *m, uint64_t stamp); /* nothing or M_EAGAIN */
void m_await(struct model *m, uint64_t stamp);
void m_await_frames(struct model *m, uint64_t first, uint64_t n);
void m_flush_owner(struct model *m, unsigned owner);
void m_reload(struct model *m, unsigned cpu);
void m_stamp(struct model *m, uint64_t f);

/* May e own n frames more? */
unsigned m_check_quota(const struct model *m, unsigned e, long n);
/* Frames from `first` on that e could claim: how many, at most n, in steps of `each`, or why not even one step. */
unsigned m_check_claim(const struct model *m, unsigned e, uint64_t first, uint64_t n, uint64_t each, uint64_t *got);
void m_claim(struct model *m, unsigned f, unsigned type, unsigned owner, bool keep);
void m_release(struct model *m, unsigned me, unsigned f);
