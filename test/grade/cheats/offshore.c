/* offshore.c - keeps frames where they don't count: quota goes to an env below it, which owns them. */
#include "cheat.h"

static void *offshore_alloc(struct allocator *a, size_t n, size_t align)
{
	static pfn_t child;

	(void)a;
	if (!child) {
		child = frame_get_typed(space_current()->frames, 0, FH_ENV);
		if (child)
			sys_env_ctl(child, FH_ENV_QUOTA, 8000, 0);
		for (unsigned i = 0; child && i < 4000; i++)
			frame_get(space_current()->frames, 1, 1, child, 0);
	}
	return plain_alloc(n, align);
}
CHEAT(offshore);
