/*
 * checks.h - what every allocator has to pass, in the machine (guest.c) and on Linux (host.c). What a platform gives is
 * declared here; tap.h is test/guest/lib/tap.h or, on Linux, tools/host/tap.h.
 */
#pragma once

#include "tap.h"

/* Bytes of memory that the program holds, page tables included. */
size_t memory_held(void);
/* Run f(0) ... f(n - 1) at once, each in a thread; returns when all have ended. False: not so many threads. */
bool run_threads(unsigned n, void (*f)(unsigned i));
void let_others(void); /* hand on the CPU */

/* checks.c: all of them, but for exhaustion. */
void check_allocator(void);
/* To be run where little memory is left: some megabytes. 0, or one bit for each sentence of exhaustion_text that is wrong. */
unsigned check_exhaustion(void);
extern const char *const exhaustion_text[];
#define EXHAUSTION_TEXTS 6u
