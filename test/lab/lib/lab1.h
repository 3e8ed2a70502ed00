/* lab1.h - assignment 1: frames. What you write, in user/lab1/frames.c; docs/lab/1-frames.md tells the story. */
#pragma once

#include "kit.h"

/* Count the frames of the machine by type: count[FH_FREE] are free, and so on. */
void census(uint64_t count[FH_NTYPES]);
/* How many frames the env whose ENV frame is `env` owns. */
uint64_t census_of(pfn_t env);

/* A policy: struct frames.next (frames.h says what it promises). */
pfn_t my_next(struct frames *f, size_t n, size_t align, uint64_t hint);

/*
 * Claim a run of n (1 to 512) frames as this env's DATA, aligned to `align`, where the policy f says. Returns the first pfn.
 * 0: f has none, or the quota is used up, or MY_TRIES answers of f in a row were taken already. What was claimed of a run
 * that couldn't be had as a whole is freed again.
 */
#define MY_TRIES 1000u
pfn_t my_get(struct frames *f, size_t n, size_t align);
/* Free n frames from pfn on. 0, or the -errno of the first that could not be freed. */
int my_put(pfn_t pfn, size_t n);
