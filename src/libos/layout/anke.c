/* anke.c - a kernel whose own context has no user half, and whose user contexts have no direct map. */
#include "anke.h"

#include <errno.h>

#include "env.h"
#include "layout.h"
#include "mm.h"
#include "share.h"
#include "spacewalk.h"
#include "start.h"
#include "syscall.h"

#define RX (RIGHT_R | RIGHT_X)
#define RW (RIGHT_R | RIGHT_W)
#define HHDM 0xffff800000000000ul
#define MMIO 0xffff900000000000ul
#define MMIO_END 0xffffa00000000000ul
#define SLOT 0xffffff0000000000ul /* of heap and image: PML4[510] */
#define USER_END 0x800000000000ul

static int start(void);

const struct layout layout_anke = {
    .name = "anke",
    .seed = "003_1e4eb4db7e5fdd08.txt",
    .title = "two contexts: a kernel's, and a user's",
    .teaches = "What need not be mapped should not be: while a user task runs, the machine's memory and its devices are out of reach, "
               "whatever goes wrong. Heap and image are the same in both contexts by a single entry of the PML4, so that a table "
               "made later is in both at once. Going between the contexts changes no page table: it is a root that is loaded.",
    .said = "Heap and image lie in PML4[511], which is Freehold's: they are moved to the same offsets in PML4[510]. Its \"invalid\" range "
            "begins at 0x0000800000000000 in both tables; the list of global mappings repeats the user context's, where only heap and "
            "image are shared: so it is read here. \"The kernel executes in the context of the user task\" for a system call: here a "
            "system call goes to K, which reads the task's memory through the direct map. Where the bootstrap says that the direct map "
            "covers all usable memory, here it is all that this env holds.",
    .area = {
        {"[user]", 0, 0x800000000000, AREA_OWN, RW | RX, .note = "in U only: in K all of it faults"},
        {"[hhdm]", HHDM, MMIO, AREA_ALIAS, RW, .note = "in K only"},
        {"[mmio]", MMIO, MMIO_END, AREA_OWN, RW, REGION_GROW_UP, .note = "in K only; uncached"},
        {"[mmap]", MMIO_END, 0xffffb00000000000, AREA_MMAP, RW, REGION_GROW_DOWN, .note = "in K only; in the seed unused"},
        {"[heap]", SLOT, 0xffffff7f80000000, AREA_HEAP, RW, REGION_GROW_UP, .meets = "NULL at its end: it never reaches [text]",
         .note = "seed: 0xffffff80_00000000, in PML4[511]. Read-only in U"},
        {"[text]", 0xffffff7f80000000, 0, AREA_TEXT, RX, .note = "seed: 0xffffffff_80000000, in PML4[511]"},
        {"[rodata]", 0, 0, AREA_RODATA, RIGHT_R, .after = true},
        {"[data]", 0, 0, AREA_DATA, RW, .after = true, .note = "read-only in U"},
        {"[bss]", 0, 0, AREA_BSS, RW, .after = true, .note = "read-only in U"},
        {"[stack]", 0xffffff7ffff00000, 0xffffff8000000000, AREA_STACK, RW, REGION_GROW_DOWN, .guard = 1, .note = "not in the seed"},
    },
    .start = start,
};

/* ---- The hand-over ---- */

struct anke_boot anke_boot;

const char *anke_boot_check(const struct anke_boot *b)
{
	return !b->memory[0].bytes ? "no memory map" : !b->hhdm ? "no offset of the direct map" :
	       !b->kernel_pa ? "no physical base of the kernel" : !b->kernel_va ? "no virtual base of the kernel" : NULL;
}

void anke_boot_take(const struct anke_boot *b)
{
	const char *missing = anke_boot_check(b);

	if (missing)
		panic("the boot loader hands over %s", missing);
	anke_boot = *b;
}

/* The machine's memory: runs of frames that are not what lies between them. */
static void memory_map(struct anke_boot *b)
{
	unsigned n = 0;

	for (pfn_t f = 0; f < info->nframes; f++) {
		unsigned type = fh_type(frame_record(f)->state);
		if (type == FH_KERNEL || type == FH_DEVICE)
			continue;
		struct anke_memory *last = n ? &b->memory[n - 1] : NULL;
		if (last && last->base + last->bytes == f * FH_PAGE)
			last->bytes += FH_PAGE;
		else if (n < 7)
			b->memory[n++] = (struct anke_memory){f * FH_PAGE, FH_PAGE};
	}
}

/* ---- K ---- */

int hhdm_forget(uint64_t pa)
{
	struct space *s = &space_main;
	va_t va = page_down((va_t)hhdm(pa));

	if (pa >= info->nframes * FH_PAGE)
		return -EINVAL;
	space_lock(s);
	int r = space_drop(s, va, 1);
	space_trim(s, va & ~(PLAN_LARGE - 1), (va & ~(PLAN_LARGE - 1)) + PLAN_LARGE);
	space_unlock(s);
	return r;
}

static va_t mmio_next = MMIO;

int64_t anke_mmio(uint64_t pa, uint64_t bytes)
{
	struct space *s = &space_main;
	uint64_t offset = pa % FH_PAGE, n = page_up(bytes + offset) / FH_PAGE;
	pfn_t pfn = pa / FH_PAGE;

	if (!bytes || bytes > MMIO_END - MMIO || n > info->nframes || pfn > info->nframes - n)
		return -EINVAL;
	for (pfn_t f = pfn; f < pfn + n; f++)
		if (fh_type(frame_record(f)->state) != FH_DEVICE || fh_owner(frame_record(f)->state) != env_self())
			return -EPERM;
	space_lock(s);
	va_t va = mmio_next;
	struct region r = {.base = va, .end = va + n * FH_PAGE, .rights = RW, .fork = REGION_SKIP, .fault = fault_guard, .name = "[mmio]"};
	int e = n * FH_PAGE <= MMIO_END - va ? region_add(s, &r) : -ENOMEM;
	for (uint64_t i = 0; i < n && e >= 0; i++) {
		pte_t entry = pte_make(pfn + i, RW) | FH_PCD | FH_PWT; /* uncached: SDM vol. 3A, 11.5.2.1 */
		pfn_t table = space_table(s, va + i * FH_PAGE, 1);
		e = table ? pt_one(s->frames, FH_OP_SET, 0, table, pt_index(va + i * FH_PAGE, 1), &entry, 0) : -ENOMEM;
	}
	if (e < 0) {
		space_unmap(s, va, n);
		region_cut(s, va, va + n * FH_PAGE);
	} else {
		mmio_next += n * FH_PAGE;
	}
	space_unlock(s);
	return e < 0 ? e : (int64_t)(va + offset);
}

static int reserve(va_t lo, va_t hi, unsigned rights, region_fault *fault, const char *name)
{
	struct region r = {.base = lo, .end = hi, .rights = (uint8_t)rights, .fork = REGION_SKIP, .fault = fault, .name = name};

	return region_add(&space_main, &r);
}

static int start(void)
{
	struct anke_boot b = {.hhdm = HHDM, .kernel_va = layout_named("[text]").lo};
	int r;

	b.kernel_pa = fh_pte_pfn(space_get(&space_main, b.kernel_va)) * FH_PAGE;
	memory_map(&b);
	anke_boot_take(&b);
	devices_take();
	if ((r = reserve(0, USER_END, 0, fault_guard, "[user]")) < 0)
		return r;
	return reserve(HHDM, MMIO, RW, fault_alias, "[hhdm]");
}

/* ---- U ---- */

int anke_user_new(struct anke_user *u)
{
	pfn_t shared = space_table(&space_main, SLOT, 3);
	int r = shared ? space_new(&u->space, 0, space_main.frames) : -ENOMEM;
	pte_t link = shared << 12 | FH_P | FH_U; /* without W: nothing under it can be written there */

	if (r < 0)
		return r;
	r = pt_one(space_main.frames, FH_OP_SET, 0, u->space.root, pt_index(SLOT, 4), &link, 0);
	if (r < 0)
		space_free(&u->space);
	return r < 0 ? r : 0;
}

int anke_user_map(struct anke_user *u, va_t va, size_t n, unsigned rights)
{
	if (va % FH_PAGE || va < FH_PAGE || va >= USER_END || n > (USER_END - va) / FH_PAGE)
		return -EINVAL;
	return space_fill(&u->space, va, n, rights);
}

int anke_user_run(struct anke_user *u, struct entry *e)
{
	e->root = u->space.root;
	return space_enter(e);
}

void *anke_user_at(struct anke_user *u, va_t va, size_t n)
{
	pte_t e = va < USER_END ? space_get(&u->space, va) : 0;

	return e & FH_P && n <= FH_PAGE - va % FH_PAGE ? hhdm(fh_pte_pfn(e) * FH_PAGE + va % FH_PAGE) : NULL;
}

int anke_user_free(struct anke_user *u)
{
	pte_t none = 0;
	int r = pt_one(space_main.frames, FH_OP_CLEAR, space_flush(), u->space.root, pt_index(SLOT, 4), &none, 0);

	return r < 0 ? r : space_free(&u->space);
}
