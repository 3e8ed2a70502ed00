/* test.c - assignment 3: demand paging. */
#include <string.h>

#include "grader.h"
#include "lab3.h"
#include "touch.h"

/* ---- The disk ---- */

static char disk[DISK_BLOCKS][FH_PAGE];
static unsigned disk_writes, disk_reads;

void disk_write(unsigned block, const void *page)
{
	expect(block < DISK_BLOCKS, "disk_write to block %u, the disk has %u", block, DISK_BLOCKS);
	memcpy(disk[block], page, FH_PAGE);
	disk_writes++;
}

void disk_read(unsigned block, void *page)
{
	expect(block < DISK_BLOCKS, "disk_read of block %u, the disk has %u", block, DISK_BLOCKS);
	memcpy(page, disk[block], FH_PAGE);
	disk_reads++;
}

/* ---- Areas ---- */

static char *file; /* the first boot module's, copied where the tests can read it */
#define FILE_BYTES (6 * FH_PAGE + 1234)

static void setup(void)
{
	struct module m;

	file = (char *)mm_map(0, page_up(FILE_BYTES) + FH_PAGE, RIGHT_R | RIGHT_W, MM_SHARED | MM_EAGER);
	if (module_get(0, &m) < 0 || m.bytes < page_up(FILE_BYTES))
		panic("no module");
	memcpy(file, m.data, page_up(FILE_BYTES));
	for (size_t i = 0; i < page_up(FILE_BYTES); i++) /* no page is like another, and none begins or ends with zeroes */
		file[i] = (char)(file[i] ^ (i / FH_PAGE * 16 + 1) ^ (i % 7 == 0));
}

static struct paged area[3];
static unsigned nareas, resident_limit;
static uint64_t faults, last_fault;

/* Counts, and asks the student. */
static enum answer counted(struct region *r, struct fault *f)
{
	faults++;
	last_fault = f->address;
	return pager_fault(r, f);
}

static struct paged *new_area(enum paged_kind kind, unsigned pages, unsigned rights)
{
	struct paged *a = &area[nareas++];
	int64_t va = mm_map(0, pages * FH_PAGE, 0, MM_GUARD);
	struct space *s = space_current();

	expect(!mm_failed(va), "no addresses");
	*a = (struct paged){.kind = kind, .lo = (va_t)va, .hi = (va_t)va + pages * FH_PAGE, .rights = rights};
	if (kind == PAGED_FILE) {
		a->file = file;
		a->bytes = FILE_BYTES;
	}
	space_lock(s);
	struct region *r = region_find(s, a->lo);
	r->rights = (uint8_t)rights;
	r->fault = counted;
	r->arg = a;
	space_unlock(s);
	return a;
}

static uint64_t resident(void)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < nareas; i++)
		n += space_count(space_current(), area[i].lo, (area[i].hi - area[i].lo) / FH_PAGE);
	return n;
}

static volatile uint64_t *at(const struct paged *a, unsigned page) { return (volatile uint64_t *)(a->lo + page * FH_PAGE); }
static pte_t entry(const volatile void *p) { return space_get(space_current(), page_down((va_t)p)); }

static void must_read(const struct paged *a, unsigned page)
{
	expect(reads(at(a, page)), "a read of page %u of the area was refused; entry of %#lx now: %s", page, (va_t)at(a, page),
	       entry_text(entry(at(a, page))));
}

static void must_write(const struct paged *a, unsigned page)
{
	expect(writes(at(a, page)), "a write to page %u of the area was refused; entry of %#lx now: %s", page, (va_t)at(a, page),
	       entry_text(entry(at(a, page))));
}

static void within_limit(void)
{
	uint64_t n = resident();

	expect(!resident_limit || n <= resident_limit, "%lu pages are there, the limit is %u", n, resident_limit);
}

static void start(unsigned frames)
{
	touch_begin();
	resident_limit = frames;
	pager_start(frames);
}

/* ---- Tests ---- */

static void test_zero(void)
{
	start(0);
	struct paged *a = new_area(PAGED_ZERO, 40, RIGHT_R | RIGHT_W);
	static const unsigned order[] = {7, 0, 39, 8, 20};
	uint64_t owned;

	must_read(a, 7); /* the page table comes with it */
	owned = (uint64_t)frame_owned(0);
	for (unsigned i = 0; i < 5; i++) {
		must_read(a, order[i]);
		for (unsigned k = 0; k < 512; k++)
			expect(at(a, order[i])[k] == 0, "word %u of page %u is %#lx, should be 0", k, order[i], at(a, order[i])[k]);
		must_write(a, order[i]);
		*at(a, order[i]) = order[i] + 100;
		expect(resident() == i + 1, "%u pages have been touched, but %lu are there", i + 1, resident());
	}
	for (unsigned i = 0; i < 5; i++)
		expect(*at(a, order[i]) == order[i] + 100, "page %u was written to, and has lost it", order[i]);
	expect((uint64_t)frame_owned(0) == owned + 4, "four pages more have taken %ld frames", (int64_t)((uint64_t)frame_owned(0) - owned));
	expect(faults == 5, "5 pages, and %lu faults: a page should come with all its rights", faults);
}

static void test_rights(void)
{
	start(0);
	struct paged *a = new_area(PAGED_ZERO, 4, RIGHT_R);
	expect(!writes(at(a, 0)), "the area is read-only (rights RIGHT_R), page 0 not there yet: a write was allowed; entry %s",
	       entry_text(entry(at(a, 0))));
	must_read(a, 1);
	expect(!writes(at(a, 1)), "the area is read-only, page 1 is there: a write was allowed; entry %s", entry_text(entry(at(a, 1))));
	must_read(a, 1);
	struct paged *b = new_area(PAGED_ZERO, 4, RIGHT_R | RIGHT_W);
	expect(!runs((volatile char *)at(b, 0)), "the area isn't executable: a jump there was allowed; entry %s", entry_text(entry(at(b, 0))));
	must_write(b, 2);
	*(volatile char *)at(b, 2) = TOUCH_RET;
	expect(!runs((volatile char *)at(b, 2)), "the area isn't executable, its page 2 is there: a jump there was allowed; entry %s",
	       entry_text(entry(at(b, 2))));
}

static void test_stack(void)
{
	start(0);
	struct paged *a = new_area(PAGED_STACK, 64, RIGHT_R | RIGHT_W);

	expect(!reads(at(a, 63 - STACK_REACH - 4)), "nothing is on the stack yet: a touch %u pages below its top, more than STACK_REACH, was answered",
	       STACK_REACH + 5);
	for (unsigned i = 63; i >= 50; i -= 3)
		must_write(a, i);
	expect(resident() == 5, "5 pages of the stack have been touched, %lu are there", resident());
	must_write(a, 62); /* between: skipped before */
	must_write(a, 51 - STACK_REACH);
	expect(!reads(at(a, 51 - 2 * STACK_REACH - 2)), "the lowest page of the stack is its page %u: a touch of page %u, more than STACK_REACH (%u) "
	       "below, was answered", 51 - STACK_REACH, 51 - 2 * STACK_REACH - 2, STACK_REACH);
	for (unsigned i = 51 - STACK_REACH; i >= 1; i--)
		must_write(a, i);
	expect(!writes(at(a, 0)) && !writes((char *)at(a, 1) - 1), "the stack's lowest page is its guard: a write there was allowed; entry %s",
	       entry_text(entry(at(a, 0))));
	expect(!reads(at(a, 0)), "the stack's guard page can be read");
}

static void test_file(void)
{
	start(0);
	struct paged *a = new_area(PAGED_FILE, 10, RIGHT_R), *b = new_area(PAGED_FILE, 10, RIGHT_R | RIGHT_W);

	for (unsigned i = 7; i-- > 0;) {
		must_read(a, i);
		const volatile char *p = (const volatile char *)at(a, i);
		for (unsigned k = 0; k < FH_PAGE; k++) {
			size_t offset = i * FH_PAGE + k;
			char want = offset < FILE_BYTES ? file[offset] : 0;
			expect(p[k] == want, "byte %lu (page %u, %u) is %#x, should be %#x%s", offset, i, k, (unsigned char)p[k], (unsigned char)want,
			       offset < FILE_BYTES ? "" : ": it is behind the file's end");
		}
	}
	expect(!reads(at(a, 7)), "the file ends in page 6, but page 7 can be read");
	expect(!writes(at(a, 3)), "the area is read-only, a write to page 3 was allowed; entry %s", entry_text(entry(at(a, 3))));
	char before = file[5 * FH_PAGE];
	must_write(b, 5);
	*(volatile char *)at(b, 5) = (char)~before;
	expect(((volatile char *)at(b, 5))[1] == file[5 * FH_PAGE + 1], "the first touch of page 5 is a write: the file's other bytes aren't there");
	expect(file[5 * FH_PAGE] == before && *(volatile char *)at(a, 5) == before, "a write to a private page has changed the file");
}

/* Words that differ from page to page and from round to round. */
static uint64_t stamp(unsigned page, unsigned round) { return page * 0x9e3779b97f4a7c15ul + round; }

static void test_limit(void)
{
	enum { L = 8, N = 30 };

	start(L);
	struct paged *a = new_area(PAGED_ZERO, N, RIGHT_R | RIGHT_W), *b = new_area(PAGED_FILE, 10, RIGHT_R);
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned k = 0; k < N; k++) {
			unsigned i = round % 2 ? N - 1 - k : k;
			must_read(a, i);
			within_limit();
			uint64_t got = at(a, i)[100], want = round ? stamp(i, round - 1) : 0;
			expect(got == want, "page %u was evicted and has come back, but a word of it is %#lx, was %#lx%s", i, got, want,
			       got == 0 ? "\nif it was not written to the disk: did you lose its D bit when you cleared A?" : "");
			must_write(a, i);
			at(a, i)[100] = stamp(i, round);
			if (k % 4 == 0) {
				must_read(b, k / 4 % 7);
				within_limit();
				expect(*(volatile char *)at(b, k / 4 % 7) == file[k / 4 % 7 * FH_PAGE], "page %u of the file has come back as something else", k / 4 % 7);
			}
		}
	}
	/* Written, then only read: the D bit must outlive the A bit. */
	must_write(a, 0);
	at(a, 0)[7] = 4711;
	for (unsigned i = 1; i < N; i++) {
		must_read(a, i);
		must_read(a, 0);
	}
	for (unsigned i = N - 1; i > N - 1 - 2 * L; i--)
		must_read(a, i);
	expect(at(a, 0)[7] == 4711, "page 0 was written to once, then often read, then evicted: what was written is lost.\n"
	       "Did you lose its D bit when you cleared A?");
}

static void test_clean(void)
{
	enum { L = 6, N = 20 };

	start(L);
	struct paged *a = new_area(PAGED_ZERO, N, RIGHT_R | RIGHT_W), *b = new_area(PAGED_FILE, 10, RIGHT_R | RIGHT_W);
	for (unsigned i = 0; i < 7; i++)
		must_read(b, i);
	for (unsigned i = 0; i < N; i++)
		must_read(a, i);
	within_limit();
	expect(disk_writes == 0, "the program has only read, and %u pages were written to the disk: is D set because your handler filled them?", disk_writes);
	for (unsigned i = 0; i < N; i++) {
		must_write(a, i);
		*at(a, i) = i + 1;
	}
	for (unsigned i = 0; i < 7; i++)
		must_read(b, i);
	unsigned after = disk_writes;
	expect(after >= N - L && after <= N, "%u pages were changed: %u writes to the disk", (unsigned)N, after);
	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 0; i < N; i++) {
			must_read(a, i);
			expect(*at(a, i) == i + 1, "page %u has come back with %lu, not %u", i, *at(a, i), i + 1);
		}
	expect(disk_writes <= N, "pages that were only read since they came from the disk have been written to it again: %u writes, %u are enough",
	       disk_writes, (unsigned)N);
}

static void test_second_chance(void)
{
	enum { L = 8, N = 64, ROUNDS = 3, MOST = 3 * ROUNDS };
	uint64_t hot = 0;

	start(L);
	struct paged *a = new_area(PAGED_ZERO, N, RIGHT_R);
	must_read(a, 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 1; i < N; i++) {
			must_read(a, i);
			uint64_t before = faults;
			must_read(a, 0);
			hot += faults != before;
			within_limit();
		}
	}
	expect(hot <= MOST, "page 0 is read after every other page, so it always is among the %u last used; but it was evicted %lu times\n"
	       "in %u steps. A page whose A bit is set gets a second chance (and the bit cleared, and the TLB flushed: or the CPU,\n"
	       "which knows the page, won't set it again)", (unsigned)L, hot, ROUNDS * (N - 1));
}

static const struct lab_test tests[] = {
    {15, "zero pages come at the first touch, and only then", test_zero},
    {10, "what the area doesn't allow is refused, whether the page is there or not", test_rights},
    {15, "a stack grows to where it is touched, but not onto its guard, nor by a wild jump", test_stack},
    {20, "pages of a file: its bytes, zeroes behind its end, private when written", test_file},
    {20, "never more pages than the limit, and nothing is lost by eviction", test_limit},
    {10, "pages that have not changed aren't written to the disk", test_clean},
    {10, "a page in use gets a second chance", test_second_chance},
};
const struct lab lab = {.title = "Lab 3: demand paging", .tests = tests, .ntests = sizeof(tests) / sizeof(tests[0]), .setup = setup};
