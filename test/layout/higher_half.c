/* higher_half.c - the lines of the layout higher_half. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cpus.h"
#include "lines.h"
#include "spacewalk.h"

const unsigned lines_total = 8;

#define RW (RIGHT_R | RIGHT_W)
#define NULL_END 0x400000ul
#define STACKS_END 0x7fff00000000ul
#define HALF 0x800000000000ul
#define SELF 0xffffff0000000000ul /* slot 510 */

static const char constant[] = "constant";
static va_t image_end;
static char initialized[] = "data", zeroed[FH_PAGE];

/* ---- 1 ---- */

static void null_guard(void)
{
	struct tally t = {0};

	touch_begin();
	for (va_t va = 0; va < NULL_END; va += FH_PAGE)
		if (reads((char *)va) || writes((char *)va + FH_PAGE - 1))
			count_bad(&t, "%#lx doesn't fault", va);
	touch_end();
	expect(t.bad == 0, "each of 1024 pages refuses reads and writes");
	expect_fault(act_read, 0, 14, 0, "a read");
	expect_fault(act_write, NULL_END - 1, 14, FAULT_WRITE, "a write");
	expect_fault(act_run, 0x1000, 14, FAULT_FETCH, "a jump");
	for (va_t va = 0; va < NULL_END; va += 0x55000)
		expect_returns(mm_map(va, FH_PAGE, RW, MM_FIXED), -EINVAL, "mapping %#lx", va);
	expect(mm_failed(mm_map(NULL_END - FH_PAGE, 2 * FH_PAGE, RW, MM_FIXED)), "a mapping that reaches out of it is refused");
	int64_t hint = mm_map(0x2000, FH_PAGE, RW, 0);
	expect(!mm_failed(hint) && (va_t)hint >= NULL_END, "as a hint it is put elsewhere: %#lx", hint);
	mm_unmap((va_t)hint, FH_PAGE);
	expect(mm_protect(0x1000, FH_PAGE, RW) < 0, "its rights can't be changed");
}

/* ---- 2 ---- */

static void sections(void)
{
	static const char *const names[] = {"[text]", "[rodata]", "[data]", "[bss]"};
	const va_t in[] = {(va_t)act_read, (va_t)constant, (va_t)initialized, (va_t)zeroed};
	va_t end = NULL_END;

	for (unsigned i = 0; i < 4; i++) {
		struct region *r = region_find(space_current(), in[i]);
		if (!expect(r && strcmp(r->name, names[i]) == 0, "%#lx is in %s", in[i], names[i]))
			return;
		expect_is((int64_t)r->base, (int64_t)end, "%s begins where the one before ends", names[i]);
		end = r->end;
	}
	image_end = end;
	expect_fault(act_write, (va_t)act_read, 14, FAULT_PRESENT | FAULT_WRITE, "a write to .text");
	expect_fault(act_write, (va_t)constant, 14, FAULT_PRESENT | FAULT_WRITE, "a write to .rodata");
	expect_fault(act_run, (va_t)constant, 14, FAULT_PRESENT | FAULT_FETCH, "a jump into .rodata");
	expect_fault(act_run, (va_t)initialized, 14, FAULT_PRESENT | FAULT_FETCH, "a jump into .data");
	expect_fault(act_run, (va_t)zeroed, 14, FAULT_PRESENT | FAULT_FETCH, "a jump into .bss");
	touch_begin();
	expect(reads((char *)NULL_END) && reads(constant) && writes(initialized) && writes(zeroed), "what is allowed works");
	touch_end();
}

/* ---- 3 ---- */

static void heap(void)
{
	va_t old = heap_end();

	expect_is((int64_t)heap_start(), (int64_t)image_end, "the heap's start");
	expect_returns(heap_grow(0x10000), (int64_t)old, "growing by 64 KiB");
	touch_begin();
	volatile char *p = (volatile char *)page_up(old) + 0x8000;
	expect(writes(p), "there is memory now");
	*p = 5;
	pfn_t frame = frame_at(p);
	heap_grow(-0x10000);
	expect(!reads(p), "shrunk, it faults");
	expect(frame && fh_type(frame_record(frame)->state) != FH_DATA, "and the frame is given back");
	heap_grow(0x10000);
	expect(reads(p) && *p == 0, "grown again it is zero");
	touch_end();
	heap_grow(-0x10000);
	expect_fault(act_read, page_up(heap_end()), 14, 0, "a read past its end");
	expect_returns(heap_grow(-(intptr_t)(heap_end() - heap_start()) - 1), -ENOMEM, "below its start it can't shrink");
}

/* ---- 4 ---- */

/* A push to the address, by instructions that use no other memory. */
static int act_push(void *p)
{
	__asm__ volatile("movq %%rsp, %%rbx\n movq %0, %%rsp\n pushq $1\n movq %%rbx, %%rsp" : : "r"(p) : "rbx", "memory");
	return 0;
}

static void top_guard(void)
{
	touch_begin();
	expect(writes((char *)STACKS_END - 1), "the byte below the guard can be written");
	expect(!reads((char *)STACKS_END) && !writes((char *)HALF - 1), "the guard's first and last byte can't");
	touch_end();
	expect_fault(act_write, STACKS_END, 14, FAULT_WRITE, "a write");
	expect_fault(act_read, HALF - 1, 14, 0, "a read");
	expect(mm_failed(mm_map(STACKS_END, FH_PAGE, RW, MM_FIXED)) && mm_failed(mm_map(HALF - FH_PAGE, FH_PAGE, RW, MM_FIXED)),
	       "nor can anything be mapped there");
	expect_fault(act_read, HALF, 13, 0, "a read of what isn't canonical");
	struct told push = told(act_push, (void *)(HALF + 64), false);
	expect(push.who == TOLD_HANDLER && (push.vector == 12 || push.vector == 13), "a push to it is #SS, or #GP as QEMU has it: %u",
	       push.vector);
	expect_returns(mm_map(HALF, FH_PAGE, RW, MM_FIXED), -EINVAL, "mapping it");
}

/* ---- 5 ---- */

#define THREADS 3
static volatile va_t frames[THREADS];

static void note_frame(void *arg) { *(volatile va_t *)arg = (va_t)__builtin_frame_address(0); }

static int recurse(volatile char *above)
{
	volatile char here[512];

	here[0] = 1;
	return above == here ? 0 : recurse(here) + here[0];
}
static int act_recurse(void *arg) { return recurse(arg); }

static void stacks(void)
{
	struct extent room = layout_named("[stack]");
	va_t below = layout_stack.lo;

	for (unsigned i = 0; i < THREADS; i++) {
		struct thread *t = thread_new(note_frame, (void *)&frames[i], NULL);
		if (!expect(t != NULL, "thread %u can be had", i))
			return;
		va_t lo = t->stack_lo, hi = t->stack_hi;
		expect(hi <= below && lo >= room.lo, "its stack [%#lx, %#lx) is below %#lx", lo, hi, below);
		touch_begin();
		expect(!reads((char *)lo) && !writes((char *)lo + FH_PAGE - 1), "the page under it faults");
		expect(writes((char *)lo + FH_PAGE), "the one over that is the stack's");
		touch_end();
		thread_join(t);
		expect(frames[i] >= lo && frames[i] < hi, "it ran on it: %#lx", frames[i]);
		/* Others go on below it: keep the addresses. */
		expect(!mm_failed(mm_map(lo, hi - lo, 0, MM_FIXED | MM_GUARD)), "its place stays taken");
		below = lo;
	}
	mm_unmap(below, layout_stack.lo - below);
	struct told t = told(act_recurse, NULL, false);
	expect(t.who == TOLD_HANDLER && t.vector == 14, "endless recursion ends in a fault (who %d, vector %u)", t.who, t.vector);
	expect(t.address >= layout_stack.lo && t.address < layout_stack.lo + FH_PAGE, "in the guard page: %#lx", t.address);
	t = told(act_push, (void *)(layout_stack.lo + 64), true);
	expect(t.who == TOLD_PARENT && t.vector == 14 && page_down(t.address) == layout_stack.lo,
	       "and where no handler can run, the parent is told (who %d, vector %u, %#lx)", t.who, t.vector, t.address);
}

/* ---- 7 ---- */

static void room(void)
{
	struct extent stack = layout_named("[stack]");
	struct tally t = {0};
	va_t last = 0;

	for (unsigned i = 0; i < 64; i++) {
		int64_t at = mm_map(0, (1 + i % 3) * FH_PAGE, RW, MM_EAGER);
		if (mm_failed(at) || (va_t)at < heap_end() || (va_t)at + 3 * FH_PAGE > stack.lo + 2 * FH_PAGE)
			count_bad(&t, "mapping %u at %#lx", i, at);
		last = (va_t)at;
	}
	mm_unmap(last, stack.lo - last);
	expect(t.bad == 0, "64 mappings lie between the heap and the stacks");
	int64_t big = mm_map(0, stack.lo - page_up(heap_end()) + FH_PAGE, RW, 0);
	expect_returns(big, -ENOMEM, "a mapping of more than is between them");

	va_t end = heap_end(), wall = page_up(end) + 100 * FH_PAGE;
	expect_returns(mm_map(wall, FH_PAGE, RW, MM_FIXED | MM_EAGER), (int64_t)wall, "a mapping in the heap's way");
	*(volatile uint64_t *)wall = 0x5eed;
	char *before = malloc(100);
	expect_returns(heap_grow((intptr_t)(wall - heap_end()) + 1), -ENOMEM, "the heap grown over it");
	expect(malloc(1 << 20) == NULL, "malloc says NULL");
	expect_is(*(volatile int64_t *)wall, 0x5eed, "what is in the mapping");
	expect_is(malloc_check(), 0, "what malloc_check finds");
	free(before);
	mm_unmap(wall, FH_PAGE);
	void *more = malloc(1 << 20);
	expect(more != NULL, "the mapping gone, there is memory again");
	free(more);
}

/* ---- 8 ---- */

static va_t self_address(va_t va, unsigned level)
{
	for (; level > 0; level--)
		va = SELF | (va & (HALF * 2 - 1)) >> 12 << 3;
	return va;
}
static pte_t self_entry(va_t va, unsigned level) { return *(const volatile pte_t *)self_address(va, level); }

/* Two level-1 tables take turns over `va`. Even turns are over, odd ones are changes: 2k shows frame k % 2. */
enum { TURNS = 20, LOOKS = 1000 };
static struct {
	va_t va;
	pfn_t frame[2];
	volatile uint64_t turn, known; /* known: the last turn that somebody else has looked at LOOKS times */
	volatile bool end;
} swap;

/* One look through the window. False: a table is still seen that is no longer there. */
static bool look(void)
{
	uint64_t before = swap.turn;
	pfn_t seen = fh_pte_pfn(self_entry(swap.va, 1));

	return before % 2 || before != swap.turn || seen == swap.frame[before / 2 % 2];
}

static struct tally late;
static volatile uint64_t strayed; /* looks of the other thread from this CPU */

static void watch(void *home)
{
	while (!swap.end) {
		uint64_t turn = swap.turn;
		for (unsigned i = 0; i < LOOKS; i++) {
			if (!look())
				count_bad(&late, "turn %lu, look %u", turn / 2, i);
			strayed += cpu_here() == (unsigned)(va_t)home;
		}
		swap.known = turn;
	}
}

/* Link the other table, flush, and count the turn. */
static int take_turn(struct space *s, pfn_t above, pfn_t table)
{
	pte_t link = table << 12 | FH_P | FH_W | FH_U;

	swap.turn++;
	int r = pt_one(s->frames, FH_OP_SET, space_flush(), above, pt_index(swap.va, 2), &link, 0);
	swap.turn++;
	return r;
}

/* The window's page for `va` is its level-1 table itself: that is what has to be replaced, while others look. */
static void window_remapped(va_t va)
{
	struct space *s = space_current();
	pfn_t above = space_table(s, va, 2), table[2] = {space_table(s, va, 1), frame_get_typed(s->frames, 0, FH_PT1)};
	struct thread *t = NULL;
	struct tally here = {0};
	pte_t none = 0;

	swap.va = va;
	swap.frame[0] = frame_at((void *)va);
	swap.frame[1] = frame_get(s->frames, 1, 1, 0, 0);
	pte_t second = pte_make(swap.frame[1], RW);
	if (!expect(table[1] && swap.frame[1] && pt_one(s->frames, FH_OP_SET, 0, table[1], pt_index(va, 1), &second, 0) >= 0,
	            "a second table for the same address can be had"))
		return;
	cpus_begin();
	unsigned home = cpu_here();
	if (info->ncpus > 1)
		t = thread_on(home + 1, watch, (void *)(va_t)home);
	for (unsigned i = 0; i < TURNS; i++) {
		uint64_t end = cpu_tsc() + 5000 * info->tsc_khz;
		while (t && swap.known != swap.turn && cpu_tsc() < end)
			;
		if (!expect(!t || swap.known == swap.turn, "the other CPU has looked before turn %u", i) || !expect(look(), "so has this one"))
			break;
		expect_is(take_turn(s, above, table[~i & 1]), FH_OP_DONE, "turn %u", i);
		if (!look())
			count_bad(&here, "turn %u", i);
	}
	swap.end = true;
	if (t)
		thread_off(t);
	cpus_end();
	expect(!here.bad, "another table stands there: the window shows that on this CPU");
	expect(!late.bad && !strayed, "and on another, that has looked all the time (%lu looks from this one)", strayed);
	expect_is((int64_t)swap.turn, 2 * TURNS, "turns and changes");
	expect(pt_one(s->frames, FH_OP_UNMAP_FREE, space_flush(), table[1], pt_index(va, 1), &none, 0) >= 0 && frame_put_typed(table[1]) == 0,
	       "the second table is given back");
}

static void window(void)
{
	struct space *s = space_current();
	int64_t at = mm_map(0, FH_PAGE, RW, MM_EAGER);
	va_t va = (va_t)at;

	const uint64_t plain = ~(FH_A | FH_D); /* the walk itself sets these */
	expect_is((int64_t)(self_entry(va, 1) & plain), (int64_t)(space_get(s, va) & plain), "the level-1 entry");
	for (unsigned level = 2; level <= 4; level++)
		expect_is((int64_t)fh_pte_pfn(self_entry(va, level)), (int64_t)(level == 4 ? space_table(s, va, 3) : space_table(s, va, level - 1)),
		          "the frame that the level-%u entry names", level);
	expect_is((int64_t)fh_pte_pfn(self_entry(SELF, 4)), (int64_t)s->root, "slot 510 names the PML4");
	volatile char *entry = (volatile char *)self_address(va, 1); /* a fork's child has no window there: touched here */
	touch_begin();
	expect(!writes(entry) && touch_last.address == (va_t)entry && (touch_last.error & 0x1f) == 7,
	       "a write to an entry faults: %#lx, error %#lx", touch_last.address, touch_last.error);
	expect(!runs(entry) && touch_last.address == (va_t)entry && (touch_last.error & 0x1f) == 0x15,
	       "a jump there faults: %#lx, error %#lx", touch_last.address, touch_last.error);
	touch_end();

	mm_protect(va, FH_PAGE, RIGHT_R);
	expect(!(self_entry(va, 1) & FH_W), "a change of rights shows: %#lx", self_entry(va, 1));
	window_remapped(va);
	mm_unmap(va, FH_PAGE);
}

const struct line lines[] = {
    {1, "every page of the null guard faults, and an explicit map request there is refused", null_guard},
    {2, ".text r-x, .rodata r--, .data and .bss rw- in that order from 0x400000, each wrong access faults", sections},
    {3, "the heap starts at page-up(end of bss), grows up, and a shrink unmaps", heap},
    {4, "the byte below 0x7fff00000000 can be written, the guard above faults, 0x800000000000 is #GP or #SS", top_guard},
    {5, "further stacks go downward with an unmapped page under each; overflow is caught, also past all handlers", stacks},
    {7, "mmap never overlaps heap, stacks or guards; heap meeting mmap is ENOMEM with nothing clobbered", room},
    {8, "through the recursive window each level's entry reads as the real one, another table's on all CPUs; a write faults", window},
    {0},
};
