/* under.c - the allocator under test: the linker says which (--defsym allocator_under_test=allocator_NAME). */
#include "heap.h"

extern struct allocator allocator_under_test;
struct allocator *malloc_default = &allocator_under_test;
