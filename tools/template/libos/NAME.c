/*
 * NAME.c - a libOS of your own: frames, page tables, faults and malloc, with none of the kit's regions. What is left of the
 * kit is the start of the program, threads, locks and printf. Four parts, each to be replaced:
 *
 *   frames   which frame is next? Here: the highest free one, downward
 *   tables   how does an address get a frame? Here: four levels, made when they are needed, read in the recursive window
 *   faults   who comes when a page isn't there? Here: handle(), for all addresses of AREA; the kit's regions get the rest
 *   malloc   here: first fit over AREA, from the bottom up; the pages inside a hole go back
 *
 *     make run-NAME       this and main.c in the machine
 *     make check-NAME     the checks that every allocator passes
 *
 * (No host mode: Linux has no page tables for you.) src/kern/abi.h is the interface, docs/abi.md the same to read.
 */
#include <errno.h>
#include <string.h>

#include "kit.h"

#define AREA 0x600000000000ul /* where its pages are: nobody else maps anything from here on */
#define AREA_BYTES (1ul << 32)
#define SPARE 64ul            /* frames that malloc leaves for the stack, tables, the kit */
#define LINK (FH_P | FH_W | FH_U)
#define PAGE (FH_P | FH_W | FH_U | FH_NX)

/* ---- Frames ---- */

/*
 * The ownership table says which are free. What it says is a hint: somebody else may be faster, then the claim fails with
 * -EBUSY. So this must move on. CHANGE: contiguous runs? Colours? Frames that were yours before, which needn't be zeroed?
 */
static pfn_t frame_next(void)
{
	static pfn_t at;

	for (pfn_t n = info->nframes; n > 0; n--) {
		pfn_t p = __atomic_load_n(&at, __ATOMIC_RELAXED);
		p = p > info->first_user && p < info->nframes ? p - 1 : info->nframes - 1;
		__atomic_store_n(&at, p, __ATOMIC_RELAXED);
		if (frame_is_free(p))
			return p;
	}
	return 0;
}

/* ---- Page tables ---- */

/* The entry of va in its table of `level`, as the recursive window shows it: PT4[510] names the PT4 itself, so that a walk
 * through it ends a level early, at a table. The tables above must be there. */
static pte_t entry(va_t va, unsigned level)
{
	va_t at = (va & 0xfffffffff000) >> (12 + 9 * (level - 1)) << 3;

	for (unsigned l = 1; l <= level; l++)
		at |= (va_t)FH_WINDOW_SLOT << (12 + 9 * (4 - l));
	return *(volatile pte_t *)(at | 0xffff000000000000ul);
}

/* One operation on the entry of va in `table`. A frame that was taken meanwhile is replaced by another. 0 or -errno. */
static int operate(unsigned op, uint64_t flags, pfn_t table, unsigned level, va_t va, pte_t e)
{
	uint64_t what = fh_what(op, flags, table, va >> (12 + 9 * (level - 1)) & 511, 1);
	int64_t r;

	do {
		if (op == FH_OP_CLAIM || op == FH_OP_LINK_NEW) {
			pfn_t frame = frame_next();
			if (!frame)
				return -ENOMEM;
			e = frame << 12 | e;
		}
		r = sys_pt_set(what, e, va).rax;
		if (r == -EAGAIN) /* the frame isn't quiet yet: somebody's TLB may know it */
			wait_quiet();
		e &= ~FH_PFN_FIELD;
	} while (r == -EBUSY || r == -EAGAIN);
	return r < 0 && !(r == -EEXIST && op == FH_OP_LINK_NEW) ? (int)r : 0; /* a table that is there will do */
}

/* The table of level 1 for va, and all above it. 0: there is no frame for one. */
static pfn_t table_for(va_t va)
{
	pfn_t table = space_current()->root;

	for (unsigned level = 4; level > 1; level--) {
		if (!(entry(va, level) & FH_P) && operate(FH_OP_LINK_NEW, 0, table, level, va, LINK) < 0)
			return 0;
		table = fh_pte_pfn(entry(va, level));
	}
	return table;
}

/* ---- Faults ---- */

static struct {
	struct lock lock;  /* tables, and what follows: faults come in several threads */
	va_t end;          /* of what malloc has taken of AREA */
	uint64_t promised; /* pages below it that nobody has touched yet */
	uint64_t faults;
} area = {.end = AREA};

uint64_t NAME_faults(void) { return area.faults; }

/* Comes before the kit's regions. A page of AREA comes, zeroed, when it is touched. What a fork has made read-only is for the
 * kit to copy. CHANGE: several pages at once? 2 MiB pages? */
static enum answer handle(struct fh_context *c)
{
	va_t va = page_down(c->address);
	int r = 0;

	if (va < AREA || va >= AREA + AREA_BYTES)
		return FAULT_NEXT;
	lock_take(&area.lock);
	pfn_t table = va < area.end ? table_for(va) : 0;
	if (!table) {
		r = -EFAULT;
	} else if (!(entry(va, 1) & FH_P)) {
		r = operate(FH_OP_CLAIM, 0, table, 1, va, PAGE);
		area.promised -= r == 0;
		area.faults++;
	} else if (c->regs.error & FAULT_WRITE && !(entry(va, 1) & FH_W)) {
		r = -EFAULT;
	} /* else another thread was faster */
	lock_give(&area.lock);
	return r == 0 ? FAULT_DONE : FAULT_NEXT;
}

/* n pages more of AREA, which come when they are touched. Then it would be too late to say no: so malloc is told now. */
static void *take_pages(size_t n)
{
	uint64_t account = env_view()->account, left = fh_quota(account) - fh_owned(account);
	void *p = NULL;

	lock_take(&area.lock);
	if (area.end == AREA) {
		struct region r = {.base = AREA, .end = AREA + AREA_BYTES, .fault = fault_zero, .name = "[NAME]"};
		space_lock(space_current());
		region_add(space_current(), &r); /* the kit keeps off */
		space_unlock(space_current());
		on_upcall(14, handle);
	}
	uint64_t wanted = area.promised + n, room = (AREA + AREA_BYTES - area.end) / FH_PAGE;
	if (n <= room && wanted + wanted / 512 + SPARE <= left) {
		p = (void *)area.end;
		area.end += n * FH_PAGE;
		area.promised += n;
	}
	lock_give(&area.lock);
	return p;
}

/* The frames of n pages go back; the addresses stay ours, and are zero again when they are touched. */
static size_t drop_pages(va_t va, size_t n)
{
	size_t given = 0;

	lock_take(&area.lock);
	for (va_t end = va + n * FH_PAGE; va < end; va += FH_PAGE)
		if (entry(va, 4) & FH_P && entry(va, 3) & FH_P && entry(va, 2) & FH_P && entry(va, 1) & FH_P &&
		    operate(FH_OP_UNMAP_FREE, space_flush(), fh_pte_pfn(entry(va, 2)), 1, va, 0) == 0)
			given++;
	area.promised += given;
	lock_give(&area.lock);
	return given;
}

/* ---- malloc: as in KIND=allocator ---- */

struct head {          /* in front of every block, used or free */
	size_t size;       /* of the whole block, this included: a multiple of 16 */
	struct head *next; /* of a free block: the next one by address */
};
static struct head *holes;

static size_t round_up(size_t n, size_t to) { return (n + to - 1) & ~(to - 1); }
static struct head *end_of(struct head *h) { return (struct head *)((char *)h + h->size); }

/* Into the list, joined with the block in front and the one behind if they are free: the block it is then part of. */
static struct head *insert(struct head *h)
{
	struct head **link = &holes, *before = NULL;

	for (; *link && *link < h; link = &before->next)
		before = *link;
	h->next = *link;
	*link = h;
	if (h->next && end_of(h) == h->next) {
		h->size += h->next->size;
		h->next = h->next->next;
	}
	if (before && end_of(before) == h) {
		before->size += h->size;
		before->next = h->next;
		h = before;
	}
	return h;
}

/* CHANGE: as in the other template (KIND=allocator); but here you also know which pages are there. */
static void *NAME_alloc(struct allocator *a, size_t n, size_t align)
{
	size_t size = round_up(n + sizeof(struct head), HEAP_ALIGN);

	for (struct head **link = &holes; *link; link = &(*link)->next) {
		struct head *h = *link, *rest = h->next;
		struct head *block = (struct head *)round_up((size_t)(h + 1), align) - 1; /* where it would begin */
		size_t front = (size_t)((char *)block - (char *)h);
		if (h->size < front || h->size - front < size)
			continue;
		if (h->size - front - size >= 2 * sizeof(struct head)) { /* the end stays free */
			rest = (struct head *)((char *)block + size);
			*rest = (struct head){h->size - front - size, h->next};
		} else {
			size = h->size - front;
		}
		*link = rest;
		if (front) { /* so does the front */
			*h = (struct head){front, rest};
			*link = h;
		}
		block->size = size;
		return block + 1;
	}
	size_t pages = n < AREA_BYTES && align < AREA_BYTES ? (size + align) / FH_PAGE + 1 : ~0ul;
	struct head *h = take_pages(pages);
	if (!h)
		return NULL;
	h->size = pages * FH_PAGE;
	insert(h);
	return NAME_alloc(a, n, align);
}

static void NAME_free(struct allocator *a, void *p)
{
	struct head *h = (struct head *)p - 1;
	va_t from = page_down((va_t)h), end = page_up((va_t)end_of(h));
	struct head *hole = insert(h);

	(void)a;
	if (from < (va_t)(hole + 1)) /* the page with the head stays */
		from = page_up((va_t)(hole + 1));
	if (end > page_down((va_t)end_of(hole)))
		end = page_down((va_t)end_of(hole));
	if (from < end)
		drop_pages(from, (end - from) / FH_PAGE);
}

static size_t NAME_size(struct allocator *a, void *p)
{
	(void)a;
	return ((struct head *)p - 1)->size - sizeof(struct head);
}

static int NAME_check(struct allocator *a)
{
	int bad = 0;

	(void)a;
	for (struct head *h = holes; h && bad < 100; h = h->next)
		bad += h->size % HEAP_ALIGN != 0 || (va_t)h < AREA || (va_t)end_of(h) > area.end || (h->next && end_of(h) >= h->next);
	return bad;
}

/* The last hole, if AREA is taken up to its end: its pages, and tables that are empty then. */
static size_t NAME_trim(struct allocator *a)
{
	struct head **link = &holes, *h;
	size_t given = 0;

	(void)a;
	while ((h = *link) != NULL && h->next)
		link = &h->next;
	if (!h || (va_t)end_of(h) != area.end)
		return 0;
	va_t end = area.end, from = page_up((va_t)h);
	if (from == (va_t)h)
		*link = NULL;
	else
		h->size = from - (va_t)h;
	given = drop_pages(from, (end - from) / FH_PAGE);
	lock_take(&area.lock);
	area.end = from;
	area.promised -= (end - from) / FH_PAGE;
	space_trim(space_current(), from, end);
	lock_give(&area.lock);
	return given * FH_PAGE;
}

struct allocator allocator_NAME = {
    .name = "NAME",
    .alloc = NAME_alloc,
    .free = NAME_free,
    .size = NAME_size,
    .check = NAME_check,
    .trim = NAME_trim,
};
