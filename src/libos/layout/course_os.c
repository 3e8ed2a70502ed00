/* course_os.c - a teaching kernel for 32-bit ARM: all RAM at 0x80000000, heap and devices towards each other above it. */
#include "course_os.h"

#include <errno.h>
#include <string.h>

#include "env.h"
#include "layout.h"
#include "mm.h"
#include "spacewalk.h"
#include "syscall.h"

#define RX (RIGHT_R | RIGHT_X)
#define RW (RIGHT_R | RIGHT_W)
#define GIB PLAN_GIB
#define HEAP 0xc0000000ul
#define TOP 0x100000000ul
#define VECTORS_HIGH 0xfff00000ul
#define SLICES (GIB / COURSE_SLICE)

static int start(void);

const struct layout layout_course_os = {
    .name = "course_os",
    .seed = "004_b4c88d9e5e0bf2e3.txt",
    .title = "an ARM kernel with all RAM at 0x80000000",
    .teaches = "A kernel that sees all memory at one offset needs no mapping to touch a page of a process: it is there already. "
               "The address space switches by two entries of a PML4's first table; the kernel's half is the same in all. One "
               "gigabyte serves heap and devices, from both ends: neither has a limit of its own, and where they touch both are full.",
    .said = "Its addresses lost a digit: 0x8000000 is 0x80000000, 0xC000000 is 0xc0000000, 0xFFFFFFF is 0xffffffff (RAM of at most 1 "
            "GiB at 2 GiB, and heap and devices in \"the same gigabyte\", leave no other reading). The level-1 page table at "
            "0x80004000 is ARM's; here that place shows this libOS's own tables, read-only. Its code let a device mapping overwrite "
            "the heap; here it is refused. It says nothing of stacks and of mappings: they lie above 4 GiB.",
    .area = {
        {"[user]", 0, 0x80000000, AREA_OWN, RW, .note = "the running process's; switched by two table entries"},
        {"[vectors]", 0x80000000, 0x80004000, AREA_ALIAS, RW, .note = "physical 0; identity-mapped at 0 only during the start"},
        {"[tables]", 0x80004000, 0x80008000, AREA_ALIAS, RIGHT_R, .note = "the ARM's 16 KiB level-1 table; here PT4, PT3 and two PT2"},
        {"[text]", 0x80008000, 0, AREA_TEXT, RX, .grow = REGION_FIXED},
        {"[rodata]", 0, 0, AREA_RODATA, RIGHT_R, .after = true},
        {"[data]", 0, 0, AREA_DATA, RW, .after = true},
        {"[bss]", 0, 0, AREA_BSS, RW, .after = true, .note = "the physical memory manager begins at the next MiB"},
        {"[ram]", 0, 0xc0000000, AREA_ALIAS, RW, .after = true, .note = "RAM at 0x80000000 + physical, up to its end"},
        {"[heap]", 0xc0000000, 0, AREA_HEAP, RW, REGION_GROW_UP, .meets = "full where it touches [mmio]"},
        {"[mmio]", 0, 0x100000000, AREA_OWN, RW, REGION_GROW_DOWN, .after = true,
         .meets = "refused where it would meet [heap]", .note = "with high vectors from 0xfff00000"},
        {"[mmap]", 0x100000000, 0x7e0000000000, AREA_MMAP, RW, REGION_GROW_DOWN, .note = "not in the seed"},
        {"[stack]", 0x7f0000100000, 0x7f0000200000, AREA_STACK, RW, REGION_GROW_DOWN, .guard = 1, .note = "not in the seed"},
    },
    .start = start,
};

static uint64_t ram;
static uint8_t slice_used[SLICES]; /* 1: handed out; 2: never will be */
static va_t mmio_top = TOP;
static uint8_t device_mapped[(COURSE_DEVICES_END - COURSE_DEVICES) / FH_PAGE];
static pfn_t kernel_pt3; /* over the low 512 GiB: the four gigabytes are its first entries */

static int reserve(va_t lo, va_t hi, unsigned rights, enum region_fork fork, region_fault *fault, const char *name)
{
	struct region r = {.base = lo, .end = hi, .rights = (uint8_t)rights, .fork = (uint8_t)fork, .fault = fault, .name = name};

	return lo < hi ? region_add(&space_main, &r) : 0;
}

/* ---- The start: vectors through the identity page, as the ARM's before its MMU is on; tables; RAM ---- */

static int make_vectors(struct space *s)
{
	int r = space_fill(s, 0, 1, RW);
	if (r < 0)
		return r;
	pfn_t f = fh_pte_pfn(space_get(s, 0));
	volatile uint32_t *identity = NULL; /* the compiler need not know that this is an address */
	__asm__("" : "+r"(identity));
	for (unsigned i = 0; i < 8; i++)
		identity[i] = 0xe59ff018; /* ldr pc, [pc, #24]: what an ARM has there */
	if ((r = space_map(s, COURSE_RAM_VA, f, 1, RW)) < 0)
		return r;
	return space_unmap(s, 0, 1); /* the identity page goes: the kernel runs at its upper addresses */
}

static int show_tables(struct space *s)
{
	const pfn_t shown[] = {s->root, space_table(s, 0, 3), space_table(s, COURSE_RAM_VA, 2), space_table(s, HEAP, 2)};

	for (unsigned i = 0; i < 4; i++) {
		int r = shown[i] ? space_map(s, COURSE_RAM_VA + 0x4000 + i * FH_PAGE, shown[i], 1, RIGHT_R) : -ENOMEM;
		if (r < 0)
			return r;
	}
	kernel_pt3 = shown[1];
	return 0;
}

static int start(void)
{
	struct space *s = &space_main;
	uint64_t account = env_view()->account;
	uint64_t frames = (account >> 31 & 0x7fffffff) - (account & 0x7fffffff);
	va_t end = layout_named("[bss]").hi, devices = COURSE_RAM_VA + COURSE_DEVICES, devices_end = COURSE_RAM_VA + COURSE_DEVICES_END;
	int r;

	ram = frames / 4 * 3 * FH_PAGE & ~(COURSE_SLICE - 1);
	if (ram > GIB)
		ram = GIB;
	if (COURSE_RAM_VA + ram < end)
		return -ENOMEM;
	va_t top = COURSE_RAM_VA + ram;
	for (pa_t pa = 0; pa < GIB; pa += COURSE_SLICE)
		if (pa < course_slices_base() || pa + COURSE_SLICE > ram || (pa >= COURSE_DEVICES && pa < COURSE_DEVICES_END))
			slice_used[pa / COURSE_SLICE] = 2;
	if ((r = make_vectors(s)) < 0 || (r = show_tables(s)) < 0 ||
	    (r = reserve(0, COURSE_RAM_VA, 0, REGION_SKIP, fault_guard, "[user]")) < 0 ||
	    (r = reserve(COURSE_RAM_VA, COURSE_RAM_VA + 0x4000, RW, REGION_COW, fault_zero, "[vectors]")) < 0 ||
	    (r = reserve(COURSE_RAM_VA + 0x4000, COURSE_RAM_VA + 0x8000, RIGHT_R, REGION_SKIP, fault_guard, "[tables]")) < 0 ||
	    (r = reserve(end, top < devices ? top : devices, RW, REGION_COW, fault_zero, "[ram]")) < 0)
		return r;
	return reserve(devices_end, top, RW, REGION_COW, fault_zero, "[ram]");
}

uint64_t course_ram(void) { return ram; }

/* ---- Slices ---- */

pa_t course_slices_base(void)
{
	return (layout_named("[bss]").hi - COURSE_RAM_VA + COURSE_SLICE - 1) & ~(COURSE_SLICE - 1);
}

pa_t course_slice(void)
{
	for (unsigned i = 0; i < SLICES; i++)
		if (!slice_used[i]) {
			slice_used[i] = 1;
			return i * COURSE_SLICE; /* its pages are claimed zeroed, at the first touch */
		}
	return 0;
}

int course_slice_free(pa_t pa)
{
	if (pa % COURSE_SLICE || pa >= GIB || slice_used[pa / COURSE_SLICE] != 1)
		return -EINVAL;
	space_lock(&space_main);
	int r = space_drop(&space_main, COURSE_RAM_VA + pa, COURSE_SLICE / FH_PAGE);
	space_unlock(&space_main);
	if (r == 0)
		slice_used[pa / COURSE_SLICE] = 0;
	return r;
}

/* ---- Devices ---- */

int course_high_vectors(void)
{
	if (mmio_top != TOP)
		return -EBUSY;
	mmio_top = VECTORS_HIGH;
	return 0;
}

va_t course_mmio_edge(void) { return mmio_top; }

int64_t course_mmio(pa_t device, uint64_t bytes)
{
	uint64_t room = (bytes + COURSE_SLICE - 1) & ~(COURSE_SLICE - 1);
	uint64_t first = (device - COURSE_DEVICES) / FH_PAGE, n = page_up(bytes) / FH_PAGE;

	if (device % FH_PAGE || !bytes || device < COURSE_DEVICES || device >= COURSE_DEVICES_END ||
	    bytes > COURSE_DEVICES_END - device)
		return -EINVAL;
	for (uint64_t i = first; i < first + n; i++)
		if (device_mapped[i])
			return -EEXIST;
	struct space *s = &space_main;
	space_lock(s);
	va_t va = mmio_top - room;
	/* Nothing but the heap can be in the way, and it reserves what it has. */
	int r = va >= HEAP && !region_busy(s, va, mmio_top) ? 0 : -ENOMEM;
	/* The rest of its last MiB is nobody's, and no fork fills it. */
	if (r == 0 && ((r = reserve(va, va + n * FH_PAGE, RW, REGION_SHARE, fault_guard, "[mmio]")) < 0 ||
	               (r = reserve(va + n * FH_PAGE, mmio_top, 0, REGION_SHARE, fault_guard, "[mmio]")) < 0))
		region_cut(s, va, mmio_top);
	if (r == 0 && (r = space_fill(s, va, n, RW)) < 0)
		region_cut(s, va, mmio_top);
	if (r == 0) {
		mmio_top = va;
		memset(device_mapped + first, 1, n);
	}
	space_unlock(s);
	return r < 0 ? r : (int64_t)va;
}

/* ---- Processes ---- */

int course_process_new(struct course_process *p)
{
	int r = space_new(&p->space, 0, space_main.frames);

	if (r < 0)
		return r;
	if (space_table(&p->space, 0, 2) && space_table(&p->space, GIB, 2))
		return 0;
	space_free(&p->space);
	return -ENOMEM;
}

/* RAM that the kernel can write to: not its tables, not its code and constants, and nothing where devices are. */
static bool is_ram(pa_t pa, size_t n)
{
	struct space *s = &space_main;
	bool good = pa < ram && n <= (ram - pa) / FH_PAGE;

	space_lock(s);
	for (va_t va = COURSE_RAM_VA + pa; good && va < COURSE_RAM_VA + pa + n * FH_PAGE; va += FH_PAGE) {
		const struct region *r = region_find(s, va);
		good = r && region_page_rights(s, r, va) & RIGHT_W;
	}
	space_unlock(s);
	return good;
}

int course_map(struct course_process *p, va_t va, pa_t pa, size_t n, unsigned rights)
{
	if (va % FH_PAGE || pa % FH_PAGE || va >= COURSE_RAM_VA || n > (COURSE_RAM_VA - va) / FH_PAGE)
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		if (space_get(&p->space, va + i * FH_PAGE) & FH_P)
			return -EEXIST;
	if (!is_ram(pa, n))
		return -EFAULT;
	for (size_t i = 0; i < n; i++) {
		volatile char *page = course_at(pa + i * FH_PAGE);
		int r = space_fill(&space_main, (va_t)page, 1, RW); /* a frame plays it from now on, */
		if (r == 0) {
			*page = *page; /* and is ours to write, whatever a fork has left */
			r = space_map(&p->space, va + i * FH_PAGE, fh_pte_pfn(space_get(&space_main, (va_t)page)), 1, rights);
		}
		if (r < 0) {
			space_unmap(&p->space, va, i);
			return r;
		}
	}
	return 0;
}

int course_switch(struct course_process *p)
{
	for (unsigned i = 0; i < 2; i++) {
		pfn_t table = p ? space_table(&p->space, i * GIB, 2) : 0;
		pte_t e = table ? table << 12 | FH_P | FH_W | FH_U : 0;
		int r = pt_one(space_main.frames, FH_OP_SET, space_flush(), kernel_pt3, i, &e, 0);
		if (r < 0)
			return r;
	}
	return 0;
}

int course_run(struct course_process *p, struct entry *e)
{
	int r = course_switch(p);

	e->root = p->space.root;
	return r < 0 ? r : space_enter(e);
}

int course_process_end(struct course_process *p)
{
	int r = course_switch(NULL);

	return r < 0 ? r : space_free(&p->space);
}
