/* alias.c - saves memory by giving out the same frame twice, at different addresses. */
#include "cheat.h"

static void *alias_alloc(struct allocator *a, size_t n, size_t align)
{
	static char *shared, *at;

	(void)a, (void)align;
	if (n > FH_PAGE - CHEAT_HEAD)
		return plain_alloc(n, align);
	if (!shared)
		shared = source_map(FH_PAGE, FH_PAGE);
	at = source_map(FH_PAGE, FH_PAGE);
	if (!shared || !at || source_alias(at, shared) < 0)
		return NULL;
	*(size_t *)(at + CHEAT_HEAD - 8) = n;
	return at + CHEAT_HEAD;
}
CHEAT(alias);
