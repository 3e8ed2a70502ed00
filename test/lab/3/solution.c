/* solution.c - assignment 3. */
#include <string.h>

#include "lab3.h"

/* The pages that are there, in the order of the clock's hand. */
static struct resident {
	va_t va;
	bool dirty; /* D was seen set, and cleared together with A */
} ring[FRAMES_MAX];
static unsigned limit, count, hand;
static va_t block[DISK_BLOCKS]; /* the page that is in it, 0: none */

void pager_start(unsigned frames) { limit = frames; }

static int block_of(va_t va)
{
	for (unsigned i = 0; i < DISK_BLOCKS; i++)
		if (block[i] == va)
			return (int)i;
	return -1;
}

static bool save(va_t va)
{
	int b = block_of(va);

	if (b < 0)
		b = block_of(0);
	if (b < 0)
		return false;
	block[b] = va;
	disk_write((unsigned)b, (const void *)va);
	return true;
}

/* Make room: the first page from the hand on that was not used since the hand came by. Its place in the ring, or -1. */
static int evict(struct space *s)
{
	for (;; hand = (hand + 1) % count) {
		struct resident *p = &ring[hand];
		pte_t e = space_get(s, p->va);
		p->dirty |= (e & FH_D) != 0;
		if (e & FH_A) {
			space_clean(s, p->va, 1);
			continue;
		}
		if (p->dirty && !save(p->va))
			return -1;
		space_drop(s, p->va, 1);
		unsigned place = hand;
		hand = (hand + 1) % count;
		return (int)place;
	}
}

static bool allowed(struct paged *a, va_t va, uint64_t error)
{
	va_t lowest = a->hi - a->yours[0];

	if (error & (FAULT_FETCH | FAULT_PRESENT) || (error & FAULT_WRITE && !(a->rights & RIGHT_W)))
		return false;
	if (a->kind == PAGED_STACK && (va < a->lo + FH_PAGE || va + STACK_REACH * FH_PAGE < lowest))
		return false;
	return a->kind != PAGED_FILE || va - a->lo < a->bytes;
}

/* What it holds: what was evicted, or else what the area says. */
static void fill(struct paged *a, va_t va)
{
	int b = block_of(va);
	size_t offset = va - a->lo;

	if (b >= 0)
		disk_read((unsigned)b, (void *)va);
	else if (a->kind == PAGED_FILE)
		memcpy((void *)va, a->file + offset, a->bytes - offset < FH_PAGE ? a->bytes - offset : FH_PAGE);
}

enum answer pager_fault(struct region *r, struct fault *f)
{
	struct paged *a = r->arg;
	va_t va = page_down(f->address);
	int place = (int)count;

	if (!allowed(a, va, f->error))
		return FAULT_KILL;
	if (limit && count == limit)
		place = evict(f->space);
	if (place < 0 || space_fill(f->space, va, 1, RIGHT_R | RIGHT_W) < 0)
		return FAULT_KILL;
	fill(a, va);
	if (!(a->rights & RIGHT_W))
		space_protect(f->space, va, 1, a->rights);
	space_clean(f->space, va, 1); /* what we wrote is no change of the program's */
	if (a->kind == PAGED_STACK && a->hi - va > a->yours[0])
		a->yours[0] = a->hi - va;
	if (limit) {
		ring[place] = (struct resident){.va = va};
		count += (unsigned)place == count;
	}
	return FAULT_DONE;
}
