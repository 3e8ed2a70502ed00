/*
 * smp.h - the other CPUs: starting them, and stopping them for a look at a table that stands still.
 */
#pragma once
#include "topology.h"

/* Start all that the firmware lists; ncpus becomes how many run, this one included. They wait until smp_release. */
void smp_start(const struct topology *t);
/* The ownership table is filled, root is ready: let them idle. */
void smp_release(void);

#ifdef DEBUG
/* Park all other CPUs outside the kernel's transitions, and let them go on. False: another CPU does it just now. */
bool smp_stop_others(void);
void smp_resume_others(void);
void smp_park(void); /* the interrupt that parks */
#endif
