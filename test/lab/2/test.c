/* test.c - assignment 2: your first page table. A test runs on the student's PT4, into which the slots of the kit's own are
 * linked, so that the program goes on there: all but one, where the student maps. */
#include <string.h>

#include "grader.h"
#include "lab2.h"
#include "spacewalk.h"
#include "touch.h"

#define SLOT_SHIFT 39
static va_t area; /* 512 GiB that nobody uses */
static pfn_t first_root;

/* Entry of the kit's PT4, or of the student's once we run on it. */
static pte_t top_entry(unsigned slot) { return *window_slot((va_t)slot << SLOT_SHIFT, 4); }

/* A PT4 of the student's, checked; not loaded yet. */
static pfn_t fresh_root(void)
{
	pfn_t p = pt_new();

	expect(p != 0 && p < info->nframes, "pt_new returned %#lx, which is no frame", p);
	uint64_t state = frame_record(p)->state;
	expect(fh_type(state) == FH_PT4 && fh_owner(state) == env_self(), "pt_new returned frame %#lx, which is %s of env %#lx; it should "
	       "be PT4 of env %#lx", p, frame_type_name(fh_type(state)), fh_owner(state), env_self());
	volatile pte_t *table = scratch_map(p, 1, RIGHT_R);
	expect(table != NULL, "the frame that pt_new returned can't be mapped for reading");
	pte_t self = table[FH_WINDOW_SLOT];
	expect((self & FH_P) && fh_pte_pfn(self) == p, "slot %u of the PT4 is %s; it should name the PT4 itself, frame %#lx", FH_WINDOW_SLOT,
	       entry_text(self), p);
	for (unsigned i = 0; i < FH_WINDOW_SLOT; i++)
		expect(!table[i], "slot %u of the new PT4 is %s; it should be empty", i, entry_text(table[i]));
	scratch_put((va_t)table, 1);
	return p;
}

/* Run on a PT4 of the student's. */
static void begin(void)
{
	uint64_t offset, size;
	pfn_t root = fresh_root();

	first_root = space_main.root;
	for (unsigned i = 0; i < FH_WINDOW_SLOT; i++) {
		pte_t e = top_entry(i);
		if (e & FH_P)
			sys_pt_set(fh_what(FH_OP_SET, 0, root, i, 1), fh_pte_pfn(e) << 12 | FH_P | FH_W | FH_U, 0);
		else if (!area && i > 64)
			area = (va_t)i << SLOT_SHIFT;
	}
	touch_begin();
	struct fh_thread_args *a = batch_area(&offset, &size);
	*a = (struct fh_thread_args){.fields = FH_SET_ROOT, .root = root};
	space_main.root = root;
	upcall_word_set(UPCALL_OFFSET(libos[UPCALL_LIBOS_ROOT]), root);
	int64_t r = sys_thread_write(0, offset);
	expect(r == 0, "the PT4 can't be loaded: %s", result_text(r));
}

/* Back on the kit's PT4. */
static void end(void)
{
	uint64_t offset, size;
	struct fh_thread_args *a = batch_area(&offset, &size);

	*a = (struct fh_thread_args){.fields = FH_SET_ROOT, .root = first_root};
	space_main.root = first_root;
	upcall_word_set(UPCALL_OFFSET(libos[UPCALL_LIBOS_ROOT]), first_root);
	sys_thread_write(0, offset);
}

/* A frame with a word in it. */
static pfn_t frame_with(uint64_t word)
{
	pfn_t p = frame_get(&frames_first, 1, 1, 0, 0);
	volatile uint64_t *at = p ? scratch_map(p, 1, RIGHT_R | RIGHT_W) : NULL;

	if (!at)
		panic("no frame");
	*at = word;
	scratch_put((va_t)at, 1);
	return p;
}

static pfn_t frame_large(void)
{
	pfn_t p = frame_get(&frames_large, FH_LARGE_FRAMES, FH_LARGE_FRAMES, 0, 0);

	if (!p)
		panic("no 2 MiB block");
	return p;
}

static void must_map(va_t va, pfn_t pfn, pte_t bits) { expect_result(pt_map(va, pfn, bits), 0, "map(%#lx, frame %#lx)", va, pfn); }
static void must_map_large(va_t va, pfn_t pfn, pte_t bits)
{
	expect_result(pt_map_large(va, pfn, bits), 0, "map_large(%#lx, frame %#lx)", va, pfn);
}

/* What the hardware sees there, by a walk of our own. */
static pte_t truth(va_t va) { return space_get(&space_main, va); }

static void test_new(void)
{
	uint64_t before = (uint64_t)frame_owned(0);
	pfn_t p = fresh_root();

	expect((uint64_t)frame_owned(0) == before + 1, "pt_new takes one frame, not %ld", (int64_t)((uint64_t)frame_owned(0) - before));
	begin();
	volatile pte_t *self = (volatile pte_t *)WINDOW_VA;
	expect(!writes(self), "the window can be written to");
	end();
	(void)p;
}

static void test_map(void)
{
	begin();
	uint64_t owned;
	pfn_t a = frame_with(111), b = frame_with(222), c = frame_with(333);

	owned = (uint64_t)frame_owned(0);
	must_map(area, a, FH_W | FH_NX);
	expect(truth(area) & FH_P && fh_pte_pfn(truth(area)) == a, "after map(%#lx, frame %#lx) the entry is %s", area, a, entry_text(truth(area)));
	expect((uint64_t)frame_owned(0) == owned + 3, "the first page takes a PT3, a PT2 and a PT1: three frames, not %ld",
	       (int64_t)((uint64_t)frame_owned(0) - owned));
	expect(reads((void *)area), "mapped, but a read of %#lx faults: entry %s", area, entry_text(truth(area)));
	uint64_t word = *(volatile uint64_t *)area;
	expect(word == 111, "%#lx reads %lu, the frame holds 111", area, word);
	expect(writes((void *)area), "mapped with FH_W, but a write faults: entry %s", entry_text(truth(area)));
	must_map(area + FH_PAGE, b, FH_NX);
	expect((uint64_t)frame_owned(0) == owned + 3, "the page beside it takes no more tables, but %ld frames went",
	       (int64_t)((uint64_t)frame_owned(0) - owned - 3));
	word = *(volatile uint64_t *)(area + FH_PAGE);
	expect(word == 222 && *(volatile uint64_t *)area == 111, "the second page reads %lu, its frame holds 222", word);
	expect(!writes((void *)(area + FH_PAGE)), "mapped without FH_W, but it can be written to: entry %s", entry_text(truth(area + FH_PAGE)));
	must_map(area + 511 * PLAN_GIB + 511 * PLAN_LARGE + 511 * FH_PAGE, c, FH_W);
	expect(*(volatile uint64_t *)(area + 512 * PLAN_GIB - FH_PAGE) == 333, "the last page of the 512 GiB doesn't show its frame");
	expect((uint64_t)frame_owned(0) == owned + 5, "it takes a PT2 and a PT1 more");
	expect_result(pt_map(area, c, FH_W), -FH_EEXIST, "map where a page is");
	expect(fh_pte_pfn(truth(area)) == a, "a refused map has changed the entry: %s", entry_text(truth(area)));
	expect_result(pt_map(area + 8, c, FH_W), -FH_EINVAL, "map(area + 8)");
	end();
}

static void check_translate(va_t va, uint64_t want)
{
	uint64_t got = pt_translate(va);

	expect(got == want, "translate(%#lx) returned %#lx, should return %#lx", va, got, want);
}

static void test_translate(void)
{
	unsigned level = 77;

	begin();
	pfn_t a = frame_with(1);
	check_translate(area + 123, PT_NOWHERE); /* no PT3 */
	must_map(area + 5 * FH_PAGE, a, FH_W | FH_NX);
	pte_t e = pt_entry(area + 5 * FH_PAGE, &level);
	expect((e & ~(FH_A | FH_D)) == (truth(area + 5 * FH_PAGE) & ~(FH_A | FH_D)) && level == 1, "entry returned %s, level %u; it is %s, "
	       "level 1", entry_text(e), level, entry_text(truth(area + 5 * FH_PAGE)));
	check_translate(area + 5 * FH_PAGE, a << 12);
	check_translate(area + 5 * FH_PAGE + 4095, (a << 12) + 4095);
	check_translate(area + 6 * FH_PAGE, PT_NOWHERE);              /* its PT1 is there */
	check_translate(area + PLAN_LARGE, PT_NOWHERE);               /* no PT1 */
	check_translate(area + PLAN_GIB, PT_NOWHERE);                 /* no PT2 */
	check_translate(area + 512 * PLAN_GIB, PT_NOWHERE);           /* no PT3 */
	static char own[FH_PAGE * 2];
	own[4000] = 1;
	uint64_t want = (fh_pte_pfn(truth((va_t)&own[4000])) << 12) + ((va_t)&own[4000] & 4095);
	check_translate((va_t)&own[4000], want);
	end();
}

static void test_large(void)
{
	unsigned level = 0;

	begin();
	pfn_t block = frame_large(), small = frame_with(5);
	va_t va = area + 3 * PLAN_LARGE;
	uint64_t owned = (uint64_t)frame_owned(0);
	expect_result(pt_map_large(va + FH_PAGE, block, FH_W | FH_NX), -FH_EINVAL, "map_large at an address that is no multiple of 2 MiB");
	must_map_large(va, block, FH_W | FH_NX);
	expect((uint64_t)frame_owned(0) == owned + 2, "a 2 MiB page takes a PT3 and a PT2: two frames, not %ld",
	       (int64_t)((uint64_t)frame_owned(0) - owned));
	for (unsigned i = 0; i < 512; i += 73) {
		volatile uint64_t *p = (volatile uint64_t *)(va + i * FH_PAGE);
		expect(writes(p), "page %u of the 2 MiB page can't be written to: entry %s", i, entry_text(truth((va_t)p)));
		*p = i;
	}
	pte_t e = pt_entry(va + 100 * FH_PAGE, &level);
	expect(level == 2 && e & FH_PS && fh_pte_pfn(e) == block, "entry in the 2 MiB page returned %s, level %u; it is %s, level 2",
	       entry_text(e), level, entry_text(truth(va)));
	check_translate(va, block << 12);
	check_translate(va + 0x12345, (block << 12) + 0x12345);
	check_translate(va + PLAN_LARGE - 1, (block << 12) + PLAN_LARGE - 1);
	expect_result(pt_map(va + FH_PAGE, small, FH_W), -FH_EEXIST, "map of a 4 KiB page inside a 2 MiB page");
	must_map(va + PLAN_LARGE, small, FH_W);
	expect_result(pt_map_large(va + PLAN_LARGE, block, FH_W | FH_NX), -FH_EEXIST, "map_large where a 4 KiB page is");
	expect_result(pt_protect(va + 0x5000, FH_NX), 0, "protect in a 2 MiB page");
	expect(!writes((void *)(va + 0x7000)), "a 2 MiB page made read-only can be written to: entry %s", entry_text(truth(va)));
	expect_result(pt_unmap(va), 0, "unmap of a 2 MiB page");
	expect(!reads((void *)va), "a 2 MiB page is unmapped, but can be read");
	for (unsigned i = 0; i < 512; i++)
		expect(frame_is_free(block + i), "a 2 MiB page is unmapped, but frame %u of its 512 isn't FREE", i);
	end();
}

#define ROUNDS 16u /* a tick may flush by chance */

static void test_protect(void)
{
	begin();
	volatile char *p = (volatile char *)area;
	expect_result(pt_protect(area, FH_NX), -FH_ENOENT, "protect where nothing is mapped");
	must_map(area, frame_with(7), FH_W | FH_NX);
	for (unsigned i = 0; i < ROUNDS; i++) {
		expect(writes(p), "round %u: it should be writable: entry %s", i, entry_text(truth(area)));
		p[9] = (char)i;
		expect_result(pt_protect(area, FH_NX), 0, "protect(%#lx, no FH_W)", area);
		expect(!writes(p), "round %u: protect has returned, and the page can be written to.\nIts entry is %s%s", i, entry_text(truth(area)),
		       truth(area) & FH_W ? "" : ": that is right, but the CPU still\nknows the old one by its TLB");
		expect(reads(p) && p[9] == (char)i, "round %u: the read-only page has lost what was in it", i);
		expect_result(pt_protect(area, FH_W | FH_NX), 0, "protect(%#lx, FH_W)", area);
	}
	p[0] = TOUCH_RET;
	expect(!runs(p), "mapped with FH_NX, but it can be executed: entry %s", entry_text(truth(area)));
	expect_result(pt_protect(area, 0), 0, "protect(%#lx, no FH_NX)", area);
	expect(runs(p), "protected without FH_NX, but it can't be executed: entry %s", entry_text(truth(area)));
	end();
}

static void test_unmap(void)
{
	begin();
	uint64_t owned = (uint64_t)frame_owned(0);
	expect_result(pt_unmap(area + PLAN_GIB), -FH_ENOENT, "unmap where nothing is mapped");
	must_map(area + FH_PAGE, frame_with(1), FH_W);
	owned = (uint64_t)frame_owned(0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		pfn_t f = frame_with(i);
		must_map(area, f, FH_W | FH_NX);
		expect(writes((void *)area), "round %u: not mapped", i);
		expect_result(pt_unmap(area), 0, "unmap(%#lx)", area);
		expect(!reads((void *)area), "round %u: unmap has returned, and the page can be read.\nIts entry is %s%s", i, entry_text(truth(area)),
		       truth(area) ? "" : ": that is right, but the CPU still\nknows the old one by its TLB");
		expect(frame_is_free(f), "unmapped, but its frame %#lx is %s, not FREE", f, frame_type_name(fh_type(frame_record(f)->state)));
	}
	expect((uint64_t)frame_owned(0) == owned, "after %u pages mapped and unmapped this env owns %ld frames more", ROUNDS,
	       (int64_t)((uint64_t)frame_owned(0) - owned));
	expect(reads((void *)(area + FH_PAGE)), "unmap has taken the page beside it, too");
	expect_result(pt_unmap(area), -FH_ENOENT, "unmap a second time");
	end();
}

static void test_trim(void)
{
	unsigned level;

	begin();
	uint64_t owned = (uint64_t)frame_owned(0);
	pfn_t frame[12];
	for (unsigned i = 0; i < 12; i++) /* now: it flushes */
		frame[i] = frame_with(i < 4 ? i : 36 + i);
	owned += 12;
	expect_result(pt_trim(area), 0, "trim where no table is");
	for (unsigned i = 0; i < 4; i++) {
		va_t va = area + i * 64 * FH_PAGE;
		pfn_t f = frame[i], g = frame[4 + i];
		must_map(va, f, FH_W | FH_NX);
		pte_t e = pt_entry(va, &level);
		expect(fh_pte_pfn(e) == f, "round %u: all was unmapped and trimmed, then frame %#lx mapped at %#lx.\nentry returned %s, but it is %s:\n"
		       "is what you read in the window the table of before, by the TLB?", i, f, va, entry_text(e), entry_text(truth(va)));
		must_map(va + PLAN_LARGE, g, FH_W | FH_NX);
		expect_result(pt_trim(va), 0, "trim of tables that hold something");
		expect(reads((void *)va) && *(volatile uint64_t *)va == i, "trim has freed, or unlinked, a PT1 that held a page: entry %s",
		       entry_text(truth(va)));
		pt_unmap(va);
		expect(!pt_entry(va, &level), "unmapped, but entry returned %s", entry_text(pt_entry(va, &level)));
		expect_result(pt_trim(va), 1, "one page of two is unmapped, in a PT1 of its own: trim");
		must_map(va, frame[8 + i], FH_NX);
		e = pt_entry(va, &level);
		expect(fh_pte_pfn(e) == frame[8 + i], "round %u: PT1 freed, then another made, and frame %#lx mapped. entry returned %s, but it is %s:\n"
		       "is what you read in the window the PT1 of before, by the TLB?", i, frame[8 + i], entry_text(e), entry_text(truth(va)));
		pt_unmap(va);
		expect_result(pt_trim(va), 1, "one page of two is unmapped again: trim");
		expect(reads((void *)(va + PLAN_LARGE)) && *(volatile uint64_t *)(va + PLAN_LARGE) == 40 + i, "trim has taken a page that is in another PT1");
		pt_unmap(va + PLAN_LARGE);
		expect_result(pt_trim(va + PLAN_LARGE), 3, "the last page is unmapped: trim frees its PT1, PT2 and PT3, and");
		owned -= 3;
		expect((uint64_t)frame_owned(0) == owned, "all is unmapped, and this env owns %ld frames more than before there was a page",
		       (int64_t)((uint64_t)frame_owned(0) - owned));
	}
	end();
}

static void test_run(void)
{
	enum { N = 500, FEW = N / 8 };

	begin();
	pfn_t run = frame_get(&frames_first, N, 1, 0, 0);
	va_t va = area + PLAN_GIB - 200 * FH_PAGE; /* ends in another PT1, of another PT2 */
	expect(run != 0, "no frames for the test");
	uint64_t locks = grader_counted(FH_COUNT_LOCKS);
	int r = pt_map_run(va, run, N, FH_W | FH_NX);
	locks = grader_counted(FH_COUNT_LOCKS) - locks;
	expect_result(r, 0, "map_run of %u pages", (unsigned)N);
	for (unsigned i = 0; i < N; i++)
		expect(fh_pte_pfn(truth(va + i * FH_PAGE)) == run + i && truth(va + i * FH_PAGE) & FH_W, "page %u of the run: the entry is %s, "
		       "should be frame %#lx, writable", i, entry_text(truth(va + i * FH_PAGE)), run + i);
	expect(!truth(va - FH_PAGE) && !truth(va + N * FH_PAGE), "a page beside the run is mapped, too");
	expect(locks <= FEW, "%u pages took %lu changes of page tables by themselves; with counts and a batch %u are plenty", (unsigned)N, locks,
	       (unsigned)FEW);
	pte_t before = truth(va + 3 * FH_PAGE) & ~(FH_A | FH_D);
	expect_result(pt_map_run(va - 50 * FH_PAGE, run, 60, FH_NX), -FH_EEXIST, "map_run over pages that are mapped");
	expect(!truth(va - 50 * FH_PAGE) && (truth(va + 3 * FH_PAGE) & ~(FH_A | FH_D)) == before, "a refused map_run has changed entries");
	end();
}

static const struct lab_test tests[] = {
    {10, "pt_new: a PT4 that is ours and names itself", test_new},
    {20, "pt_map: tables are made where they are missing, the page shows its frame, what is there isn't replaced", test_map},
    {15, "pt_entry and pt_translate: what the tables say, whichever of them are missing", test_translate},
    {15, "pt_map_large: 2 MiB by one entry", test_large},
    {10, "pt_protect: at once, on this CPU too", test_protect},
    {10, "pt_unmap: the page is out of reach at once, and its frame FREE", test_unmap},
    {10, "pt_trim: empty tables are freed, others stay", test_trim},
    {10, "pt_map_run: many pages with few operations", test_run},
};
const struct lab lab = {.title = "Lab 2: your first page table", .tests = tests, .ntests = sizeof(tests) / sizeof(tests[0])};
