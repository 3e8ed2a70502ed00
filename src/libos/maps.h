/*
 * maps.h - address spaces in the shape of Linux's /proc/PID/maps:
 *
 *   00400000-00404000 r-xp 00000000 00:00 0                          [text]
 */
#pragma once

#include "region.h"

/* This space, by its regions. */
void maps_print(struct space *);
/* Another env's (or any) PT4, by its page tables: runs of equal rights. 0, -EPERM. */
int maps_print_root(pfn_t root);
