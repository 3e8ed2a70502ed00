/*
 * cpus.h - threads that must be had, and threads on chosen CPUs. The kit's first thread has slots on every CPU and may turn
 * up on any of them; between cpus_begin and cpus_end it is on CPU 0 only, and the slots of the others hold a thread that
 * never runs.
 */
#pragma once

#include "kit.h"

void cpus_begin(void);
void cpus_end(void);

/* Put the thread into a slot of this CPU, and of no other. False: there is none. */
bool cpu_place(uint64_t name, unsigned cpu);
/* Take it out of all slots. */
void cpu_leave(uint64_t name);

/* thread_new in this space, or the end of the test; thread_join for n of them. */
struct thread *thread_start(void (*run)(void *), uintptr_t arg);
void thread_join_all(struct thread **, unsigned n);
/* A kit thread on a CPU; thread_off waits for its end, as thread_join does, but gives its slot back to the CPU. */
struct thread *thread_on(unsigned cpu, void (*run)(void *), void *arg);
void thread_off(struct thread *t);

/* The CPU that runs the caller; that the thread with this upcall frame was last dispatched on. */
static inline unsigned cpu_here(void) { return (unsigned)upcall_word(UPCALL_OFFSET(cpu)); }

/* Spin, without a system call, until *word is no longer `old`. False: not within `ms` milliseconds. */
bool spin_change(const volatile uint64_t *word, uint64_t old, unsigned ms);
/* Events counted by the kernel on all CPUs since the machine started (enum fh_count). */
uint64_t counted(unsigned event);
