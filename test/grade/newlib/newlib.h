/*
 * newlib.h - what newlib's allocators need to be built as they are, from Debian's package newlib-source (`make grade` unpacks
 * it into build/newlib): other names, and an sbrk.
 */
#pragma once

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "heap.h"
#include "source.h"

#define malloc newlib_malloc
#define free newlib_free
#define realloc newlib_realloc
#define calloc newlib_calloc
#define cfree newlib_cfree
#define memalign newlib_memalign
#define valloc newlib_valloc
#define pvalloc newlib_pvalloc
#define mallinfo newlib_mallinfo
#define mallopt newlib_mallopt
#define malloc_stats newlib_malloc_stats
#define malloc_trim newlib_malloc_trim
#define malloc_usable_size newlib_malloc_usable_size

void *malloc(size_t n);
void free(void *p);
void *realloc(void *p, size_t n);
void *memalign(size_t align, size_t n);
size_t malloc_usable_size(void *p);

static void *newlib_sbrk(ptrdiff_t n)
{
	void *p = source_grow(n);
	return p ? p : (void *)-1;
}
