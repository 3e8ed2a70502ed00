/* lab4.h - assignment 4: a heap. What you write, in user/lab4/heap.c; docs/lab/4-heap.md tells the story. */
#pragma once

#include "kit.h"

/* Yours: alloc, free, size and check, as heap.h says. malloc, free and aligned_alloc of the tests are these. */
extern struct allocator my_allocator;

/* The block p, with at least n bytes (n > 0) from now on and what was in it: at the same address where there is room behind it.
 * NULL: no memory, and p is as it was. */
void *my_realloc(struct allocator *, void *p, size_t n);
