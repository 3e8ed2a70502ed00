/*
 * types.h - distinct types for frame numbers and physical addresses, atomic access to shared words, and refusals.
 */
#pragma once
#ifndef FREEHOLD_KERNEL
#error "kernel header: user code includes abi.h"
#endif
#include "abi.h"
#include <stdbool.h>
#include <stddef.h>

typedef struct { uint64_t n; } pfn_t;
typedef struct { uint64_t a; } pa_t;
typedef uint64_t va_t;
typedef uint64_t pte_t;

#define PAGE FH_PAGE

static inline pfn_t pfn(uint64_t n) { return (pfn_t){n}; }
static inline bool same(pfn_t a, pfn_t b) { return a.n == b.n; }
static inline pa_t pa(uint64_t a) { return (pa_t){a}; }
static inline pa_t pa_of(pfn_t f) { return (pa_t){f.n * PAGE}; }
static inline pfn_t entry_pfn(pte_t e) { return (pfn_t){fh_pte_pfn(e)}; }

/* What clang -Wthread-safety checks: which lock guards what, and what each function takes, takes if it
 * returns 0, gives back, needs, excludes. */
#ifdef __clang__
#define LOCK_TYPE __attribute__((capability("lock")))
#define GUARDED_BY(lock) __attribute__((guarded_by(lock)))
#define TAKES(lock) __attribute__((acquire_capability(lock)))
#define MAY_TAKE(lock) __attribute__((try_acquire_capability(0, lock)))
#define GIVES(lock) __attribute__((release_capability(lock)))
#define NEEDS(lock) __attribute__((requires_capability(lock)))
#define WITHOUT(lock) __attribute__((locks_excluded(lock)))
#define NOW_HAS(lock) __attribute__((assert_capability(lock)))
#define UNCHECKED __attribute__((no_thread_safety_analysis))
#else
#define LOCK_TYPE
#define GUARDED_BY(lock)
#define TAKES(lock)
#define MAY_TAKE(lock)
#define GIVES(lock)
#define NEEDS(lock)
#define WITHOUT(lock)
#define NOW_HAS(lock)
#define UNCHECKED
#endif

/* One LOCKed instruction, or one plain load or store, each; sequentially consistent unless said otherwise. */
#define atomic_get(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define atomic_set(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define atomic_swap(p, v) __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST)
#define atomic_plus(p, v) __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST)
#define atomic_minus(p, v) __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST)
#define atomic_or(p, v) __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST)
#define atomic_and(p, v) __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST)
/* On failure *old holds what was found. */
#define atomic_cas(p, old, new)                                                                                        \
	__atomic_compare_exchange_n(p, old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)

/*
 * A refusal: the errno to return, and in debug builds a sentence for whoever asks why (the refusal ring).
 *	return REFUSE(EPERM, "the table belongs to a stranger");
 */
#ifdef DEBUG
void refusal_note(unsigned error, const char *sentence);
#define REFUSE(name, sentence) (refusal_note(FH_##name, sentence), -(long)FH_##name)
#else
#define REFUSE(name, sentence) (-(long)FH_##name)
#endif

/* The kernel's own mistakes. User input never reaches one. */
_Noreturn void panic(const char *format, ...) __attribute__((format(printf, 1, 2)));
#ifdef DEBUG
#define DEBUG_ASSERT(cond, sentence)                                                                                   \
	do {                                                                                                           \
		if (!(cond))                                                                                           \
			panic("%s:%d: %s [%s]", __FILE__, __LINE__, sentence, #cond);                                  \
	} while (0)
#else
#define DEBUG_ASSERT(cond, sentence) ((void)sizeof(cond))
#endif

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
