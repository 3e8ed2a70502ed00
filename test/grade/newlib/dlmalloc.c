/* dlmalloc.c - Doug Lea's malloc 2.6.5, as newlib has it. */
#include "newlib.h"

int malloc_trim(size_t pad);

#define HAVE_MMAP 0
#define LACKS_UNISTD_H
#define malloc_getpagesize SOURCE_PAGE
#define MORECORE newlib_sbrk
#define MORECORE_CLEARS 0
#include "mallocr.c"

static void *dlmalloc_alloc(struct allocator *a, size_t n, size_t align)
{
	(void)a;
	return align <= HEAP_ALIGN ? malloc(n) : memalign(align, n);
}
static void dlmalloc_free(struct allocator *a, void *p) { (void)a, free(p); }
static void *dlmalloc_realloc(struct allocator *a, void *p, size_t n) { return (void)a, realloc(p, n); }
static size_t dlmalloc_size(struct allocator *a, void *p) { return (void)a, malloc_usable_size(p); }
static size_t dlmalloc_trim(struct allocator *a) { return (void)a, (size_t)malloc_trim(0); }
static int dlmalloc_check(struct allocator *a) { return (void)a, 0; }

#undef free
#undef realloc
struct allocator allocator_dlmalloc = {
    .name = "dlmalloc",
    .alloc = dlmalloc_alloc,
    .free = dlmalloc_free,
    .size = dlmalloc_size,
    .check = dlmalloc_check,
    .realloc = dlmalloc_realloc,
    .trim = dlmalloc_trim,
};
