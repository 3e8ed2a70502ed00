/* scribble.c - sets the kernel's counters and its own account back: those frames can't be mapped writable, and as they are
 * mapped, a write is a fault. */
#include "cheat.h"
#include "spacewalk.h"

static void *scribble_alloc(struct allocator *a, size_t n, size_t align)
{
	static bool tried;

	(void)a;
	if (!tried) {
		tried = true;
		int64_t r = sys_pt_set(fh_what(FH_OP_SET, FH_FLUSH_LOCAL, fh_pte_pfn(*window_slot(CPUS_VA, 2)), (unsigned)(CPUS_VA >> 12 & 511), 1),
		                       (pte_t)info->cpu_pfn[0] << 12 | FH_P | FH_W | FH_U | FH_NX, CPUS_VA).rax;
		printf("cheat: the CPU frame, writable: %s\n", error_name((int)r));
		((volatile struct fh_cpu *)CPUS_VA)->count[FH_COUNT_CALLS] = 0;
	}
	return plain_alloc(n, align);
}
CHEAT(scribble);
