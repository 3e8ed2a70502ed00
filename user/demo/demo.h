/* demo.h - between the demos: each shows one thing, checks it, and returns how many checks failed. */
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "kit.h"

int demo_heap(void), demo_stack(void), demo_mmap(void), demo_paging(void), demo_cow(void), demo_large(void),
    demo_fault(void), demo_dirty(void), demo_policy(void), demo_cpus(void), demo_share(void), demo_publish(void),
    demo_pass(void), demo_pager(void), demo_revoke(void), demo_reap(void);

/* Print what was verified, "ok" or "FAILED"; returns 1 if it failed. */
int check(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Frames this env owns; page faults answered in its space. */
uint64_t frames_now(void);
uint64_t faults_now(void);

/* -- siblings.c: children that are strangers to each other -- */
#define SIBLINGS 4u
/* One for each child, in a page shared by all: names, and where it has run. */
extern volatile struct sibling {
	uint64_t env, thread;
	unsigned cpu;
	bool ready;
} *sibling;
/* Fork n children, tell them each other's names. After siblings_go child i does run(i), and exits with that: 0 is success.
 * False: said why. */
bool siblings_start(unsigned n, int (*run)(unsigned i));
void siblings_go(void);
/* Child i runs on this CPU only. */
void sibling_pin(unsigned i, unsigned cpu);
/* In the parent: wait for those that are left, reap them; returns how many failed. */
int siblings_end(void);
struct env *sibling_env(unsigned i);
int sibling_reap(unsigned i, uint64_t *freed);
/* In a child: say that it is ready; in the parent: wait until it is, or has ended. */
void sibling_ready(unsigned me);
void sibling_await(unsigned i);
/* Ring child `to`; wait until somebody rings us; both, between children 0 and 1. */
void ring(unsigned to), ring_wait(void), hand_over(unsigned to);

/* A window of n pages at va, with `rights`, for child `other`; where the one is linked that it has for us. NULL: failed. */
volatile char *exchange(struct window *, va_t va, size_t n, unsigned rights, unsigned other);

/* Touch a byte whose page may not be there, in a region with the fault function `miss`: the byte read or -1; whether it was
 * written. What went wrong is in `missed`. */
int try_read(const volatile void *p);
bool try_write(volatile void *p, char byte);
region_fault miss;
extern struct missed {
	va_t address;
	uint64_t error;
} missed;
