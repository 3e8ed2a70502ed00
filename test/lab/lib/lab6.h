/* lab6.h - assignment 6: several CPUs. What you write, in user/lab6/smp.c; docs/lab/6-smp.md tells the story. Nothing of the
 * kit's sync.c: no lock, mutex or condition, but thread_yield and thread_sleep. */
#pragma once

#include "kit.h"

/* ---- Part 1: a mutex and a condition, on doorbells. All zero is a free one, that nobody waits for. ---- */

struct my_mutex {
	uint64_t yours[8];
};
void my_lock(struct my_mutex *); /* who has to wait sleeps */
void my_unlock(struct my_mutex *);

struct my_condition {
	uint64_t yours[8];
};
/* The caller holds m. Gives it up and sleeps until a signal or broadcast that comes after the call; returns with m held. */
void my_wait(struct my_condition *, struct my_mutex *);
void my_signal(struct my_condition *);    /* wakes one waiter, if there is one; the caller holds the mutex */
void my_broadcast(struct my_condition *); /* wakes all */

/* ---- Part 2: frames at hand on each CPU ---- */

/* A frame that is ours, DATA, that nothing refers to. 0: there is none. Most calls take it from what this CPU has at hand,
 * without a system call. */
pfn_t cache_get(void);
/* Put one back: at hand again, or freed when there are enough. */
void cache_put(pfn_t);
#define CACHE_MOST 64u /* at hand, at most, on each CPU */
/* Free all that are at hand, on all CPUs; no other thread is using the cache. */
void cache_drain(void);

/* ---- Part 3: pages come and go, without a flush ---- */

#define PAGES 512u
/* Once, before all others: addresses for PAGES pages from `base` on, a multiple of 2 MiB, are yours. 0 or -errno. */
int pages_start(va_t base);
/* A zeroed page, readable and writable by all threads, at one of these addresses; NULL: all PAGES are in use. In the meantime
 * no CPU reaches anything else by this address. */
void *page_get(void);
/* Unmap it and free its frame. Any thread may do that, not only the one that got it. */
void page_put(void *);
