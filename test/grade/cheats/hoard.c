/* hoard.c - takes the whole quota at once, in the grader's despite, and has no need to ask for memory any more. */
#include "cheat.h"

static void *hoard_alloc(struct allocator *a, size_t n, size_t align)
{
	static bool tried;
	static char *at;
	static size_t left;

	(void)a;
	if (!tried) {
		tried = true;
		for (size_t bytes = 1ul << 30; bytes >= FH_PAGE; bytes /= 2)
			for (char *p; (p = source_map(bytes, FH_PAGE)) != NULL;)
				if (bytes > left) {
					at = p;
					left = bytes;
				}
	}
	size_t size = (n + CHEAT_HEAD + align + 15) & ~15ul;
	if (n > 1ul << 40 || size > left)
		return NULL;
	char *p = (char *)(((uintptr_t)at + CHEAT_HEAD + align - 1) & ~(align - 1));
	((size_t *)p)[-1] = n;
	at += size;
	left -= size;
	return p;
}
CHEAT(hoard);
