/* osv.c - the lines of the layouts osv and osv_2022. */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lines.h"
#include "osv.h"
#include "spacewalk.h"

const unsigned lines_total = 11;

#define RW (RIGHT_R | RIGHT_W)
#define GIB PLAN_GIB
#define PROGRAM 0x100000000000ul
#define MMAP 0x200000000000ul
#define KERNEL 0x200000ul
#define KERNEL_END 0x1800000ul

typedef int64_t library(int64_t add, int64_t **counter);

/* What the documents say of the areas. */
static va_t area_lo(enum osv_area a)
{
	static const va_t seed[] = {0xffff800000000000, 0xffff900000000000, 0xffffa00000000000, 0xffffb00000000000},
	                  later[] = {0x400000000000, 0x500000000000, 0x600000000000, 0x700000000000};
	return (strcmp(program_layout->name, "osv_2022") == 0 ? later : seed)[a];
}

static bool in_area(const void *p, enum osv_area a) { return (va_t)p >= area_lo(a) && (va_t)p - area_lo(a) < OSV_AREA_BYTES; }
static bool expect_in(const void *p, enum osv_area a, const char *what)
{
	return expect(in_area(p, a), "%s is in area %u, from %#lx: %p", what, a, area_lo(a), p);
}

/* The byte that p names, in another of the three areas. */
static char *through(enum osv_area a, const void *p) { return (char *)((va_t)p % OSV_AREA_BYTES + area_lo(a)); }

/* Its frame, whatever the size of its page. */
static pfn_t translate(const void *p)
{
	pte_t e = space_get(space_current(), page_down((va_t)p));
	return fh_pte_pfn(e) + (e & FH_PS ? (va_t)p / FH_PAGE % FH_LARGE_FRAMES : 0);
}

/* Frames that are owned when the allocator has given back what it can. */
static uint64_t frames_kept(void)
{
	malloc_trim();
	return frames_owned();
}

/* In a child: how it ends. */
static int status_of(void (*act)(void))
{
	struct env *e = NULL;
	int r = env_fork(&e);

	if (r == 0) {
		act();
		exit(0);
	}
	int status = r == 1 && env_wait(e) == ENV_EXITED ? env_status(e) : -1;
	env_reap(&e, NULL);
	return status;
}
#define PANIC 134

/* ---- 1 ---- */

static void namespaces(void)
{
	struct osv_object o[3], in[OSV_NAMESPACES] = {{0, 0, 0}};
	int64_t *counter[3], *count;
	size_t bytes;
	const void *file = bootfs_file("counter", &bytes);
	const char *wrong;

	if (!expect(file != NULL, "there is a library in the bootfs"))
		return;
	for (unsigned i = 0; i < 3; i++) {
		wrong = osv_load(0, file, bytes, &o[i]);
		if (!expect(!wrong, "object %u is loaded: %s", i, wrong ? wrong : ""))
			return;
		expect_is((int64_t)o[i].lo, (int64_t)(i ? o[i - 1].hi : PROGRAM), "object %u begins", i);
		expect(o[i].lo < o[i].hi, "it ends at %#lx", o[i].hi);
	}
	expect_is(((library *)o[0].entry)(1, &counter[0]), 1101, "the first one's counter, after one call");
	expect_is(((library *)o[1].entry)(5, &counter[1]), 1105, "the second one's has not moved before");
	expect_is(((library *)o[0].entry)(0, &counter[0]), 2101, "nor has the first one's since");
	expect(counter[0] != counter[1] && (va_t)counter[0] - o[0].lo == (va_t)counter[1] - o[1].lo, "their globals are at %p and %p",
	       (void *)counter[0], (void *)counter[1]);
	expect(frame_at(counter[0]) != frame_at(counter[1]), "in frames of their own");
	touch_begin();
	expect(!writes((char *)o[0].entry) && reads((char *)o[0].entry), "its code is not writable");
	touch_end();

	expect(strstr(osv_load(1, file, bytes, &o[2]), "namespace"), "namespace 1 is none yet");
	uint64_t owned = 0;
	for (unsigned round = 0; round < 2; round++) { /* the first one makes the kit's records */
		owned = round ? frames_kept() : 0;
		for (int i = 1; i <= 31; i++) {
			expect_is(osv_namespace_new(), i, "a new namespace");
			wrong = osv_load((unsigned)i, file, bytes, &in[i]);
			if (!expect(!wrong, "the library in namespace %d: %s", i, wrong ? wrong : ""))
				return;
			expect_is((int64_t)in[i].lo, (int64_t)(PROGRAM + ((unsigned)i + 1) * 8 * GIB), "namespace %d begins", i);
		}
		for (int i = 1; i <= 31; i++) {
			expect_is(((library *)in[i].entry)(i, &count), 1100 + i, "the counter in namespace %d", i);
			expect((va_t)count >= in[i].lo && (va_t)count < in[i].hi, "it is in its own namespace: %p", (void *)count);
		}
		expect_is((int64_t)in[1].lo, 0x100400000000, "the first one's address");
		expect_is((int64_t)in[31].lo, 0x104000000000, "the last one's address");
		expect(!region_busy(space_current(), 0x100200000000, 0x100400000000), "the slot between is unused");
		expect_returns(osv_namespace_new(), -ENOSPC, "the 32nd");
		for (unsigned i = 1; i <= 31; i++)
			expect_is(osv_namespace_end(i), 0, "namespace %u ends", i);
	}
	expect_is((int64_t)frames_kept(), (int64_t)owned, "frames, when all have ended");
	expect_returns(osv_namespace_end(1), -EINVAL, "ending one twice");
	expect_returns(osv_namespace_end(0), -EINVAL, "ending the program's own");
	for (unsigned i = 0; i < 3; i++)
		expect_is(osv_unload(&o[i]), 0, "object %u is unloaded", i);
	expect_fault(act_read, (va_t)counter[0], 14, 0, "a read of an unloaded library's counter");
}

/* ---- 2 ---- */

static void sizes(void)
{
	static const struct {
		size_t n;
		enum osv_area area;
	} cases[] = {{0, OSV_MEMPOOL}, {1, OSV_MEMPOOL}, {64, OSV_MEMPOOL}, {1023, OSV_MEMPOOL}, {1024, OSV_MEMPOOL}, {1025, OSV_PAGE},
	             {2000, OSV_PAGE}, {4096, OSV_PAGE}, {4097, OSV_MAIN}, {8192, OSV_MAIN}, {3 << 20, OSV_MAIN}};
	struct tally t = {0};
	void *p[sizeof(cases) / sizeof(cases[0])];
	static char *many[300];

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		p[i] = malloc(cases[i].n);
		if (!expect(p[i] != NULL, "malloc(%lu)", cases[i].n))
			continue;
		expect(in_area(p[i], cases[i].area), "malloc(%lu) is in area %u: %p", cases[i].n, cases[i].area, p[i]);
		expect(malloc_usable_size(p[i]) >= cases[i].n && (va_t)p[i] % 16 == 0, "all of it usable, aligned to 16");
		memset(p[i], 0x11, cases[i].n);
	}
	expect_is((int64_t)((va_t)p[6] % FH_PAGE), 0, "malloc(2000), offset in its page");
	for (size_t n = 8192; n < 3 << 20; n += 4096) /* the frames lie one after the other */
		if (translate((char *)p[10] + n) != translate(p[10]) + ((va_t)p[10] % FH_PAGE + n) / FH_PAGE)
			count_bad(&t, "offset %#lx", n);
	expect(!t.bad, "3 MiB are in frames one after the other");
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		free(p[i]);

	t.bad = 0;
	for (unsigned i = 0; i < 300; i++) {
		size_t align = 16ul << i % 10;
		many[i] = i % 3 ? malloc(random64() % 5000) : aligned_alloc(align, random64() % 3000);
		if (!many[i] || (i % 3 == 0 && (va_t)many[i] % align))
			count_bad(&t, "block %u", i);
		else
			memset(many[i], (int)i, malloc_usable_size(many[i]));
	}
	for (unsigned i = 0; i < 300; i++)
		for (size_t k = 0, n = many[i] ? malloc_usable_size(many[i]) : 0; k < n; k++)
			if (many[i][k] != (char)i) {
				count_bad(&t, "byte %lu of block %u", k, i);
				break;
			}
	expect(!t.bad, "300 blocks, each full of its own number, don't meet");
	expect_is(malloc_check(), 0, "inconsistencies");
	for (unsigned i = 0; i < 300; i++)
		free(many[i]);
	expect(malloc(1ul << 45) == NULL, "what no memory has is NULL");
}

/* ---- 3, 4 ---- */

static void aliases(void)
{
	static char variable = 3;
	static const size_t bytes[] = {64, 2000, 20000};

	frames_kept();
	uint64_t owned = frames_kept();
	for (unsigned i = 0; i < 3; i++) {
		char *p = malloc(bytes[i]);
		if (!expect(p != NULL, "malloc(%lu)", bytes[i]))
			return;
		for (size_t at = 0; at < bytes[i]; at += 1999) {
			volatile char *main = through(OSV_MAIN, p + at), *page = through(OSV_PAGE, p + at), *pool = through(OSV_MEMPOOL, p + at);
			*main = (char)(i + at);
			expect(*page == (char)(i + at) && *pool == (char)(i + at), "a write through %p reads back through %p and %p", (void *)main,
			       (void *)page, (void *)pool);
			*pool = 9;
			expect(*main == 9 && p[at] == 9, "and the other way");
			pfn_t pfn = frame_at(main);
			expect(pfn && frame_at(page) == pfn && frame_at(pool) == pfn && pfn == ((va_t)main - area_lo(OSV_MAIN)) / FH_PAGE,
			       "all three are frame %#lx, where the address says: %p", pfn, (void *)main);
		}
		free(p);
		touch_begin();
		expect(!reads(through(OSV_MAIN, p)) || i == 0, "freed, it is gone from main"); /* a pool's page may stay */
		expect(!reads(through(OSV_PAGE, p)) || i == 0, "and from page");
		expect(!reads(through(OSV_MEMPOOL, p)) || i == 0, "and from mempool");
		touch_end();
	}
	expect_is((int64_t)frames_kept(), (int64_t)owned, "frames, when all is freed");
	char *alias = osv_at(OSV_PAGE, osv_physical(&variable));
	expect(*alias == 3 && frame_at(alias) == frame_at(&variable), "the program's own data are there, too: %p", (void *)alias);
	expect(osv_physical(alias) == osv_physical(&variable), "with one physical address");
	expect_is(osv_forget(alias), 0, "they are taken out again");
	expect(fh_refs(frame_record(frame_at(&variable))->state) == 1, "and mapped once");
	expect_returns(osv_forget(&variable), -EINVAL, "what is in no alias area");
}

static void free_in_no_area(void) { free(&free_in_no_area); }
static void free_inside_pool(void) { free((char *)malloc(64) + 8); }
static void free_inside_page(void) { free((char *)malloc(2000) + 16); }
static void free_inside_run(void) { free((char *)malloc(9000) + 5000); }

static void dispatch(void)
{
	static const size_t bytes[] = {64, 2000, 9000, 500, 4096, 100, 100000, 1024};
	static const enum osv_area area[] = {OSV_MEMPOOL, OSV_PAGE,    OSV_MAIN, OSV_MEMPOOL,
	                                   OSV_PAGE,    OSV_MEMPOOL, OSV_MAIN, OSV_MEMPOOL};
	void *p[8];

	uint64_t owned = frames_kept();
	for (unsigned i = 0; i < 8; i++)
		p[i] = malloc(bytes[i]);
	malloc_default = &allocator_osv_debug;
	char *d = malloc(10);
	expect_in(d, OSV_DEBUG, "a debug block");
	for (unsigned i = 0; i < 8; i++) /* whoever is asked, the address says whose it is */
		free(p[i]);
	malloc_default = &allocator_osv;
	free(d);
	touch_begin();
	expect(!reads(d), "the debug block is freed");
	touch_end();
	expect_is(malloc_check(), 0, "inconsistencies");
	owned = frames_kept();
	for (unsigned i = 0; i < 8; i++)
		p[i] = malloc(bytes[i]);
	expect(frames_owned() >= owned + 25 + 3 + 2 + 1, "blocks take frames");
	for (unsigned i = 0; i < 8; i++)
		free(p[i]);
	expect_is((int64_t)frames_kept(), (int64_t)owned, "each free gives its frames back");

	char *r = malloc(8);
	strcpy(r, "payload");
	for (unsigned i = 0; i < 8; i++) {
		r = realloc(r, bytes[i]);
		if (!expect(r != NULL, "realloc to %lu", bytes[i]))
			return;
		expect(in_area(r, area[i]), "realloc to %lu moves it to area %u: %p", bytes[i], area[i], (void *)r);
		expect(strcmp(r, "payload") == 0, "with what is in it");
	}
	expect(realloc(r, 1ul << 45) == NULL && strcmp(r, "payload") == 0, "one that is refused leaves it as it was");
	char *same = realloc(r, 1000);
	expect(same == r, "one that needs no other block leaves it where it is");
	free(same);
	expect_is((int64_t)frames_kept(), (int64_t)owned, "frames, after that");
	expect_is(status_of(free_in_no_area), PANIC, "free of what is in no area");
	expect_is(status_of(free_inside_pool), PANIC, "free of the inside of a small block");
	expect_is(status_of(free_inside_page), PANIC, "free of the inside of a page");
	expect_is(status_of(free_inside_run), PANIC, "free of the inside of a large block");
}

/* ---- 5 ---- */

static volatile va_t *expected; /* shared with children */

static char *debug_aligned(size_t align, size_t n)
{
	malloc_default = &allocator_osv_debug;
	char *p = aligned_alloc(align, n);
	malloc_default = &allocator_osv;
	return p;
}

static char *debug_block(size_t n) { return debug_aligned(HEAP_ALIGN, n); }

static int overrun(void *arg)
{
	char *p = debug_block(5000);

	*expected = (va_t)p + 8192;
	memset(p, 1, 5000);
	return p[8192] = 1, (void)arg, 0;
}

static int use_after_free(void *arg)
{
	volatile char *p = debug_block(100);

	*expected = (va_t)p + 50;
	p[50] = 1;
	free((void *)p);
	return (void)arg, p[50];
}

static int before_the_record(void *arg)
{
	char *p = debug_block(100);

	*expected = (va_t)p - FH_PAGE - 1;
	return (void)arg, *(volatile char *)(p - FH_PAGE - 1);
}

static void underrun(void)
{
	char *p = debug_block(100);

	p[-1] = 0;
	free(p);
}

static void underrun_far(void)
{
	char *p = debug_block(100);

	p[-4000] = 0;
	free(p);
}

static void overrun_a_byte(void)
{
	char *p = debug_block(100);

	p[100] = 0;
	free(p);
}

static void free_twice(void)
{
	char *p = debug_block(100);

	free(p);
	free(p);
}

static void stay_inside(void)
{
	char *p = debug_block(100);

	memset(p, 0, 100);
	free(p);
}

static void expect_told(int (*act)(void *), uint64_t error, const char *what)
{
	struct told t = told(act, NULL, false);

	expect(t.who == TOLD_HANDLER && t.vector == 14 && t.address == *expected && (t.error & (FAULT_PRESENT | FAULT_WRITE | FAULT_FETCH)) == error,
	       "%s faults at %#lx, and the program's handler is told: who %u, vector %u, address %#lx, error %#lx", what, *expected, t.who,
	       t.vector, t.address, t.error);
}

static void debug(void)
{
	struct tally t = {0};
	int64_t page = mm_map(0, FH_PAGE, RW, MM_EAGER | MM_SHARED);
	static char *p[20];

	if (!expect(!mm_failed(page), "a page to share"))
		return;
	expected = (volatile va_t *)page;
	expect_told(overrun, FAULT_WRITE, "an overrun of the last page");
	expect_told(use_after_free, 0, "a use after free");
	expect_told(before_the_record, 0, "an underrun of more than a page");
	mm_unmap((va_t)page, FH_PAGE);
	expect_is(status_of(stay_inside), 0, "who stays inside is not told anything: exit status");
	expect_is(status_of(underrun), PANIC, "an underrun by a byte, at free: exit status");
	expect_is(status_of(underrun_far), PANIC, "one by 4000 bytes");
	expect_is(status_of(overrun_a_byte), PANIC, "an overrun by a byte, at free");
	expect_is(status_of(free_twice), PANIC, "a second free");

	uint64_t owned = frames_kept();
	va_t end = area_lo(OSV_DEBUG), first = 0, last = 0;
	touch_begin();
	for (unsigned i = 0; i < 1200; i++) {
		size_t n = random64() % 9000, k = i % 20;
		free(p[k]);
		if (p[k] && (reads(p[k]) || touch_last.address != (va_t)p[k]))
			count_bad(&t, "%p is there after its free", (void *)p[k]);
		p[k] = debug_block(n);
		if (!p[k] || !in_area(p[k], OSV_DEBUG) || (va_t)p[k] < end)
			count_bad(&t, "block %u at %p: all below %#lx has been used", i, (void *)p[k], end);
		if (!p[k])
			break;
		first = first ? first : (va_t)p[k];
		memset(p[k], (int)i, n);
		end = (va_t)p[k] + n;
		if (reads((char *)page_up(end)) || (last && reads((char *)last)))
			count_bad(&t, "block %u or the one before has no guard page behind it", i);
		last = page_up(end);
		if (i % 100 == 0 && malloc_check())
			count_bad(&t, "inconsistent after block %u", i);
	}
	touch_end();
	expect(!t.bad && end - first > PLAN_LARGE, "1200 blocks, none where one has been: from %#lx to %#lx", first, end);
	for (unsigned i = 0; i < 20; i++)
		free(p[i]);
	for (unsigned i = 0; i < 1000; i++)
		free(debug_block(i));
	for (unsigned i = 0; i < 10; i++) { /* one that leaves out the rest of a page table */
		free(debug_block(i));
		char *aligned = debug_aligned(4 * PLAN_LARGE, 100);
		expect(aligned && (va_t)aligned % (4 * PLAN_LARGE) == 0, "aligned to 8 MiB: %p", (void *)aligned);
		free(aligned);
	}
	uint64_t now = frames_kept();
	expect(now <= owned + 1, "their frames and page tables are given back: %lu frames before, %lu now", owned, now);
	expect(debug_block(OSV_AREA_BYTES) == NULL && debug_block(OSV_AREA_BYTES - FH_PAGE) == NULL, "more than the area has is NULL");
	char *a = debug_block(0), *b = debug_block(0);
	expect(a && b && a != b, "blocks of size 0 have addresses, too");
	free(a), free(b);
}

/* ---- 6 ---- */

static void mmap_up(void)
{
	int64_t a = mm_map(0, FH_PAGE, RW, 0), b = mm_map(0, 5 * FH_PAGE, RW, 0);
	uint64_t bytes = 2 * PLAN_LARGE + 3 * FH_PAGE;
	unsigned rounds = 0;

	expect_returns(a, (int64_t)MMAP, "the first mapping");
	expect_returns(b, (int64_t)(MMAP + FH_PAGE), "the next one");
	for (unsigned flags = 0; flags <= MM_EAGER; flags += MM_EAGER)
		for (unsigned scarce = 0; scarce < 2; scarce++, rounds++) {
			struct frames large = frames_large;
			if (scarce)
				frames_large.hi = frames_large.lo; /* no 2 MiB of memory in one piece */
			bool allowed = frames_large.next(&frames_large, FH_LARGE_FRAMES, FH_LARGE_FRAMES, 0) != 0;
			int64_t c = mm_map(0, bytes, RW, flags);
			if (expect(!mm_failed(c) && c % (int64_t)PLAN_LARGE == 0 && (va_t)c > (va_t)b, "2 MiB and more is aligned to 2 MiB: %#lx", c)) {
				volatile char *p = (volatile char *)c;
				p[5] = 1;
				p[bytes - 1] = 2;
				bool large_page = space_get(space_current(), (va_t)c) & FH_PS;
				expect(large_page == allowed, "a 2 MiB entry: %u, free memory allows one: %u (%s)", large_page, allowed,
				       flags ? "eager" : "touched");
				expect(!(space_get(space_current(), (va_t)p + bytes - 1) & FH_PS), "the odd pages are small");
				expect(p[5] == 1 && p[4] == 0 && p[bytes - 1] == 2, "it reads what was written, else 0");
				mm_unmap((va_t)c, bytes);
			}
			frames_large = large;
		}
	expect(rounds == 4, "touched and eager, with and without free 2 MiB blocks");
	int64_t d = mm_map(0, PLAN_LARGE - FH_PAGE, RW, 0);
	expect_returns(d, (int64_t)(MMAP + 6 * FH_PAGE), "a page less than 2 MiB needs no alignment");
	mm_unmap((va_t)d, PLAN_LARGE - FH_PAGE);
	mm_unmap((va_t)a, 6 * FH_PAGE);
}

/* ---- 7 ---- */

static volatile bool go;
static volatile va_t stack_lo, stack_frame;

static void wait(void *arg)
{
	stack_frame = (va_t)__builtin_frame_address(0);
	stack_lo = thread_self()->stack_lo;
	while (!go)
		thread_yield();
	(void)arg;
}

static __attribute__((noinline)) int descend(volatile char *above)
{
	volatile char frame[1000];

	frame[0] = *above;
	return go ? 0 : descend(frame) + frame[0];
}

static void overflow(void *arg)
{
	volatile char c = 0;

	go = false;
	*expected = thread_self()->stack_lo;
	descend(&c);
	(void)arg;
}

static int overflow_thread(void *arg)
{
	struct thread *t = thread_new(overflow, arg, NULL);

	if (t)
		thread_join(t);
	return 0;
}

static void stacks(void)
{
	int64_t page = mm_map(0, FH_PAGE, RW, MM_EAGER | MM_SHARED);
	uint64_t end = cpu_tsc() + 20000 * info->tsc_khz;

	expected = (volatile va_t *)page;
	go = false;
	stack_lo = 0;
	struct thread *t = thread_new(wait, NULL, NULL);
	if (!expect(t != NULL, "a thread"))
		return;
	while (!stack_lo && cpu_tsc() < end)
		thread_yield();
	expect(stack_lo >= MMAP && stack_lo < MMAP + (1ul << 40), "its stack is a mapping: from %#lx", stack_lo);
	struct region *r = region_find(space_current(), stack_frame);
	expect(r && r->lo == stack_lo && stack_frame > stack_lo + FH_PAGE, "it runs in it, at %#lx", stack_frame);
	touch_begin();
	for (unsigned at = 0; at < FH_PAGE; at += 64)
		if (reads((char *)stack_lo + at) || writes((char *)stack_lo + at) || touch_last.address != stack_lo + at)
			expect(false, "byte %u of its first page is a guard", at);
	expect(writes((char *)stack_lo + FH_PAGE), "the page above is stack");
	touch_end();
	go = true;
	thread_join(t);
	struct told o = told(overflow_thread, NULL, false);
	expect(o.who == TOLD_HANDLER && o.vector == 14 && o.address >= *expected && o.address < *expected + FH_PAGE,
	       "an overflow faults in the guard page at %#lx: who %u, vector %u, address %#lx", *expected, o.who, o.vector, o.address);
	mm_unmap((va_t)page, FH_PAGE);
}

/* ---- 8, 11: images made here ---- */

struct made {
	Elf64_Ehdr header;
	Elf64_Phdr segment[3];
	Elf64_Dyn dynamic[1];
	char code[16];
};

/* One segment of code, with a byte of it in the file and the rest zeroes; a second one, if bytes2 isn't 0. */
static const char *load(unsigned ns, unsigned type, va_t at, uint64_t bytes, va_t at2, uint64_t bytes2, struct osv_object *o)
{
	static struct made m;

	m = (struct made){
	    .header = {.e_type = (Elf64_Half)type, .e_machine = EM_X86_64, .e_version = EV_CURRENT, .e_entry = at,
	               .e_phoff = offsetof(struct made, segment), .e_ehsize = sizeof(m.header), .e_phentsize = sizeof(m.segment[0]),
	               .e_phnum = 3},
	    .segment = {{.p_type = PT_LOAD, .p_flags = PF_R | PF_W | PF_X, .p_offset = offsetof(struct made, code), .p_vaddr = at,
	                 .p_filesz = 1, .p_memsz = bytes},
	                {.p_type = bytes2 ? PT_LOAD : PT_NULL, .p_flags = PF_R | PF_W, .p_vaddr = at2, .p_memsz = bytes2},
	                {.p_type = type == ET_DYN ? PT_DYNAMIC : PT_NULL, .p_flags = PF_R, .p_offset = offsetof(struct made, dynamic),
	                 .p_filesz = sizeof(m.dynamic)}},
	    .code = {TOUCH_RET},
	};
	memcpy(m.header.e_ident, ELFMAG, SELFMAG);
	m.header.e_ident[EI_CLASS] = ELFCLASS64;
	m.header.e_ident[EI_DATA] = ELFDATA2LSB;
	return osv_load(ns, &m, sizeof(m), o);
}

static void refused(const char *wrong, const char *word, const char *what)
{
	expect(wrong && strstr(wrong, word), "%s is refused (%s): %s", what, word, wrong ? wrong : "it was loaded");
}

static void kernel_range(void)
{
	struct osv_object o = {0, 0, 0};
	const char *const no = "kernel", *wrong;
	bool seed = strcmp(program_layout->name, "osv") == 0; /* the other one's debug area ends where addresses do */

	refused(load(0, ET_EXEC, KERNEL, FH_PAGE, 0, 0, &o), no, "an image on the kernel's first page");
	refused(load(0, ET_EXEC, KERNEL_END - FH_PAGE, FH_PAGE, 0, 0, &o), no, "one on its last page");
	refused(load(0, ET_EXEC, 0x800000, 1 << 20, 0, 0, &o), no, "one in its middle");
	refused(load(0, ET_EXEC, 0x100000, 0x100001, 0, 0, &o), no, "one whose last byte is in it");
	refused(load(0, ET_EXEC, 0x1700000, 0x200000, 0, 0, &o), no, "one that begins in it");
	refused(load(0, ET_EXEC, 0x100000, 0x2000000, 0, 0, &o), no, "one that begins below and ends above");
	refused(load(0, ET_EXEC, 0x100000, FH_PAGE, 0x2000000, FH_PAGE, &o), no, "one with a segment below and a segment above");
	expect(!region_busy(space_current(), 0x100000, KERNEL) && !region_busy(space_current(), KERNEL_END, 0x4000000),
	       "nothing of them is left");
	refused(load(0, ET_EXEC, 0x10000000, -0x20000000ul, 0, 0, &o), "outside", "one so long that its end wraps around");
	refused(load(0, ET_EXEC, 0x7fffff000000, 0x2000000, 0, 0, &o), seed ? "EINVAL" : "mapped", "one that reaches into what isn't canonical");
	refused(load(0, ET_EXEC, area_lo(OSV_MAIN) - FH_PAGE, 2 * FH_PAGE, 0, 0, &o), "mapped", "one that reaches into the main area");
	refused(load(0, ET_EXEC, 0xf000, 2 * FH_PAGE, 0, 0, &o), "mapped", "one on the null pages");
	wrong = load(0, ET_EXEC, 0x100000, KERNEL - 0x100000, 0, 0, &o);
	if (expect(!wrong, "one up to the kernel's first byte is loaded: %s", wrong ? wrong : "")) {
		*(volatile char *)(KERNEL - 1) = 1;
		expect(o.lo == 0x100000 && o.hi == KERNEL && *(char *)0x100000 == TOUCH_RET, "where it wants to be");
		refused(load(0, ET_EXEC, 0x180000, FH_PAGE, 0, 0, &o), "mapped", "another one at the same addresses");
		((void (*)(void))0x100000)();
		o = (struct osv_object){0x100000, KERNEL, 0x100000};
		expect_is(osv_unload(&o), 0, "it is unloaded");
	}
	uint64_t owned = frames_owned();
	wrong = load(0, ET_EXEC, KERNEL_END, FH_PAGE, 0, 0, &o);
	if (expect(!wrong && o.lo == KERNEL_END, "one right behind it is loaded: %s", wrong ? wrong : ""))
		expect_is(osv_unload(&o), 0, "and unloaded");
	expect_is((int64_t)frames_owned(), (int64_t)owned, "frames, page tables among them, after that");
}

/* One that can't move has the same 8 GiB: it neither straddles two namespaces, nor lies where none is. */
static void fixed_images(unsigned i, unsigned j)
{
	const char *const no = "8 GiB", *wrong;
	va_t base = osv_namespace_base(i), end = base + 8 * GIB, unused = 0x100200000000, last = 0x104200000000;
	struct osv_object o, behind;

	refused(load(i, ET_EXEC, end - FH_PAGE, 2 * FH_PAGE, 0, 0, &o), no, "an image that straddles two namespaces");
	refused(load(j, ET_EXEC, end - FH_PAGE, 2 * FH_PAGE, 0, 0, &o), no, "the same in the other one");
	refused(load(i, ET_EXEC, base - FH_PAGE, 2 * FH_PAGE, 0, 0, &o), no, "one that begins below its own");
	refused(load(i, ET_EXEC, end, FH_PAGE, 0, 0, &o), no, "one that is in another");
	refused(load(0, ET_EXEC, base, FH_PAGE, 0, 0, &o), no, "the program's own in a namespace");
	for (unsigned n = 0; n <= j; n++) {
		refused(load(n, ET_EXEC, unused, FH_PAGE, 0, 0, &o), no, "one at the unused 8 GiB's first page");
		refused(load(n, ET_EXEC, 0x100400000000 - FH_PAGE, FH_PAGE, 0, 0, &o), no, "one at their last page");
		refused(load(n, ET_EXEC, unused - FH_PAGE, 2 * FH_PAGE, 0, 0, &o), no, "one from the program's 8 GiB into them");
	}
	refused(load(0, ET_EXEC, PROGRAM - FH_PAGE, 2 * FH_PAGE, 0, 0, &o), no, "one across program_base");
	refused(load(0, ET_EXEC, last - FH_PAGE, 2 * FH_PAGE, 0, 0, &o), no, "one across the last namespace's end");
	refused(load(0, ET_EXEC, PROGRAM - FH_PAGE, FH_PAGE, last, FH_PAGE, &o), no, "one with a segment below all and one above");
	expect(!region_busy(space_current(), PROGRAM - FH_PAGE, last + FH_PAGE), "nothing of them is left");
	wrong = load(i, ET_EXEC, end - 2 * FH_PAGE, 2 * FH_PAGE, 0, 0, &o);
	expect(!wrong && o.hi == end, "one on its own last pages is loaded: %s", wrong ? wrong : "");
	wrong = load(i, ET_EXEC, base, FH_PAGE, 0, 0, &o);
	expect(!wrong && o.lo == base, "one on its first: %s", wrong ? wrong : "");
	wrong = load(i, ET_DYN, 0, FH_PAGE, 0, 0, &behind);
	expect(!wrong && behind.lo == base + FH_PAGE, "one that can move goes behind it: %s", wrong ? wrong : "");
	expect_is(osv_namespace_end(i), 0, "the namespace ends");
	expect(!region_busy(space_current(), base, end), "with all three");
	expect_is(osv_namespace_new(), (int64_t)i, "and is had again");
}

/* A library that comes and goes needs no addresses of its own each time. */
static void come_and_go(unsigned i)
{
	struct osv_object o, stays;
	va_t base = osv_namespace_base(i), lo[2] = {0, 0};
	uint64_t owned = 0;

	for (unsigned k = 0; k < 20; k++) {
		const char *wrong = load(i, ET_DYN, 0, 3 * GIB, 0, 0, &o);
		if (!expect(!wrong && o.lo >= base && o.hi <= base + 8 * GIB, "3 GiB, time %u: %s", k, wrong ? wrong : ""))
			break;
		if (k < 2)
			lo[k] = o.lo;
		*(volatile char *)(o.hi - 1) = 1;
		((void (*)(void))o.entry)();
		expect_is(osv_unload(&o), 0, "they go");
		owned = k == 1 ? frames_owned() : owned;
	}
	expect(lo[1] == lo[0] + 3 * GIB, "the second time not where the first one was: %#lx, %#lx", lo[0], lo[1]);
	expect_is((int64_t)frames_owned(), (int64_t)owned, "frames, after 20 times");
	const char *wrong = load(i, ET_DYN, 0, GIB, 0, 0, &stays);
	for (unsigned k = 0; k < 20 && expect(!wrong, "beside one that stays, time %u: %s", k, wrong ? wrong : ""); k++)
		if ((wrong = load(i, ET_DYN, 0, 3 * GIB, 0, 0, &o)) == NULL) {
			expect(o.hi <= stays.lo || o.lo >= stays.hi, "never on it");
			osv_unload(&o);
		}
	expect_is(osv_namespace_end(i), 0, "the namespace ends");
	expect_is(osv_namespace_new(), (int64_t)i, "and is had again");
}

static void slot_limit(void)
{
	const char *const no = "8 GiB", *wrong;
	struct osv_object o[4];
	int i = osv_namespace_new(), j = osv_namespace_new();

	if (!expect(i == 1 && j == 2, "two namespaces: %d, %d", i, j))
		return;
	fixed_images((unsigned)i, (unsigned)j);
	come_and_go((unsigned)i);
	va_t base = osv_namespace_base((unsigned)i);
	refused(load((unsigned)i, ET_DYN, 0, 8 * GIB + 1, 0, 0, &o[0]), no, "a byte more than 8 GiB");
	refused(load((unsigned)i, ET_DYN, 0, FH_PAGE, 8 * GIB, FH_PAGE, &o[0]), no, "two pages 8 GiB apart");
	refused(load((unsigned)i, ET_DYN, 0, 1ul << 62, 0, 0, &o[0]), no, "all addresses");
	wrong = load((unsigned)i, ET_DYN, 0, 8 * GIB, 0, 0, &o[0]);
	if (expect(!wrong && o[0].lo == base && o[0].hi == base + 8 * GIB, "8 GiB are loaded: %s", wrong ? wrong : "")) {
		volatile char *last = (volatile char *)o[0].hi - 1;
		expect(*last == 0, "their last byte is there");
		*last = 1;
		((void (*)(void))o[0].entry)();
	}
	refused(load((unsigned)i, ET_DYN, 0, 1, 0, 0, &o[1]), no, "a byte after that");
	wrong = load((unsigned)j, ET_DYN, 0, 1, 0, 0, &o[1]);
	expect(!wrong && o[1].lo == base + 8 * GIB && *(char *)o[1].entry == TOUCH_RET, "the next namespace is untouched");
	for (unsigned k = 2; k < 4; k++) {
		wrong = load((unsigned)j, ET_DYN, 0, 3 * GIB, 0, 0, &o[k]);
		expect(!wrong && o[k].lo == o[k - 1].hi, "%u times 3 GiB in it: %s", k - 1, wrong ? wrong : "");
	}
	refused(load((unsigned)j, ET_DYN, 0, 3 * GIB, 0, 0, &o[0]), no, "three times");
	refused(load((unsigned)j, ET_DYN, 0, 2 * GIB, 0, 0, &o[0]), no, "2 GiB after them, a page too many");
	wrong = load((unsigned)j, ET_DYN, 0, 2 * GIB - FH_PAGE, 0, 0, &o[0]);
	expect(!wrong && o[0].hi == base + 16 * GIB, "2 GiB less a page: %s", wrong ? wrong : "");
	expect_is(osv_namespace_end((unsigned)i), 0, "the first ends");
	expect_is(osv_namespace_end((unsigned)j), 0, "the second ends");
	expect(!region_busy(space_current(), base, base + 16 * GIB), "nothing is left there");
	expect_fault(act_read, base, 14, 0, "a read of its first byte");
}

/* ---- 9, 10 ---- */

static void holes(void)
{
	pfn_t free_frame = info->nframes, kernel = 0, strange = 0, device = 0, me = env_self();
	unsigned n = 0;

	for (pfn_t f = 1; f < info->nframes; f++) {
		uint64_t state = frame_record(f)->state;
		unsigned type = fh_type(state);
		if (type == FH_FREE && f < free_frame)
			free_frame = f;
		kernel = type == FH_KERNEL ? f : kernel;
		device = type == FH_DEVICE ? f : device;
		strange = type == FH_DATA && fh_owner(state) != me ? f : strange;
	}
	const pfn_t hole[] = {0, free_frame, kernel, device, strange, info->nframes, OSV_AREA_BYTES / FH_PAGE - 1};
	expect(kernel && strange && free_frame < info->nframes, "frames that are free, the kernel's and another env's");
	touch_begin();
	for (unsigned area = OSV_MAIN; area < OSV_DEBUG; area++)
		for (unsigned i = 0; i < sizeof(hole) / sizeof(hole[0]); i++) {
			char *p = (char *)area_lo(area) + hole[i] * FH_PAGE;
			expect(!reads(p) && touch_last.address == (va_t)p && !writes(p), "%p, frame %#lx, not ours: there", (void *)p, hole[i]);
		}
	struct tally t = {0};
	for (pfn_t f = 0; f < info->nframes; f += 61) {
		uint64_t state = frame_record(f)->state;
		if (fh_type(state) == FH_FREE || fh_type(state) == FH_DEVICE || fh_owner(state) != me) {
			n++;
			if (reads((char *)area_lo(OSV_PAGE) + f * FH_PAGE))
				count_bad(&t, "frame %#lx", f);
		}
	}
	touch_end();
	expect(!t.bad && n > 50, "%u frames all over memory, not ours, are holes", n);
	expect_fault(act_read, area_lo(OSV_MAIN), 14, 0, "a read in main");
	expect_fault(act_write, area_lo(OSV_PAGE) + kernel * FH_PAGE, 14, FAULT_WRITE, "a write in page");
	expect_fault(act_run, area_lo(OSV_MEMPOOL) + info->nframes * FH_PAGE, 14, FAULT_FETCH, "a jump to mempool, past the machine's memory,");
}

/* Can a frame from `from` on be had, and used through all three areas? */
static void above(uint64_t from, const char *what)
{
	struct frames high = frames_first, *old = space_current()->frames;

	high.lo = high.cursor = from / FH_PAGE;
	high.hi = info->nframes;
	space_current()->frames = &high;
	char *p[3] = {malloc(600), malloc(3000), malloc(7000)};
	space_current()->frames = old;
	for (unsigned i = 0; i < 3; i++) {
		if (!expect(p[i] != NULL, "%s, memory for block %u", what, i))
			continue;
		expect(osv_physical(p[i]) >= from, "%s: physical %#lx at %p", what, osv_physical(p[i]), (void *)p[i]);
		for (unsigned area = OSV_MAIN; area < OSV_DEBUG; area++) {
			volatile char *q = through(area, p[i]) + 500;
			touch_begin();
			bool there = expect(reads(q) && reads(p[i] + 500), "%p is there", (void *)q);
			touch_end();
			if (!there)
				continue;
			*q = (char)(area + 1);
			expect(p[i][500] == (char)(area + 1) && frame_at(q) * FH_PAGE >= from, "through %p", (void *)q);
		}
	}
	for (unsigned i = 0; i < 3; i++)
		free(p[i]);
}

static void much_memory(void)
{
	const uint64_t ram = info->nframes * FH_PAGE;
	pfn_t last = info->nframes - 1;

	malloc_trim(); /* no pool that has room */
	while (last && !frame_is_free(last))
		last--;
	above(last * FH_PAGE & ~(64 * PLAN_LARGE - 1), "in the last 128 MiB");
	malloc_trim();
	if (ram > GIB + PLAN_LARGE)
		above(GIB, "above 1 GiB");
	malloc_trim();
	if (ram > 4 * GIB)
		above(4 * GIB, "above 4 GiB");
	if (ram <= GIB + PLAN_LARGE)
		cannot("this machine has no memory above 1 GiB");
}

const struct line lines[] = {
    {1, "the first object is at program_base, others ascend; 31 namespaces where they belong; a library twice has its globals twice", namespaces},
    {2, "malloc puts up to 1024 bytes into mempool, up to a page into page, more into main", sizes},
    {3, "a write through main reads back through page and mempool: one frame", aliases},
    {4, "free goes by the area, whatever allocator is asked; realloc past a limit changes area", dispatch},
    {5, "debug allocator: overruns, underruns and late uses are found, and no address comes twice", debug},
    {6, "mmap begins at its base; 2 MiB or more is aligned, and in 2 MiB entries where frames allow", mmap_up},
    {7, "a thread's stack has its guard page at its base", stacks},
    {8, "an image that overlaps the kernel anywhere is refused", kernel_range},
    {9, "a touch in a hole of an alias area faults", holes},
    {10, "with more than 1 GiB of RAM, and with more than 4, memory above is used as any other", much_memory},
    {11, "a namespace has 8 GiB and not a page more, also for what can't move; what is unloaded leaves room", slot_limit},
    {0},
};
