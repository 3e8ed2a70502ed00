/* stack.c - a stack grows on faults and ends in a guard page. */
#include "demo.h"

/* Use `n` bytes of stack, page by page, downward; returns the lowest address used. */
static __attribute__((noinline)) uintptr_t use(size_t n)
{
	volatile char page[FH_PAGE];

	page[0] = (char)n;
	uintptr_t lowest = n > sizeof(page) ? use(n - sizeof(page)) : (uintptr_t)page;
	page[1] = page[0]; /* no tail call */
	return lowest;
}

static void overflow(void) { use(16 * 1024 * 1024); }

int demo_stack(void)
{
	int bad = 0;
	uint64_t frames = frames_now(), faults = faults_now();

	uintptr_t lowest = use(64 * FH_PAGE);
	uint64_t taken = frames_now() - frames;
	printf("  stack below %#lx: 64 pages deep, to %#lx: %lu faults, %lu frames\n", layout_stack.hi, lowest,
	       faults_now() - faults, taken);
	bad += check(taken >= 48 && taken <= 70, "the stack grew by the pages used");
	frames = frames_now(), faults = faults_now();
	use(64 * FH_PAGE);
	bad += check(frames_now() == frames && faults_now() == faults, "the same again costs nothing");

	/* Without end it must not run into what lies below. A child tries. */
	struct env *child;
	int r = env_fork(&child);
	if (r == 0) {
		overflow();
		exit(0);
	}
	if (r < 0)
		return bad + check(false, "fork: %s", error_name(r));
	enum env_state state = env_wait(child);
	bad += check(state == ENV_EXITED && env_status(child) == 128 + 14, "a child that recursed forever hit the guard page");
	return bad + check(env_reap(&child, NULL) == 0, "and was reaped");
}
