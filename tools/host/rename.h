/* rename.h - included before everything that is built for host mode: the allocator's malloc and the C library's live in one
 * program. */
#define malloc fh_malloc
#define free fh_free
#define calloc fh_calloc
#define realloc fh_realloc
#define aligned_alloc fh_aligned_alloc
#define memalign fh_memalign
#define posix_memalign fh_posix_memalign
#define malloc_usable_size fh_malloc_usable_size
#define malloc_trim fh_malloc_trim
