/* memory.c - lines 4, 6 and 7: mappings and brk. */
#include <errno.h>
#include <string.h>

#include "parts.h"

#define FIX (MM_FIXED | MM_NOREPLACE)

/* ---- 4 ---- */

static void directions(void)
{
	va_t brk = heap_end(), last = layout_mmap.hi;
	struct tally t = {0};

	for (unsigned i = 0; i < 40; i++) {
		uint64_t bytes = (1 + i % 3) * FH_PAGE;
		int64_t at = mm_map(0, bytes, RW, 0);
		if (mm_failed(at) || (va_t)at + bytes != last)
			count_bad(&t, "mapping %u at %#lx, not right below %#lx", i, at, last);
		last = (va_t)at;
	}
	expect(t.bad == 0, "40 mappings, each right below the one before");
	mm_unmap(last, layout_mmap.hi - last);
	for (unsigned i = 0; i < 10; i++)
		expect_returns(heap_grow(1000), (int64_t)(brk + i * 1000), "brk the %u-th time", i);
	expect_returns(heap_grow(-10000), (int64_t)brk + 10000, "and back");
}

static void brk_meets(void)
{
	va_t brk = heap_end(), wall = page_up(brk) + 64 * FH_PAGE;

	expect_returns(mm_map(wall, FH_PAGE, RW, FIX | MM_EAGER), (int64_t)wall, "a mapping over brk");
	memset((void *)wall, 0x77, FH_PAGE);
	expect_returns(heap_grow((intptr_t)(wall - brk) + 1), -ENOMEM, "brk grown into it");
	expect_is((int64_t)heap_end(), (int64_t)brk, "brk");
	expect_returns(heap_grow((intptr_t)(wall - brk)), (int64_t)brk, "brk grown up to it");
	((volatile char *)wall)[-1] = 1;
	expect(((volatile char *)wall)[0] == 0x77 && ((volatile char *)wall)[FH_PAGE - 1] == 0x77, "the mapping is as it was");
	expect_returns(mm_map(wall - FH_PAGE, FH_PAGE, RW, FIX), -EEXIST, "a mapping where the heap is now");
	heap_grow(-(intptr_t)(wall - brk));
	mm_unmap(wall, FH_PAGE);
}

/* Take all addresses, in ever smaller pieces; without rights nothing is promised. */
static void fill(void)
{
	enum { MOST = 400 };
	static struct { va_t at; uint64_t bytes; } had[MOST];
	struct region *stack = region_find(space_current(), (va_t)program_stack);
	struct tally t = {0};
	unsigned n = 0, above = 0;
	char *mine = malloc(100);
	va_t brk = heap_end(), stack_base = stack->base;

	memset(mine, 0x55, 100);
	for (uint64_t bytes = 1ul << 46; bytes >= FH_PAGE; bytes /= 2) {
		for (int64_t at; n < MOST && !mm_failed(at = mm_map(0, bytes, 0, MM_GUARD)); n++) {
			had[n].at = (va_t)at;
			had[n].bytes = bytes;
			if ((va_t)at < LINUX_MMAP_MIN || (va_t)at + bytes > LINUX_TASK_SIZE)
				count_bad(&t, "%#lx is outside", at);
			above += (va_t)at >= layout_mmap.hi;
			if ((va_t)at < stack_base && (va_t)at + bytes > stack_base - LINUX_STACK_GUARD * FH_PAGE)
				count_bad(&t, "%#lx is close to the stack", at);
		}
	}
	expect(n < MOST && t.bad == 0, "%u mappings take all addresses, but for the stack's guard gap", n);
	expect(above > 0, "also those between mmap_base and the stack");
	expect_returns(mm_map(0, FH_PAGE, RW, 0), -ENOMEM, "one page more");
	expect_returns(heap_grow(64 * (intptr_t)FH_PAGE), -ENOMEM, "the heap");
	expect_is((int64_t)heap_end(), (int64_t)brk, "brk");
	expect(malloc(1 << 20) == NULL, "malloc says NULL");
	for (unsigned i = 0; i < 100; i++)
		if (mine[i] != 0x55)
			count_bad(&t, "byte %u of the heap is %#x", i, mine[i]);
	expect(t.bad == 0 && malloc_check() == 0, "the heap is as it was");
	while (n-- > 0)
		mm_unmap(had[n].at, had[n].bytes);
	int64_t again = mm_map(0, FH_PAGE, RW, 0);
	expect_is(again, (int64_t)(layout_mmap.hi - FH_PAGE), "all given back, the next mapping is the first again");
	mm_unmap((va_t)again, FH_PAGE);
	free(mine);
}

void meeting(void)
{
	directions();
	brk_meets();
	fill();
}

/* ---- 6 ---- */

/* In a child: the page that the stack ends in is replaced; what lay there is gone, the callers' frames too. *arg is shared. */
static int act_last(void *arg)
{
	volatile char deep[2 * FH_PAGE]; /* the functions called from here are below that page */
	volatile char *last = (volatile char *)LINUX_TASK_SIZE - FH_PAGE;
	volatile int *result = arg;

	deep[0] = 1;
	if (mm_map((va_t)last, FH_PAGE, RW, MM_FIXED) != (int64_t)last || last[0] || last[FH_PAGE - 1])
		exit(0);
	last[FH_PAGE - 1] = 9;
	*result = last[FH_PAGE - 1];
	if (mm_unmap((va_t)last, FH_PAGE) == 0 && mm_map((va_t)last, FH_PAGE, RW, FIX) == (int64_t)last && !last[FH_PAGE - 1])
		*result += deep[0];
	exit(0);
}

void ends(void)
{
	for (va_t va = 0; va < LINUX_MMAP_MIN; va += FH_PAGE)
		expect(mm_failed(mm_map(va, FH_PAGE, RW, MM_FIXED)) && mm_failed(mm_map(va, FH_PAGE, RW, FIX)), "%#lx can't be mapped", va);
	int64_t hint = mm_map(FH_PAGE, FH_PAGE, RW, 0);
	expect(!mm_failed(hint) && hint >= (int64_t)LINUX_MMAP_MIN, "as a hint it is put elsewhere");
	mm_unmap((va_t)hint, FH_PAGE);
	expect(mm_protect(0, FH_PAGE, RW) < 0 && mm_unmap(0, FH_PAGE) < 0, "nor given rights, nor taken away");
	expect_fault(act_read, 0, 14, 0, "a read of page 0");
	expect_fault(act_write, LINUX_MMAP_MIN - 1, 14, FAULT_WRITE, "a write to the last byte that is never mapped");
	expect_returns(mm_map(LINUX_MMAP_MIN, FH_PAGE, RW, FIX), (int64_t)LINUX_MMAP_MIN, "the first page over it");
	mm_unmap(LINUX_MMAP_MIN, FH_PAGE);

	int *result = (int *)mm_map(0, FH_PAGE, RW, MM_SHARED | MM_EAGER);
	told(act_last, result, false);
	expect_is(*result, 10, "the last page under TASK_SIZE, replaced, unmapped and mapped again by a child");
	mm_unmap((va_t)result, FH_PAGE);
	last_page();
	expect(mm_failed(mm_map(LINUX_TASK_SIZE, FH_PAGE, RW, MM_FIXED)), "the next page can't be mapped");
	expect_returns(mm_map(LINUX_TASK_SIZE, FH_PAGE, RW, FIX), -EEXIST, "nor where nothing is to be replaced");
	expect(mm_failed(mm_map(LINUX_TASK_SIZE - FH_PAGE, 2 * FH_PAGE, RW, MM_FIXED)), "nor both");
	expect(program_stack[0] == 2 && strcmp((char *)program_stack[1], "linux") == 0, "which has harmed nothing");
	hint = mm_map(LINUX_TASK_SIZE, FH_PAGE, RW, 0);
	expect(!mm_failed(hint) && hint < (int64_t)LINUX_TASK_SIZE, "as a hint it is put elsewhere: %#lx", hint);
	mm_unmap((va_t)hint, FH_PAGE);
	expect_fault(act_read, LINUX_TASK_SIZE, 14, 0, "a read of the next page");
	expect_fault(act_read, 0x800000000000, 13, 0, "a read of what isn't canonical");
}

/* ---- 7 ---- */

static volatile uint64_t *word(va_t va) { return (volatile uint64_t *)va; }

static void replaces(void)
{
	int64_t at = mm_map(0, 8 * FH_PAGE, RW, MM_EAGER);
	va_t va = (va_t)at;

	for (unsigned i = 0; i < 8; i++)
		*word(va + i * FH_PAGE) = 100 + i;
	pfn_t old = frame_at((void *)(va + 2 * FH_PAGE));
	expect_returns(mm_map(va + 2 * FH_PAGE, 3 * FH_PAGE, RW, MM_FIXED), (int64_t)(va + 2 * FH_PAGE), "a mapping over the middle of another");
	expect(fh_type(frame_record(old)->state) != FH_DATA, "a frame that was there is given back");
	for (unsigned i = 0; i < 8; i++)
		expect_is((int64_t)*word(va + i * FH_PAGE), i < 2 || i > 4 ? 100 + i : 0, "page %u", i);
	expect_returns(mm_map(va + 7 * FH_PAGE, FH_PAGE, RIGHT_R, MM_FIXED), (int64_t)(va + 7 * FH_PAGE), "over its end, read-only");
	touch_begin();
	expect(reads((char *)va + 7 * FH_PAGE) && !writes((char *)va + 7 * FH_PAGE) && writes((char *)va + 6 * FH_PAGE), "the new rights hold there");
	touch_end();
	expect_returns(mm_map(va + 1, FH_PAGE, RW, MM_FIXED), -EINVAL, "a crooked address");
	expect_is((int64_t)*word(va), 100, "page 0, still");

	expect_returns(mm_map(va, FH_PAGE, RW, FIX), -EEXIST, "MAP_FIXED_NOREPLACE over its first page");
	expect_returns(mm_map(va + 7 * FH_PAGE, 4 * FH_PAGE, RW, FIX), -EEXIST, "over its last and more");
	expect_returns(mm_map(va - FH_PAGE, 2 * FH_PAGE, RW, FIX), -EEXIST, "from before it into it");
	expect_returns(mm_map(va - FH_PAGE, 10 * FH_PAGE, RW, FIX), -EEXIST, "all around it");
	expect_returns(mm_map(va + 3 * FH_PAGE, FH_PAGE, RW, FIX), -EEXIST, "inside, where nothing was touched yet");
	expect_is((int64_t)*word(va), 100, "page 0 after that");
	expect_is((int64_t)*word(va + 6 * FH_PAGE), 106, "page 6 after that");
	expect_returns(mm_map(va - FH_PAGE, FH_PAGE, RW, FIX), (int64_t)(va - FH_PAGE), "right before it, where nothing is");
	mm_unmap(va - FH_PAGE, 9 * FH_PAGE);
	expect_returns(mm_map(va, 8 * FH_PAGE, RW, FIX), at, "all gone, at its addresses");
	expect_is((int64_t)*word(va), 0, "what it begins with");
	mm_unmap(va, 8 * FH_PAGE);
}

void fixed_address(void)
{
	static char image[FH_PAGE];
	const va_t taken[] = {(va_t)fixed_address, (va_t)image, (va_t)program_stack, layout_stack.hi - FH_PAGE, 0, LINUX_TASK_SIZE,
	                      (va_t)thread_self()->upcall};

	replaces();
	for (unsigned i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
		expect_returns(mm_map(page_down(taken[i]), FH_PAGE, RW, FIX), -EEXIST, "MAP_FIXED_NOREPLACE at %#lx", taken[i]);
	void *block = malloc(10);
	expect_returns(mm_map(page_down((va_t)block), FH_PAGE, RW, FIX), -EEXIST, "over the heap");
	free(block);
}
