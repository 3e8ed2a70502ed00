/* solution.c - assignment 2. */
#include "lab2.h"

#define PAGE_BITS (FH_P | FH_U)
#define LINK_BITS (FH_P | FH_U | FH_W)

static unsigned index_of(va_t va, unsigned level) { return va >> (12 + 9 * (level - 1)) & 511; }

/* Where va's entry of `level` is readable: the window entered once more for each level above 1. */
static const volatile pte_t *slot(va_t va, unsigned level)
{
	va_t base = WINDOW_VA, at = (va & 0xfffffffffffful) >> (12 + 9 * (level - 1));

	for (unsigned l = 1; l < level; l++)
		base |= (va_t)FH_WINDOW_SLOT << (39 - 9 * l);
	return (const volatile pte_t *)base + at;
}

static pfn_t root(void) { return fh_pte_pfn(*slot(WINDOW_VA, 4)); }
static pfn_t any_free(void) { return frames_first.next(&frames_first, 1, 1, 0); }

static int64_t operate(unsigned op, uint64_t flags, pfn_t table, va_t va, unsigned level, pte_t e, va_t flush)
{
	int64_t r;

	while ((r = sys_pt_set(fh_what(op, flags, table, index_of(va, level), 1), e, flush).rax) == -FH_EAGAIN)
		wait_quiet();
	return r;
}

pfn_t pt_new(void)
{
	for (unsigned tries = 0; tries < 1000; tries++) {
		pfn_t p = any_free();
		if (!p || sys_frame_alloc(p, 1, 0, 0) != 1)
			continue;
		if (sys_frame_retype(p, FH_PT4) == 0 &&
		    operate(FH_OP_SET, 0, p, WINDOW_VA, 4, p << 12 | PAGE_BITS | FH_NX, 0) >= 0)
			return p;
		sys_frame_free(p, 1);
	}
	return 0;
}

pte_t pt_entry(va_t va, unsigned *level)
{
	for (unsigned l = 4; l > 0; l--) {
		pte_t e = *slot(va, l);
		if (!(e & FH_P))
			return 0;
		if (l == 1 || (l == 2 && e & FH_PS)) {
			*level = l;
			return e;
		}
	}
	return 0;
}

uint64_t pt_translate(va_t va)
{
	unsigned level;
	pte_t e = pt_entry(va, &level);
	uint64_t size = level == 2 ? PLAN_LARGE : FH_PAGE;

	return e ? (fh_pte_pfn(e) << 12) + (va & (size - 1)) : PT_NOWHERE;
}

/* The table that holds va's entry of `level`; missing ones are made. 0: a large page is in the way; or -errno. */
static int64_t table_for(va_t va, unsigned level)
{
	pfn_t table = root();

	for (unsigned l = 4; l > level; l--) {
		while (!(*slot(va, l) & FH_P)) {
			pfn_t p = any_free();
			if (!p)
				return -FH_EDQUOT;
			int64_t r = operate(FH_OP_LINK_NEW, 0, table, va, l, p << 12 | LINK_BITS, 0);
			if (r < 0 && r != -FH_EBUSY && r != -FH_EEXIST)
				return r;
		}
		pte_t e = *slot(va, l);
		if (l == 2 && e & FH_PS)
			return 0;
		table = fh_pte_pfn(e);
	}
	return (int64_t)table;
}

static int map(va_t va, unsigned level, pte_t e)
{
	if (va % (level == 2 ? PLAN_LARGE : FH_PAGE))
		return -FH_EINVAL;
	int64_t table = table_for(va, level);
	if (table < 0)
		return (int)table;
	if (!table || *slot(va, level))
		return -FH_EEXIST;
	int64_t r = operate(FH_OP_SET, 0, (pfn_t)table, va, level, e, 0);
	return r < 0 ? (int)r : 0;
}

int pt_map(va_t va, pfn_t pfn, pte_t bits) { return map(va, 1, pfn << 12 | PAGE_BITS | bits); }
int pt_map_large(va_t va, pfn_t pfn, pte_t bits) { return map(va, 2, pfn << 12 | PAGE_BITS | FH_PS | bits); }

/* An operation on the entry that maps va. */
static int change(unsigned op, va_t va, pte_t bits)
{
	unsigned level;

	if (!pt_entry(va, &level))
		return -FH_ENOENT;
	pfn_t table = fh_pte_pfn(*slot(va, level + 1));
	int64_t r = operate(op, FH_FLUSH_LOCAL, table, va, level, bits, va);
	return r < 0 ? (int)r : 0;
}

int pt_protect(va_t va, pte_t bits) { return change(FH_OP_PROTECT, va, PAGE_BITS | bits); }
int pt_unmap(va_t va) { return change(FH_OP_UNMAP_FREE, va, 0); }

int pt_trim(va_t va)
{
	int freed = 0;

	for (unsigned level = 1; level <= 3; level++) {
		bool way = true; /* down to the entry that names this table */
		for (unsigned l = 4; way && l > level; l--)
			way = (*slot(va, l) & (FH_P | (l < 4 ? FH_PS : 0))) == FH_P;
		if (!way)
			continue;
		pfn_t table = fh_pte_pfn(*slot(va, level + 1));
		pfn_t above = level == 3 ? root() : fh_pte_pfn(*slot(va, level + 2));
		if (fh_count(frame_record(table)->link) > 0)
			break;
		/* What we have read in the table may be in the TLB, as data of the window. */
		if (operate(FH_OP_UNLINK_FREE, FH_FLUSH_LOCAL, above, va, level + 1, 0, 0) != FH_OP_DONE)
			break;
		freed++;
	}
	return freed;
}

/* The operations from byte `offset` of the batch frame on; it may stop on the way. */
static int update(uint64_t offset, unsigned n)
{
	while (n > 0) {
		struct sys_result r = sys_pt_update(offset, n);
		if (r.rax == -FH_EAGAIN)
			wait_quiet();
		else if (r.rax < 0)
			return (int)r.rax;
		offset += r.rdx * sizeof(struct fh_op);
		n -= (unsigned)r.rdx;
	}
	return 0;
}

int pt_map_run(va_t va, pfn_t pfn, size_t n, pte_t bits)
{
	uint64_t offset, size;
	struct fh_op *op = batch_area(&offset, &size);
	unsigned level, nops = 0, room = (unsigned)(size / sizeof(*op));
	va_t end = va + n * FH_PAGE;
	int r = 0;

	for (va_t at = va; at < end; at += FH_PAGE)
		if (pt_entry(at, &level))
			return -FH_EEXIST;
	for (va_t at = va; at < end && r == 0;) {
		unsigned first = index_of(at, 1);
		size_t count = 512 - first < (end - at) / FH_PAGE ? 512 - first : (end - at) / FH_PAGE;
		int64_t table = table_for(at, 1);
		if (table <= 0)
			return table ? (int)table : -FH_EEXIST;
		op[nops++] = (struct fh_op){fh_what(FH_OP_SET, 0, (pfn_t)table, first, (unsigned)count), pfn << 12 | PAGE_BITS | bits};
		at += count * FH_PAGE;
		pfn += count;
		if (nops == room || at == end) {
			r = update(offset, nops);
			nops = 0;
		}
	}
	return r;
}
