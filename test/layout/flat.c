/* flat.c - the flat layout: everything rwx in [0, 4 GiB). */
#include <errno.h>
#include <stdlib.h>

#include "lines.h"

const unsigned lines_total = 5;

static char in_data[16] = {TOUCH_RET};
static const char in_rodata[16] = {TOUCH_RET};
__asm__(".pushsection .text\nflat_ret: ret\n.popsection");
extern char flat_ret[];

static void all_below(void)
{
	char *heap = malloc(100), on_stack;
	int64_t map = mm_map(0, FH_PAGE, RIGHT_R, 0);

	const va_t at[] = {(va_t)flat_ret, (va_t)in_rodata, (va_t)in_data, (va_t)heap, (va_t)&on_stack, (va_t)map, (va_t)malloc};
	for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++)
		expect(at[i] >= FH_PAGE && at[i] < 1ul << 32, "%#lx is in [4096, 4 GiB)", at[i]);
	struct thread *t = thread_new((void (*)(void *))flat_ret, NULL, NULL);
	if (expect(t != NULL, "a thread can be had")) {
		expect(t->stack_hi <= 1ul << 32, "its stack ends at %#lx", t->stack_hi);
		thread_join(t);
	}
	mm_unmap((va_t)map, FH_PAGE);
	free(heap);
}

static void all_rights(void)
{
	char *heap = malloc(16);
	volatile char on_stack[16] = {TOUCH_RET};

	heap[0] = TOUCH_RET;
	touch_begin();
	expect_is(rights_at(flat_ret), RIGHT_R | RIGHT_W | RIGHT_X, ".text");
	expect_is(rights_at((char *)in_rodata), RIGHT_R | RIGHT_W | RIGHT_X, ".rodata");
	expect_is(rights_at(in_data), RIGHT_R | RIGHT_W | RIGHT_X, ".data");
	expect_is(rights_at(heap), RIGHT_R | RIGHT_W | RIGHT_X, "the heap");
	expect_is(rights_at((volatile char *)on_stack), RIGHT_R | RIGHT_W | RIGHT_X, "the stack");
	touch_end();
	free(heap);
}

static void null_page(void)
{
	expect_fault(act_read, 0, 14, 0, "a read");
	expect_fault(act_write, FH_PAGE - 1, 14, FAULT_WRITE, "a write");
	expect(mm_failed(mm_map(0, FH_PAGE, RIGHT_R, MM_FIXED)), "page 0 can't be mapped");
	int64_t next = mm_map(FH_PAGE, FH_PAGE, RIGHT_R | RIGHT_W, MM_FIXED | MM_NOREPLACE);
	expect_returns(next, FH_PAGE, "page 1 can");
	mm_unmap(FH_PAGE, FH_PAGE);
}

static void meet(void)
{
	va_t end = heap_end(), wall = page_up(end) + 64 * FH_PAGE;

	expect_returns(mm_map(wall, FH_PAGE, RIGHT_R | RIGHT_W, MM_FIXED | MM_NOREPLACE | MM_EAGER), (int64_t)wall, "a mapping over the heap");
	*(volatile char *)wall = 77;
	expect_returns(heap_grow(65 * (intptr_t)FH_PAGE), -ENOMEM, "the heap can't grow over it");
	expect_is((int64_t)heap_end(), (int64_t)end, "the heap's end");
	expect_returns(heap_grow(60 * (intptr_t)FH_PAGE), (int64_t)end, "up to it it can");
	expect(mm_failed(mm_map(page_up(end), FH_PAGE, RIGHT_R, MM_FIXED | MM_NOREPLACE)), "a mapping can't have the heap's pages");
	expect_is(*(volatile char *)wall, 77, "the mapping's first byte");
	heap_grow(-60 * (intptr_t)FH_PAGE);
	mm_unmap(wall, FH_PAGE);
}

/* mov eax, imm32; ret: in .text, and written to below. */
__asm__(".pushsection .text\nflat_answer: .byte 0xb8, 1, 0, 0, 0, 0xc3\n.popsection");
extern char flat_answer[];
static const volatile char constant = 1;

static int act_answer(void *answer)
{
	flat_answer[1] = *(char *)&constant = (char)(va_t)answer;
	return ((int (*)(void))(void *)flat_answer)() * 100 + constant;
}

static void fork_code(void)
{
	struct told t = told(act_answer, (void *)42, false);

	expect(t.who == TOLD_NOBODY, "a fork's child can write to its code and constants");
	expect_is(t.status, 4242, "and runs what it has written");
	expect_is(((int (*)(void))(void *)flat_answer)() * 100 + constant, 101, "its parent runs what was there");
	expect_is(act_answer((void *)7), 707, "the parent can write to its own");
	t = told(act_answer, (void *)9, false);
	expect_is(t.status, 909, "and another child to what it has of that");
	expect_is(((int (*)(void))(void *)flat_answer)() * 100 + constant, 707, "which changes nothing in the parent");
	act_answer((void *)1);
}

const struct line lines[] = {
    {1, "image, heap, stacks and mappings all lie below 4 GiB, every pointer fits 32 bits", all_below},
    {2, "code, constants, data, heap and stack can each be read, written and executed", all_rights},
    {3, "page 0 faults all the same and can't be mapped; page 1 can", null_page},
    {4, "heap and mappings share their room: where they meet it is ENOMEM, and neither is touched", meet},
    {5, "what a fork's child writes to its code and constants is the child's alone", fork_code},
    {0},
};
