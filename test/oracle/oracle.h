/* oracle.h - the parts of the test. */
#pragma once
#include "machine.h"

extern bool quick;     /* for the seeded mistakes: as little as catches most of them */
extern bool long_form; /* all there is */

bool wanted(const char *part); /* by the command line */

void test_entries(void); /* entries.c: every bit of an entry and of an operation, and what it names */
/* states.c: every transition from every reachable state of small machines. In a hurry, of each only so many states. */
void test_states(uint64_t quick_states);

/* A machine where root (frame 2) owns itself and nothing else; all other frames from 3 on are FREE. */
void machine_begin(struct model *m, unsigned frames, unsigned cpus);
/* Frame f, FREE till now, is env's and of this type; an ENV has this quota. */
void machine_give(struct model *m, unsigned f, unsigned type, unsigned env, long quota);
