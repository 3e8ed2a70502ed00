/* growth.c - line 5: how far the stack grows. */
#include "parts.h"

#define GAP (LINUX_STACK_GUARD * FH_PAGE)

static struct {
	uint64_t limit; /* 0: what the program has */
	va_t wall;      /* a mapping of one page there, with these rights; 0: none */
	unsigned rights;
	bool protected; /* mapped with all rights, then given these */
} plan;

static int recurse(volatile char *above)
{
	volatile char here[512];

	here[0] = 1;
	return above == here ? 0 : recurse(here) + here[0];
}

static int recurse_wide(volatile char *above)
{
	volatile char here[2 * FH_PAGE];

	here[0] = 1;
	return above == here ? 0 : recurse_wide(here) + here[0];
}
static int act_recurse_wide(void *arg) { return recurse_wide(arg); }

static int act_recurse(void *arg)
{
	if (plan.limit)
		linux_stack_limit_set(plan.limit);
	if (plan.wall && mm_map(plan.wall, FH_PAGE, plan.protected ? RW : plan.rights, MM_FIXED | MM_NOREPLACE) != (int64_t)plan.wall)
		return 1;
	if (plan.wall && plan.protected && mm_protect(plan.wall, FH_PAGE, plan.rights) < 0)
		return 2;
	return recurse(arg);
}

/* Endless recursion ends in a fault in the page that ends at `end`. */
static void runs_down_to(va_t end, const char *what)
{
	struct told t = told(act_recurse, NULL, false);

	expect(t.who == TOLD_HANDLER && t.vector == 14, "%s: a fault, told to the program (who %d, vector %u)", what, t.who, t.vector);
	expect_is((int64_t)page_down(t.address), (int64_t)(end - FH_PAGE), "%s: the page", what);
}

/* A single touch far below, in one step. */
static int act_jump(void *arg)
{
	struct region *r = region_find(space_current(), (va_t)program_stack);

	if (plan.limit)
		linux_stack_limit_set(plan.limit);
	*(volatile char *)arg = 5;
	return r->base == page_down((va_t)arg) && *(volatile char *)arg == 5 ? 60 : 1;
}

void stack_growth(void)
{
	va_t top = layout_stack.hi;
	struct region *stack = region_find(space_current(), (va_t)program_stack);

	expect(stack && stack->end == top && stack->base > top - (1 << 20), "the stack begins small: %#lx", stack->base);
	expect_is((int64_t)linux_stack_limit(), 8 << 20, "its limit");
	va_t end = top - LINUX_STACK_LIMIT;
	struct told t = told(act_recurse_wide, NULL, false); /* not every page: a child may not have frames for all */
	expect(t.who == TOLD_HANDLER && t.vector == 14 && t.address < end && t.address >= end - 8 * FH_PAGE, "8 MiB: a fault at %#lx", t.address);
	plan.limit = 1 << 20;
	runs_down_to(top - (1ul << 20), "1 MiB");
	plan.limit = (1 << 20) + 100; /* whole pages that fit */
	runs_down_to(top - (1ul << 20), "1 MiB and a bit");
	plan.limit = 0;
	expect_is(told(act_jump, (void *)end, false).status, 60, "one touch 8 MiB down makes room for all between");
	expect(told(act_jump, (void *)(end - 1), false).who == TOLD_HANDLER, "not below the limit");
	plan.limit = LINUX_STACK_LIMIT + (1 << 18);
	expect_is(told(act_jump, (void *)(end - (1 << 18)), false).status, 60, "the limit raised by 256 KiB, further down");
	expect(told(act_jump, (void *)(end - (1 << 18) - 1), false).who == TOLD_HANDLER, "and no further");

	plan.wall = top - (3ul << 20);
	plan.rights = RW;
	runs_down_to(plan.wall + FH_PAGE + GAP, "a mapping");
	plan.rights = RIGHT_R;
	runs_down_to(plan.wall + FH_PAGE + GAP, "a read-only one");
	plan.rights = 0;
	runs_down_to(plan.wall + FH_PAGE, "one without rights, up to it");
	plan.protected = true;
	runs_down_to(plan.wall + FH_PAGE, "one that has lost its rights");
	plan.rights = RIGHT_R;
	runs_down_to(plan.wall + FH_PAGE + GAP, "one that has some left");

	va_t near = stack->base - 100 * FH_PAGE;
	int64_t hint = mm_map(near, FH_PAGE, RW, 0);
	expect(!mm_failed(hint) && (va_t)hint + FH_PAGE <= layout_mmap.hi, "a hint within the gap is not taken: %#lx", hint);
	mm_unmap((va_t)hint, FH_PAGE);
	hint = mm_map(stack->base - GAP - FH_PAGE, FH_PAGE, RW, 0);
	expect_is(hint, (int64_t)(stack->base - GAP - FH_PAGE), "one right below the gap");
	mm_unmap((va_t)hint, FH_PAGE);
	expect(stack->base > top - (1 << 20), "all that was in children: here the stack is as before");
}
