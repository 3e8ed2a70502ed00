/* demo.h - between the demos: each shows one thing, checks it, and returns how many checks failed. */
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "kit.h"

int demo_heap(void), demo_stack(void), demo_mmap(void), demo_paging(void), demo_cow(void), demo_large(void),
    demo_fault(void), demo_dirty(void), demo_policy(void), demo_cpus(void);

/* Print what was verified, "ok" or "FAILED"; returns 1 if it failed. */
int check(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Frames this env owns; page faults answered in its space. */
uint64_t frames_now(void);
uint64_t faults_now(void);
