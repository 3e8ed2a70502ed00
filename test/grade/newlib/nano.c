/* nano.c - newlib's small malloc. Its own blocks are aligned to 8; for more there is its memalign. */
#include "newlib.h"

struct mallinfo {
	size_t arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};

#define _MALLOC_H /* the C library's malloc.h, which nano-mallocr.c includes: not with these names */
#define _sbrk_r newlib_sbrk
#define DEFINE_MALLOC
#define DEFINE_FREE
#define DEFINE_REALLOC
#define DEFINE_MEMALIGN
#define DEFINE_MALLOC_USABLE_SIZE
#include "nano-mallocr.c"

static void *nano_malloc_aligned(struct allocator *a, size_t n, size_t align) { return (void)a, memalign(align, n); }
static void nano_give_back(struct allocator *a, void *p) { (void)a, free(p); }
static size_t nano_size(struct allocator *a, void *p) { return (void)a, malloc_usable_size(p); }
static int nano_check(struct allocator *a) { return (void)a, 0; }

#undef free
#undef realloc
struct allocator allocator_nano = {
    .name = "nano",
    .alloc = nano_malloc_aligned,
    .free = nano_give_back,
    .size = nano_size,
    .check = nano_check,
};
