/* course_os.c - the lines of the layout course_os. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "course_os.h"
#include "lines.h"

const unsigned lines_total = 11;

#define RW (RIGHT_R | RIGHT_W)
#define RX (RIGHT_R | RIGHT_X)
#define USER_END 0x80000000ul
#define HEAP 0xc0000000ul
#define TOP 0x100000000ul
#define CODE 0x8000ul
#define DATA 0x10000ul
#define SLICE_PAGES (COURSE_SLICE / FH_PAGE)

/* Reads the byte at rbx, writes it back, and makes a system call. */
__asm__(".pushsection .rodata\n"
        "poke: mov (%rbx), %al\n inc %al\n mov %al, (%rbx)\n syscall\n"
        "poke_end: .popsection");
extern const char poke[], poke_end[];

static struct course_process process[2];
static pa_t code, data[2]; /* their pages: code is the same, data at the same address */

static bool make_processes(void)
{
	code = course_slice();
	if (!expect(code != 0, "there is a slice"))
		return false;
	memcpy((void *)course_at(code), poke, (size_t)(poke_end - poke));
	for (unsigned i = 0; i < 2; i++) {
		data[i] = code + (1 + i) * FH_PAGE;
		if (!expect_is(course_process_new(&process[i]), 0, "a process") ||
		    !expect_is(course_map(&process[i], CODE, code, 1, RX), 0, "its code") ||
		    !expect_is(course_map(&process[i], DATA, data[i], 1, RW), 0, "its data"))
			return false;
	}
	return true;
}

static struct entry touch_by(unsigned i, va_t va)
{
	struct entry e = {.regs = {.rip = CODE, .rbx = va, .rflags = 2}};

	expect_is(course_run(&process[i], &e), 0, "the process runs");
	return e;
}

/* ---- 1, 11 ---- */

static void user_half(void)
{
	struct course_process *p = &process[0];
	static const va_t above[] = {USER_END, 0x80004000, 0x80008000, HEAP, TOP - 1, TOP, 0x7f00001ff000};

	if (!make_processes())
		return;
	expect_is(course_map(p, USER_END - FH_PAGE, data[0], 1, RW), 0, "the last page under 0x80000000 is mapped");
	struct entry e = touch_by(0, USER_END - 1);
	expect(e.regs.vector == FH_VEC_SYSCALL, "and its last byte is read and written (vector %lu)", e.regs.vector);
	expect_returns(course_map(p, USER_END, data[0], 1, RW), -EINVAL, "mapping 0x80000000");
	expect_returns(course_map(p, USER_END - FH_PAGE, data[0], 2, RW), -EINVAL, "mapping across it");
	expect_returns(course_map(p, 0x1000, data[0], USER_END / FH_PAGE, RW), -EINVAL, "mapping more than there is");
	for (unsigned i = 0; i < sizeof(above) / sizeof(above[0]); i++) {
		e = touch_by(0, above[i]);
		expect(e.regs.vector == 14 && e.address == above[i] && e.regs.rip == CODE && (e.regs.error & 3) == 0,
		       "a read of %#lx faults there, and the kernel is told: vector %lu, address %#lx, error %#lx", above[i],
		       e.regs.vector, e.address, e.regs.error);
	}
}

static void map_twice(void)
{
	int64_t first, second;

	expect_returns(course_map(&process[0], DATA, data[1], 1, RW), -EEXIST, "a page of a process");
	expect_returns(course_map(&process[0], DATA - FH_PAGE, data[1], 2, RW), -EEXIST, "a range of which one page is mapped");
	expect(!(space_get(&process[0].space, DATA - FH_PAGE) & FH_P), "none of which is mapped then");
	first = course_mmio(COURSE_DEVICES + 0x9000, 2 * FH_PAGE);
	expect(!mm_failed(first), "a device's registers, once");
	second = course_mmio(COURSE_DEVICES + 0xa000, FH_PAGE);
	expect_returns(second, -EEXIST, "one of their pages again");
}

/* ---- 2 ---- */

/* What the kernel can't write to itself is no process's. */
static void refuse_kernel(void)
{
	static const pa_t tables = 0x4000, tables_end = 0x8000;
	struct extent text = layout_named("[text]"), rodata = layout_named("[rodata]");
	const pa_t no[] = {tables, tables + FH_PAGE, tables_end - FH_PAGE, text.lo - USER_END, text.hi - FH_PAGE - USER_END,
	                   rodata.lo - USER_END, rodata.hi - FH_PAGE - USER_END, COURSE_DEVICES, COURSE_DEVICES_END - FH_PAGE};

	for (unsigned i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		expect_returns(course_map(&process[0], 0x20000, no[i], 1, RW), -EFAULT, "a process gets no page at %#lx", no[i]);
	expect_returns(course_map(&process[0], 0x20000, tables - FH_PAGE, 2, RW), -EFAULT, "nor a range whose last page is one of the tables");
	expect_returns(course_map(&process[0], 0x20000, tables_end - FH_PAGE, 2, RW), -EFAULT, "nor one from the tables into the code");
	for (unsigned i = 0; i < 2; i++)
		expect(!(space_get(&process[0].space, 0x20000 + i * FH_PAGE) & FH_P), "nothing is mapped then");
}

static void alias(void)
{
	struct entry e;

	*(volatile char *)course_at(data[0]) = 40;
	e = touch_by(0, DATA);
	expect(e.regs.vector == FH_VEC_SYSCALL, "the process works at %#lx", DATA);
	expect_is(*(volatile char *)course_at(data[0]), 41, "what it wrote is at 0x80000000 + physical");
	expect(frame_at((void *)course_at(data[0])) == fh_pte_pfn(space_get(&process[0].space, DATA)), "it is one frame");
	uint64_t ram = course_ram();
	volatile char *last = (volatile char *)course_at(ram) - 1;
	*last = 1;
	expect_is(*last, 1, "the last byte of %lu MiB RAM", ram >> 20);
	expect(ram <= 1ul << 30, "RAM is at most 1 GiB");
	uint64_t quota = env_view()->account >> 31 & 0x7fffffff;
	if (quota > 400000)
		expect_is((int64_t)ram, 1 << 30, "with a quota of %lu MiB it is cut", quota >> 8);
	else
		expect_fault(act_read, (va_t)last + 1, 14, 0, "a read past it");
	if (ram == 1 << 30)
		expect(region_find(space_current(), (va_t)last + 1) != region_find(space_current(), (va_t)last),
		       "past it the heap's gigabyte begins");
	expect_returns(course_map(&process[0], 0x20000, ram, 1, RW), -EFAULT, "a process gets no page past it");
	expect_returns(course_map(&process[0], 0x20000, ram - FH_PAGE, 2, RW), -EFAULT, "nor a range that reaches past it");
	for (pa_t pa = FH_PAGE; pa < 0x4000; pa += FH_PAGE) { /* between the vectors and the tables */
		volatile char *p = (volatile char *)course_at(pa + FH_PAGE) - 1;
		expect_is(*p, 0, "the last byte of page %#lx", pa);
		*p = 5;
		expect_is(*p, 5, "written");
	}
	expect_returns(course_map(&process[0], 0x20000, FH_PAGE, 3, RW), 0, "a process gets these pages");
	e = touch_by(0, 0x22fff);
	expect(e.regs.vector == FH_VEC_SYSCALL && *(volatile char *)course_at(0x3fff) == 6, "and works there");
	expect_is(space_unmap(&process[0].space, 0x20000, 3), 0, "they are taken from it");
	refuse_kernel();
}

/* ---- 3, 4 ---- */

static void identity(void)
{
	course_switch(NULL);
	expect_fault(act_read, 0, 14, 0, "a read of 0");
	expect_fault(act_write, 0xfff, 14, FAULT_WRITE, "a write to its last byte");
	expect(*(volatile uint32_t *)course_at(0) == 0xe59ff018, "what was written through it is at 0x80000000");
	expect(fh_refs(frame_record(frame_at((void *)course_at(0)))->state) == 1, "and mapped once");
}

static void slices(void)
{
	static pa_t all[1024];
	struct tally overlap = {0}, dirty = {0};
	unsigned n = 0;
	va_t end = layout_named("[bss]").hi;
	pa_t base = course_slices_base(), pa;

	expect(base % COURSE_SLICE == 0 && base >= end - USER_END && base < end - USER_END + COURSE_SLICE,
	       "the manager begins at %#lx, the first MiB after the kernel's end at %#lx", base, end - USER_END);
	while (n < 1024 && (pa = course_slice()) != 0)
		all[n++] = pa;
	for (unsigned i = 0; i < n; i++) {
		if (all[i] < base || all[i] % COURSE_SLICE || all[i] + COURSE_SLICE > course_ram() || all[i] == code ||
		    (all[i] < COURSE_DEVICES_END && all[i] + COURSE_SLICE > COURSE_DEVICES))
			count_bad(&overlap, "slice %#lx", all[i]);
		for (unsigned k = 0; k < i; k++)
			if (all[k] == all[i])
				count_bad(&overlap, "slice %#lx, twice", all[i]);
	}
	expect(n > 0 && !overlap.bad, "%u slices until there is none, all in RAM, none the kernel's, a device's or handed out before", n);
	uint64_t owned = frames_owned();
	volatile char *p = course_at(all[0]);
	for (unsigned i = 0; i < SLICE_PAGES; i++)
		p[i * FH_PAGE + i] = 7;
	expect(frames_owned() >= owned + SLICE_PAGES - 1, "a slice takes frames as it is touched");
	expect_is(course_slice_free(all[0]), 0, "it is given back");
	expect(frames_owned() <= owned + 1, "and its frames are");
	expect_is((int64_t)course_slice(), (int64_t)all[0], "the next one is the same");
	for (unsigned i = 0; i < COURSE_SLICE / 8; i += 61)
		if (((volatile uint64_t *)p)[i])
			count_bad(&dirty, "word %u", i);
	expect(!dirty.bad, "and zeroed");
	expect_returns(course_slice_free(all[0] + FH_PAGE), -EINVAL, "freeing what is no slice");
	for (unsigned i = 0; i < n; i++)
		expect_is(course_slice_free(all[i]), 0, "slice %#lx is given back", all[i]);
	expect_returns(course_slice_free(all[0]), -EINVAL, "freeing it twice");
	expect_returns(course_slice_free(0), -EINVAL, "freeing the kernel's");
	if (course_ram() > COURSE_DEVICES_END)
		expect_fault(act_read, USER_END + COURSE_DEVICES, 14, 0, "a read where the devices are, past no RAM,");
}

/* ---- 5, 6 ---- */

static void heap_pages(void)
{
	va_t end = heap_end();
	struct region *r = region_find(space_current(), HEAP);

	expect(r && r->base == HEAP && heap_start() == HEAP, "the heap begins at 0xc0000000");
	for (unsigned i = 0; i < 4; i++, end += FH_PAGE)
		expect_returns(heap_grow(FH_PAGE), (int64_t)end, "page %u is the next one", i);
	volatile char *p = (volatile char *)page_down(heap_end() - 1);
	touch_begin();
	*p = TOUCH_RET;
	expect(rights_at(p) == RW, "it can be read and written, not run");
	touch_end();
	expect_fault(act_run, (va_t)p, 14, FAULT_PRESENT | FAULT_FETCH, "a jump into it");
	heap_grow(-4 * (intptr_t)FH_PAGE);
}

static void devices(void)
{
	va_t edge = course_mmio_edge();
	static const struct {
		pa_t device;
		uint64_t bytes, room;
	} maps[] = {{COURSE_DEVICES + 0x10000, 1, 1}, {COURSE_DEVICES + 0x20000, 0x1000, 1}, {COURSE_DEVICES + 0x30000, COURSE_SLICE + 1, 2}};

	for (unsigned i = 0; i < 3; i++) {
		int64_t va = course_mmio(maps[i].device, maps[i].bytes);
		edge -= maps[i].room * COURSE_SLICE;
		expect_returns(va, (int64_t)edge, "mapping %lu bytes of devices", maps[i].bytes);
		volatile char *p = (volatile char *)edge;
		p[maps[i].bytes - 1] = 3;
		expect_is(p[maps[i].bytes - 1], 3, "the last byte");
	}
	expect_returns(course_mmio(COURSE_DEVICES_END, FH_PAGE), -EINVAL, "where there is no device");
	expect_returns(course_mmio(COURSE_DEVICES_END - FH_PAGE, 2 * FH_PAGE), -EINVAL, "past the last device");
	expect_returns(course_mmio(COURSE_DEVICES + 8, FH_PAGE), -EINVAL, "unaligned");
}

/* In a child, because the choice is made once. Returns how much was wrong. */
static int act_low_vectors(void *arg)
{
	int bad = !expect_returns(course_mmio(COURSE_DEVICES + COURSE_SLICE, COURSE_SLICE), 0xfff00000, "the first device, in the last MiB");

	(void)arg;
	if (bad)
		return bad;
	*(volatile char *)(TOP - 1) = 7;
	bad += !expect_is(*(volatile char *)(TOP - 1), 7, "the byte at 0xffffffff");
	bad += !expect_returns(course_mmio(COURSE_DEVICES, 1), 0xffe00000, "the next one");
	bad += !expect_returns(course_mmio(COURSE_DEVICES + 0x1000, COURSE_SLICE - 0x1000), 0xffd00000, "and the next");
	return bad + !expect_returns(course_high_vectors(), -EBUSY, "then the vectors stay where they are");
}

static void both_vectors(void)
{
	struct told t = told(act_low_vectors, NULL, false);

	expect(t.who == TOLD_NOBODY && t.status == 0, "from 0xffffffff down, in a child: who %u, %d wrong", t.who, t.status);
	expect_is(course_high_vectors(), 0, "the vectors go to 0xffff0000");
	expect_returns(course_mmio(COURSE_DEVICES, FH_PAGE), 0xfff00000 - (int64_t)COURSE_SLICE, "the first device, right below the last MiB");
	expect_returns(course_high_vectors(), -EBUSY, "then they stay where they are");
	devices();
	expect_fault(act_read, course_mmio_edge() + COURSE_SLICE + FH_PAGE, 14, 0, "a read behind a device's last page");
}

/* ---- 7, 8, 9 ---- */

#define LEFT (4ul << 20)

struct block {
	struct block *next;
	size_t bytes; /* of text */
	char text[];
};

static struct block *block_new(struct block *next, size_t bytes)
{
	struct block *b = malloc(sizeof(*b) + bytes);

	if (b) {
		*b = (struct block){next, bytes};
		memset(b->text, (int)bytes + 1, bytes);
	}
	return b;
}

/* In a child, whose heap is not wanted any more. What malloc hands out is claimed, and there is less of it than addresses: all
 * but LEFT bytes of these are taken by somebody else. */
static int act_fill(void *arg)
{
	va_t edge = course_mmio_edge();
	volatile char *device = (volatile char *)edge;
	struct block *all = NULL, *b;
	struct tally t = {0};
	unsigned n = 0;
	int bad = 0;

	(void)arg;
	*device = 0x11;
	heap_grow((intptr_t)(edge - LEFT - heap_end()));
	for (size_t bytes = 0x10000; (b = block_new(all, bytes)) != NULL || bytes; n++)
		if (b)
			all = b;
		else
			bytes /= 4;
	bad += !expect(n >= LEFT / 0x11000, "malloc fills what is left, %u blocks", n);
	bad += !expect(edge - heap_end() < 0x8000, "up to the devices' edge at %#lx: its end is %#lx", edge, heap_end());
	bad += !expect(!malloc(1), "then it returns NULL, even for a byte");
	bad += !expect_returns(course_mmio(COURSE_DEVICES + 0x1f0000, FH_PAGE), -ENOMEM, "a device more");
	bad += !expect_is(*device, 0x11, "what the device has");
	for (b = all; b; b = b->next)
		for (size_t i = 0; i < b->bytes; i++)
			if (b->text[i] != (char)(b->bytes + 1)) {
				count_bad(&t, "byte %lu of a block of %lu", i, b->bytes);
				break;
			}
	bad += !expect(!t.bad, "and every block is intact");
	for (b = all; b->next->next; b = b->next)
		;
	struct block *first = b->next;
	b->next = NULL;
	free(first);
	b = block_new(all, 0x10000);
	bad += !expect(b == first, "after a free of 64 KiB there are 64 KiB, where they were: %p, %p", (void *)b, (void *)first);
	for (b = b ? b : all; b; b = all) {
		all = b->next;
		free(b);
	}
	bad += !expect(malloc(LEFT / 2) != NULL, "after a free of all there is a block of 2 MiB");
	return bad + !expect_is(malloc_check(), 0, "inconsistencies");
}

static void meet(void)
{
	struct told t = told(act_fill, NULL, false);
	volatile char *device = (volatile char *)course_mmio_edge();
	char *block = malloc(1000);
	va_t edge = course_mmio_edge(), old = heap_end();

	expect(t.who == TOLD_NOBODY && t.status == 0, "malloc until the heap is full, in a child: who %u, vector %u, %d wrong", t.who,
	       t.vector, t.status);
	memset(block, 0x5a, 1000);
	*device = 0x11;
	expect_returns(heap_grow((intptr_t)(edge - old)), (int64_t)old, "the heap grows up to the devices' edge at %#lx", edge);
	expect_returns(heap_grow(1), -ENOMEM, "one byte more");
	expect(malloc(1 << 20) == NULL, "malloc returns NULL");
	*(volatile char *)(edge - 1) = 0x22;
	expect_is(*device, 0x11, "what the device has is intact");
	for (unsigned i = 0; i < 1000; i++)
		if (block[i] != 0x5a)
			expect(false, "byte %u of an earlier block", i);
	expect_returns(course_mmio(COURSE_DEVICES + 0x1f0000, FH_PAGE), -ENOMEM, "a device more");
	expect_is((int64_t)course_mmio_edge(), (int64_t)edge, "the edge is where it was");
	heap_grow((intptr_t)old - (intptr_t)edge);
	void *again = malloc(1 << 20);
	expect(again != NULL, "after a shrink malloc works again");
	free(again);
	free(block);
}

static void device_meets_heap(void)
{
	va_t edge = course_mmio_edge(), old = heap_end();

	heap_grow((intptr_t)(edge - COURSE_SLICE / 2 - old));
	*(volatile char *)(heap_end() - 1) = 0x33;
	expect_returns(course_mmio(COURSE_DEVICES + 0x1f0000, FH_PAGE), -ENOMEM, "a device where half a MiB is left");
	expect_is(*(volatile char *)(heap_end() - 1), 0x33, "the heap's last byte");
	expect_is((int64_t)course_mmio_edge(), (int64_t)edge, "the edge is where it was");
	heap_grow(-(intptr_t)COURSE_SLICE);
	expect_returns(course_mmio(COURSE_DEVICES + 0x1f0000, FH_PAGE), (int64_t)(edge - COURSE_SLICE), "with a MiB more it has a place");
	heap_grow((intptr_t)(old - heap_end()));
}

static void gigabyte(void)
{
	struct tally t = {0};
	uint64_t seed = 1;
	va_t old = heap_end();

	for (unsigned i = 0; i < 2000; i++) {
		seed = seed * 6364136223846793005 + 1442695040888963407;
		intptr_t n = (intptr_t)(seed >> 34) - (1l << 29);
		if (heap_end() + (va_t)n >= old)
			heap_grow(n);
		if (i % 200 == 0)
			course_mmio(COURSE_DEVICES + 0x100000 + i / 200 * FH_PAGE, FH_PAGE);
		if (heap_end() - HEAP + (TOP - course_mmio_edge()) > 1ul << 30)
			count_bad(&t, "step %u: heap to %#lx, devices from %#lx", i, heap_end(), course_mmio_edge());
	}
	expect(!t.bad && course_mmio_edge() < TOP, "2000 moves of the break, 10 devices: never more than 1 GiB");
	heap_grow((intptr_t)(old - heap_end()));
}

/* ---- 10 ---- */

static void switching(void)
{
	static pte_t before[2][512];
	const volatile pte_t *pml4 = (const volatile pte_t *)(USER_END + 0x4000), *pt3 = pml4 + 512;
	unsigned changed = 0;

	course_switch(&process[0]);
	*(volatile char *)DATA = 1;
	for (unsigned i = 0; i < 512; i++) {
		before[0][i] = pml4[i] | FH_A;
		before[1][i] = pt3[i] | FH_A;
	}
	course_switch(&process[1]);
	*(volatile char *)DATA = 2;
	for (unsigned i = 0; i < 512; i++) {
		expect_is((int64_t)(pml4[i] | FH_A), (int64_t)before[0][i], "entry %u of the PML4", i);
		if ((pt3[i] | FH_A) == before[1][i])
			continue;
		changed++;
		expect(i < 2, "entry %u of the table below has changed", i);
	}
	expect_is(changed, 2, "entries that have changed, a gigabyte of the lower half each");
	expect(*(volatile char *)course_at(data[0]) == 1 && *(volatile char *)course_at(data[1]) == 2, "each has its own page");
	course_switch(&process[0]);
	expect_is(*(volatile char *)DATA, 1, "and back");
	struct entry e = touch_by(1, DATA);
	expect(e.regs.vector == FH_VEC_SYSCALL && *(volatile char *)course_at(data[1]) == 3, "a system call from one reaches the kernel's root");
	e = touch_by(1, DATA);
	expect_is(*(volatile char *)DATA, 4, "where its lower half is what it left");
	course_switch(NULL);
}

const struct line lines[] = {
    {1, "a process maps in [0, 0x80000000); a touch at or above faults", user_half},
    {2, "0x80000000 + physical is the frame that plays it, up to the end of RAM", alias},
    {3, "the identity page at 0 is gone after the start", identity},
    {4, "memory is managed from the first MiB after the kernel on, in zeroed slices, and never a device's", slices},
    {5, "the heap's first page is 0xc0000000, the next ones ascend; rw, not x", heap_pages},
    {6, "devices come from the top downward, in steps of 1 MiB: from 0xffffffff, with high vectors from 0xfff00000", both_vectors},
    {7, "a heap that fills up to the devices is full, harms nobody, and works again after a free", meet},
    {8, "a device that would meet the heap is refused", device_meets_heap},
    {9, "heap and devices never have more than 1 GiB", gigabyte},
    {10, "a switch of address space changes the lower half alone", switching},
    {11, "mapping twice is an error", map_twice},
    {0},
};
