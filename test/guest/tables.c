/*
 * tables.c - page-table operations from user mode: what each does to the entry, to the machine and to the records, and what
 * the kernel refuses (invariants 4-7; HOSTILE 1-9, 13, 16, 17, 20, 23, 25, 38, 43, 45, 46).
 */
#include <string.h>

#include "raw.h"
#include "spacewalk.h"
#include "tap.h"

#define VA 0x300000000000ul /* our own corner: nothing of the kit's is near */
#define RW (FH_P | FH_W | FH_U | FH_NX)
#define RO (FH_P | FH_U | FH_NX)
#define LINK (FH_P | FH_W | FH_U)

static pfn_t pt4, pt3, pt2, pt1, data; /* the tables over VA; a DATA frame of ours */
static pte_t old;                      /* entry before the last operation */

static int64_t op(unsigned opcode, uint64_t flags, pfn_t table, unsigned index, pte_t e, va_t va)
{
	struct sys_result r = sys_pt_set(fh_what(opcode, flags, table, index, 1), e, va);

	old = r.rdx;
	return r.rax;
}
static int64_t set(pfn_t table, unsigned index, pte_t e) { return op(FH_OP_SET, FH_FLUSH_LOCAL, table, index, e, 0); }
static int64_t clear(pfn_t table, unsigned index) { return op(FH_OP_CLEAR, FH_FLUSH_LOCAL, table, index, 0, 0); }
static uint64_t refs(pfn_t f) { return fh_refs(frame_record(f)->state); }
static unsigned type(pfn_t f) { return fh_type(frame_record(f)->state); }
static volatile uint64_t *at(unsigned page) { return (volatile uint64_t *)(VA + page * FH_PAGE); }
static pfn_t free_frame(void) { return frames_first.next(&frames_first, 1, 1, 0); }

/* Does a write (read) of 8 bytes there fault? The instruction has 3 bytes, and is skipped. */
static volatile unsigned faults;
static enum answer skip3(struct fh_context *c)
{
	faults++;
	c->regs.rip += 3;
	return FAULT_DONE;
}
static bool write_faults(va_t va)
{
	on_upcall(14, skip3);
	faults = 0;
	__asm__ volatile("movq %%rcx, (%%rdi)" : : "D"(va), "c"(0x77ul) : "memory");
	on_upcall(14, NULL);
	return faults;
}
static bool read_faults(va_t va)
{
	uint64_t v = 0;

	on_upcall(14, skip3);
	faults = 0;
	__asm__ volatile("movq (%%rdi), %%rcx" : "+c"(v) : "D"(va) : "memory");
	on_upcall(14, NULL);
	return faults;
}

/* ---- One page ---- */

static void check_leaf(void)
{
	returns(set(pt1, 0, data << 12 | RW), FH_OP_DONE, "a frame of one's own is mapped");
	is((int64_t)refs(data), 1, "its record counts the reference (invariant 2)");
	is((int64_t)(*window_slot(VA, 1) & ~(FH_A | FH_D)), (int64_t)(data << 12 | RW), "the recursive window shows the entry");
	*at(0) = 1;
	ok((*window_slot(VA, 1) & (FH_A | FH_D)) == (FH_A | FH_D), "a write sets accessed and dirty, without a call");
	returns(op(FH_OP_READ, 0, pt1, 0, 0, 0), FH_OP_DONE, "READ");
	is((int64_t)old, (int64_t)(data << 12 | RW | FH_A | FH_D), "returns the entry with both");
	returns(op(FH_OP_PROTECT, FH_FLUSH_LOCAL, pt1, 0, FH_NX | 1ul << 52, VA), FH_OP_DONE, "PROTECT takes W away");
	is((int64_t)*window_slot(VA, 1), (int64_t)((data << 12 | RO | FH_A | FH_D) | 1ul << 52),
	   "keeps pfn, A and D, and sets the AVL bits as given");
	ok(write_faults(VA), "a write faults at once: the local flush named the page");
	ok(!read_faults(VA), "a read does not");
	returns(op(FH_OP_PROTECT, 0, pt1, 0, FH_W | FH_NX, VA), FH_OP_DONE, "PROTECT gives W back");
	ok(!write_faults(VA) && *at(0) == 0x77, "a write works, without any flush");
	returns(op(FH_OP_HARVEST, FH_FLUSH_LOCAL, pt1, 0, 0, VA), FH_OP_DONE, "HARVEST");
	ok((old & (FH_A | FH_D)) == (FH_A | FH_D) && !(*window_slot(VA, 1) & (FH_A | FH_D)), "returns A and D, and clears them");
	(void)*at(0);
	ok((*window_slot(VA, 1) & (FH_A | FH_D)) == FH_A, "a read sets A alone");
	*at(0) = 2;
	ok(*window_slot(VA, 1) & FH_D, "the next write sets D again (HOSTILE 38)");
	returns(op(FH_OP_NARROW, FH_FLUSH_LOCAL, pt1, 0, FH_NX, VA), FH_OP_DONE, "NARROW takes W away");
	ok((*window_slot(VA, 1) & (FH_W | FH_A | FH_D)) == (FH_A | FH_D) && write_faults(VA), "and keeps A and D; a write faults");
	returns(op(FH_OP_NARROW, 0, pt1, 0, FH_W, VA), FH_OP_DONE, "NARROW with more rights than there are");
	ok(!(*window_slot(VA, 1) & FH_W) && (*window_slot(VA, 1) & FH_NX), "gives none (HOSTILE 17)");
	returns(op(FH_OP_CLEAR, FH_FLUSH_LOCAL, pt1, 0, 0xabc00000000000feul & ~FH_PFN_FIELD & ~1ul, VA), FH_OP_DONE,
	        "CLEAR may leave a word of one's own");
	ok(*window_slot(VA, 1) == (0xabc00000000000feul & ~FH_PFN_FIELD & ~1ul) && refs(data) == 0, "stored raw; the reference is gone");
	ok(read_faults(VA), "a read faults");
	returns(op(FH_OP_NARROW, 0, pt1, 0, 0, 0), -FH_ENOENT, "NARROW of an empty slot");
	returns(op(FH_OP_PROTECT, 0, pt1, 0, FH_W, 0), -FH_ENOENT, "PROTECT of an empty slot");
	returns(op(FH_OP_HARVEST, 0, pt1, 0, 0, 0), FH_OP_DONE, "HARVEST of an empty slot finds nothing");
	returns(op(FH_OP_UNMAP_FREE, 0, pt1, 0, 0, 0), FH_OP_DONE, "UNMAP_FREE skips one, and clears the word");
	returns(set(pt1, 3, data << 12 | RO | FH_A | FH_D), FH_OP_DONE, "an entry may come with A and D set (HOSTILE 9)");
	returns(set(pt1, 4, data << 12 | RW), FH_OP_DONE, "and a frame be mapped twice");
	is((int64_t)refs(data), 2, "which counts two");
	*at(4) = 0x99;
	is((int64_t)*at(3), 0x99, "both show the same memory");
	returns(op(FH_OP_UNMAP_FREE, FH_FLUSH_LOCAL, pt1, 3, 0, VA + 3 * FH_PAGE), FH_OP_KEPT,
	        "UNMAP_FREE of one keeps the frame: it is still referred to");
	ok(type(data) == FH_DATA && refs(data) == 1, "as its record says");
	returns(clear(pt1, 4), FH_OP_DONE, "cleared");

	/* Claims. */
	pfn_t f = free_frame();
	returns(op(FH_OP_CLAIM, 0, pt1, 5, f << 12 | RW, 0), FH_OP_DONE, "CLAIM maps a FREE frame");
	ok(type(f) == FH_DATA && refs(f) == 1 && fh_owner(frame_record(f)->state) == env_self(), "which is then ours, DATA, once referred to");
	uint64_t sum = 0;
	for (unsigned i = 0; i < FH_PAGE / 8; i++)
		sum |= at(5)[i];
	is((int64_t)sum, 0, "and all zero (invariant 10)");
	returns(op(FH_OP_CLAIM, 0, pt1, 5, free_frame() << 12 | RW, 0), -FH_EEXIST, "CLAIM into a filled slot");
	returns(op(FH_OP_CLAIM, 0, pt1, 6, data << 12 | RW, 0), -FH_EBUSY, "CLAIM of a frame that isn't FREE");
	returns(op(FH_OP_CLAIM, 0, pt1, 6, free_frame() << 12, 0), -FH_EINVAL, "CLAIM with a word that is no leaf");
	returns(op(FH_OP_CLAIM, 0, pt2, 6, free_frame() << 12 | LINK, 0), -FH_EINVAL, "CLAIM of a table");
	returns(op(FH_OP_LINK_NEW, 0, pt1, 6, free_frame() << 12 | LINK, 0), -FH_EINVAL, "LINK_NEW in the lowest table");
	returns(op(FH_OP_UNMAP_FREE, FH_FLUSH_LOCAL, pt1, 5, 0, VA + 5 * FH_PAGE), FH_OP_DONE, "UNMAP_FREE");
	ok(type(f) == FH_FREE && read_faults(VA + 5 * FH_PAGE), "gives the frame back, and it is no longer there to read");
}

/* ---- Entries that must not be ---- */

static void refuse(struct tally *t, pfn_t table, unsigned index, pte_t e, int64_t want, const char *what)
{
	int64_t r = op(FH_OP_SET, 0, table, index, e, 0);

	if (r != want)
		count_bad(t, "%s (%#lx): %ld, wanted %s", what, e, r, error_name((int)want));
	if (r >= 0)
		clear(table, index);
}

static void check_refusals(void)
{
	struct tally t = {0};
	const uint64_t before = frames_owned();
	struct fh_frame records[] = {*(struct fh_frame *)frame_record(data), *(struct fh_frame *)frame_record(pt1)};
	pfn_t thread = fh_name_pfn(thread_self_name());

	refuse(&t, pt1, 9, data << 12 | (RW & ~FH_U), -FH_EINVAL, "U=0 (HOSTILE 6)");
	refuse(&t, pt1, 9, data << 12 | RW | FH_G, -FH_EINVAL, "G=1 (HOSTILE 5)");
	for (unsigned bit = 39; bit < 52; bit++)
		refuse(&t, pt1, 9, data << 12 | RW | 1ul << bit, -FH_EINVAL, "an address bit beyond memory, or reserved (HOSTILE 1)");
	refuse(&t, pt1, 9, info->nframes << 12 | RW, -FH_EINVAL, "a frame beyond the table");
	refuse(&t, pt1, 9, FH_PFN_FIELD | RW, -FH_EINVAL, "the last pfn there can be");
	refuse(&t, pt1, 9, data << 12 | RW | FH_PWT, -FH_EINVAL, "PWT on RAM (HOSTILE 4)");
	refuse(&t, pt1, 9, data << 12 | RW | FH_PCD, -FH_EINVAL, "PCD on RAM");
	refuse(&t, pt1, 9, data << 12 | RW | FH_PAT, -FH_EINVAL, "PAT on RAM: bit 7 (HOSTILE 3)");
	refuse(&t, pt1, 9, info->table_pfn << 12 | (uint64_t)RO | FH_PCD, -FH_EINVAL, "PCD on the ownership table");
	refuse(&t, pt1, 9, data << 12, -FH_EINVAL, "a non-present word that names a frame: L1TF (HOSTILE 8)");
	refuse(&t, pt1, 9, data << 12 | FH_W | FH_NX, -FH_EINVAL, "the same with other bits");
	refuse(&t, pt1, 9, 1ul << 12, -FH_EINVAL, "the same for frame 1");
	refuse(&t, pt2, 9, data << 12, -FH_EINVAL, "the same in a higher table");
	refuse(&t, pt2, 9, data << 12 | FH_PS, -FH_EINVAL, "the same as if large");
	refuse(&t, pt1, 9, pt1 << 12 | RW, -FH_EACCES, "a page table, writable (HOSTILE 13)");
	refuse(&t, pt1, 9, pt4 << 12 | RW, -FH_EACCES, "the root, writable");
	refuse(&t, pt1, 9, thread << 12 | RW, -FH_EACCES, "one's THREAD frame, writable");
	refuse(&t, pt1, 9, (uint64_t)env_self() << 12 | RW, -FH_EACCES, "one's ENV frame, writable");
	refuse(&t, pt1, 9, (uint64_t)info->table_pfn << 12 | RW, -FH_EACCES, "the ownership table, writable (HOSTILE 10)");
	refuse(&t, pt1, 9, (uint64_t)info->info_pfn << 12 | RW, -FH_EACCES, "the info page, writable");
	refuse(&t, pt1, 9, (uint64_t)info->clock_pfn << 12 | RW, -FH_EACCES, "the clock, writable");
	refuse(&t, pt1, 9, (uint64_t)info->cpu_pfn[0] << 12 | RW, -FH_EACCES, "a CPU frame, writable");
	static const uint64_t kernels[] = {0, 1, 5, 6, 0x9f, 0xf0, 0x100, 0x110};
	for (unsigned i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
		refuse(&t, pt1, 9, kernels[i] << 12 | RW, -FH_EPERM, "low memory, or the kernel (HOSTILE 10)");
		refuse(&t, pt1, 9, kernels[i] << 12 | RO, -FH_EPERM, "the same, read-only");
	}
	refuse(&t, pt1, 9, 0xb8ul << 12 | RW, -FH_EPERM, "the screen, which is root's");
	refuse(&t, pt1, 9, 0xfee00ul << 12 | RW, info->nframes > 0xfee00 ? -FH_EPERM : -FH_EINVAL, "the LAPIC");
	refuse(&t, pt1, 9, free_frame() << 12 | RW, -FH_EPERM, "a FREE frame (HOSTILE 12)");
	refuse(&t, pt1, 9, fh_name_pfn(info->root_env) << 12 | RO, -FH_EPERM, "one's parent's ENV frame (HOSTILE 11)");
	refuse(&t, pt1, 9, fh_name_pfn(info->root_thread) << 12 | RO, -FH_EPERM, "its THREAD frame");
	refuse(&t, pt1, 9, (uint64_t)info->tables[0] << 12 | RO, -FH_EPERM, "its root");
	refuse(&t, pt1, 9, (uint64_t)info->module[0].pfn << 12 | RO, -FH_EPERM, "its memory");
	refuse(&t, pt2, 9, pt2 << 12 | LINK, -FH_EBUSY, "a link to a table of the same level: a cycle (HOSTILE 16)");
	refuse(&t, pt2, 9, pt3 << 12 | LINK, -FH_EBUSY, "to one higher");
	refuse(&t, pt2, 9, pt4 << 12 | LINK, -FH_EBUSY, "to the root");
	refuse(&t, pt3, 9, pt1 << 12 | LINK, -FH_EBUSY, "two levels down (HOSTILE 15)");
	refuse(&t, pt2, 9, data << 12 | LINK, -FH_EBUSY, "to DATA (HOSTILE 19)");
	refuse(&t, pt2, 9, free_frame() << 12 | LINK, -FH_EBUSY, "to a FREE frame");
	refuse(&t, pt4, 9, (uint64_t)info->tables[1] << 12 | LINK, -FH_EPERM, "to a parent's table");
	refuse(&t, pt2, 9, pt1 << 12 | LINK | FH_PCD, -FH_EINVAL, "a link with cache bits");
	refuse(&t, pt3, 9, data << 12 | RW | FH_PS, -FH_EINVAL, "PS in a PT3: 1 GiB (HOSTILE 2)");
	refuse(&t, pt4, 9, data << 12 | RW | FH_PS, -FH_EINVAL, "PS in a PT4");
	refuse(&t, pt4, 9, pt4 << 12 | LINK, -FH_EACCES, "a self-map, writable (HOSTILE 16)");
	refuse(&t, pt4, 9, pt4 << 12 | RW, -FH_EACCES, "the same, NX");
	refuse(&t, pt4, 9, pt4 << 12 | FH_P | FH_U, -FH_EACCES, "a self-map, executable");
	none_bad(&t, "every entry that must not be is refused with its own error (invariants 4, 5, 7)");
	ok(frames_owned() == before && memcmp(&records[0].state, (const void *)&frame_record(data)->state, 8) == 0 &&
	       frame_record(pt1)->state == records[1].state && frame_record(pt1)->link == records[1].link,
	   "no refusal changed a count (HOSTILE 28)");

	t.bad = 0;
	for (unsigned opcode = 0; opcode < FH_NOPS; opcode++) {
		int64_t r = op(opcode, 0, pt4, FH_KERNEL_SLOT, opcode == FH_OP_SET ? pt3 << 12 | LINK : 0, 0);
		if (r != -FH_EINVAL)
			count_bad(&t, "operation %u: %ld", opcode, r);
	}
	for (unsigned n = 2; n <= 3; n++) {
		uint64_t offset, size;
		struct fh_op *b = batch_area(&offset, &size);
		b[0] = (struct fh_op){fh_what(FH_OP_READ, 0, pt4, 512 - n, n), 0};
		int64_t r = sys_pt_update(offset, 1).rax;
		if (r != -FH_EINVAL)
			count_bad(&t, "a run of %u into it: %ld", n, r);
	}
	none_bad(&t, "PML4[511] is the kernel's: no operation touches it, no run reaches it (invariant 6, HOSTILE 23)");

	t.bad = 0;
	const struct {
		uint64_t what;
		int64_t want;
	} bad[] = {
	    {fh_what(FH_OP_READ, 0, pt1, 0, 0), -FH_EINVAL},   {fh_what(FH_OP_READ, 0, pt1, 0, 2), -FH_EINVAL},
	    {fh_what(10, 0, pt1, 0, 1), -FH_EINVAL},           {fh_what(15, 0, pt1, 0, 1), -FH_EINVAL},
	    {fh_what(FH_OP_READ, 3ul << 4, pt1, 0, 1), -FH_EINVAL},
	    {fh_what(FH_OP_READ, 0, pt1, 0, 1) | 1ul << 7, -FH_EINVAL},
	    {fh_what(FH_OP_READ, 0, pt1, 0, 1) | 1ul << 30, -FH_EINVAL},
	    {fh_what(FH_OP_READ, 0, pt1, 0, 1) | 1ul << 31, -FH_EINVAL},
	    {fh_what(FH_OP_READ, 0, pt1, 0, 1) | 1ul << 59, -FH_EINVAL},
	    {fh_what(FH_OP_READ, 0, pt1, 0, 1) | 1ul << 63, -FH_EINVAL},
	    {fh_what(FH_OP_READ, 0, data, 0, 1), -FH_EINVAL},  {fh_what(FH_OP_READ, 0, 0, 0, 1), -FH_EINVAL},
	    {fh_what(FH_OP_READ, 0, info->nframes, 0, 1), -FH_EINVAL},
	    {fh_what(FH_OP_READ, 0, info->tables[0], 0, 1), -FH_EPERM},
	};
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int64_t r = sys_pt_set(bad[i].what, 0, 0).rax;
		if (r != bad[i].want)
			count_bad(&t, "word %#lx: %ld", bad[i].what, r);
	}
	static const va_t vas[] = {FH_KERNEL_BASE, ~0ul, 1ul << 47, 1ul << 63};
	for (unsigned i = 0; i < 4; i++)
		if (op(FH_OP_READ, FH_FLUSH_LOCAL, pt1, 0, 0, vas[i]) != -FH_EINVAL)
			count_bad(&t, "a flush of %#lx", vas[i]);
	none_bad(&t, "operation words with a count, opcode, flag, table or address out of range are refused (HOSTILE 37, 46)");
	returns(sys_tlb_flush(0, FH_TLB_LOCAL, FH_KERNEL_BASE - FH_PAGE, 2), -FH_EINVAL, "a flush may not reach into the kernel half");
	returns(sys_tlb_flush(0, FH_TLB_LOCAL, VA, ~0ul), -FH_EINVAL, "nor wrap");
	returns(sys_tlb_flush(0, FH_TLB_LOCAL, 0x7ffffffff000ul, 2), -FH_EINVAL, "nor reach into the hole");
	returns(sys_tlb_flush(0, FH_TLB_LOCAL, VA, 32), 0, "a range of 32 is flushed");
	returns(sys_tlb_flush(pt1, FH_TLB_LOCAL, 0, 0), -FH_EINVAL, "what is flushed is a root");
}

/* ---- Tables ---- */

static void check_links(void)
{
	pfn_t t = frame_get_typed(&frames_first, 0, FH_PT1);

	returns(set(pt2, 8, t << 12 | LINK), FH_OP_DONE, "a table is linked");
	returns(set(pt2, 9, t << 12 | (LINK & ~FH_W)), FH_OP_DONE, "once more, read-only (invariant 5)");
	is((int64_t)refs(t), 2, "which counts two");
	returns(set(t, 0, data << 12 | RW), FH_OP_DONE, "a page in it");
	const va_t first = VA + 8 * PLAN_LARGE, second = VA + 9 * PLAN_LARGE;
	*(volatile uint64_t *)first = 5;
	is((int64_t)*(volatile uint64_t *)second, 5, "is there at both addresses");
	ok(write_faults(second) && !write_faults(first), "and writable only where the link is");
	returns(op(FH_OP_NARROW, FH_FLUSH_LOCAL, pt2, 8, FH_NX, 0), FH_OP_DONE, "narrowing a link write-protects 2 MiB at once");
	ok(write_faults(first) && !read_faults(first), "a write faults then");
	returns(op(FH_OP_UNLINK_FREE, FH_FLUSH_LOCAL, pt2, 9, 0, 0), FH_OP_KEPT, "UNLINK_FREE keeps a table that is linked elsewhere");
	ok(type(t) == FH_PT1 && refs(t) == 1 && read_faults(second), "but unlinks it");
	returns(sys_frame_retype(t, FH_DATA), -FH_EBUSY, "a linked table can't be retyped (HOSTILE 29)");
	returns(op(FH_OP_UNLINK_FREE, FH_FLUSH_LOCAL, pt2, 8, 0, 0), FH_OP_KEPT, "nor is one freed that has entries");
	ok(type(t) == FH_PT1 && refs(t) == 0, "unlinked, not freed");
	returns(sys_frame_retype(t, FH_DATA), -FH_ENOTEMPTY, "nor retyped");
	returns(set(t, 0, 0), FH_OP_DONE, "emptied");
	returns(set(pt2, 8, t << 12 | LINK), FH_OP_DONE, "linked again");
	returns(op(FH_OP_UNMAP_FREE, 0, pt2, 8, 0, 0), -FH_EINVAL, "UNMAP_FREE is for leaves");
	returns(op(FH_OP_UNLINK_FREE, 0, pt1, 8, 0, 0), FH_OP_DONE, "UNLINK_FREE skips an empty slot");
	returns(op(FH_OP_UNLINK_FREE, FH_FLUSH_LOCAL, pt2, 8, 0, 0), FH_OP_DONE, "an empty table is unlinked and freed");
	is(type(t), FH_FREE, "it is FREE");
	t = free_frame();
	returns(op(FH_OP_LINK_NEW, 0, pt2, 8, t << 12 | LINK, 0), FH_OP_DONE, "LINK_NEW makes a FREE frame a table");
	ok(type(t) == FH_PT1 && refs(t) == 1 && fh_count(frame_record(t)->link) == 0, "of the level below, empty, linked once");
	returns(op(FH_OP_LINK_NEW, 0, pt2, 8, free_frame() << 12 | LINK, 0), -FH_EEXIST, "not into a filled slot");
	returns(op(FH_OP_LINK_NEW, 0, pt2, 9, data << 12 | LINK, 0), -FH_EBUSY, "and not of a frame that isn't FREE");
	returns(op(FH_OP_UNLINK_FREE, 0, pt2, 8, 0, 0), FH_OP_DONE, "it goes again");

	returns(set(pt4, 400, pt4 << 12 | RO), FH_OP_DONE, "a PT4 may name itself once more, read-only and NX");
	const volatile pte_t *self = (const volatile pte_t *)(0xffff000000000000ul | 400ul << 39 | 400ul << 30 | 400ul << 21 | 400ul << 12);
	ok(fh_pte_pfn(self[FH_WINDOW_SLOT]) == pt4, "and is read through that");
	ok(write_faults((va_t)self), "not written (invariant 5)");
	returns(op(FH_OP_PROTECT, 0, pt4, 400, FH_W | FH_NX, 0), -FH_EACCES, "nor made writable later (HOSTILE 17)");
	returns(op(FH_OP_PROTECT, 0, pt4, 400, 0, 0), -FH_EACCES, "nor executable");
	returns(clear(pt4, 400), FH_OP_DONE, "cleared");
	is((int64_t)self - (int64_t)self, 0, "the window of slot 509 stays");
}

static void check_other_types(void)
{
	pfn_t thread = fh_name_pfn(thread_self_name());
	const pfn_t shown[] = {pt1, pt4, thread, env_self(), info->table_pfn, info->info_pfn, info->clock_pfn, info->cpu_pfn[0]};
	struct tally t = {0};

	for (unsigned i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
		uint64_t before = refs(shown[i]);
		bool counted = i < 4;
		if (set(pt1, 20, shown[i] << 12 | RO) != FH_OP_DONE)
			count_bad(&t, "type %u is not shown", type(shown[i]));
		else if (refs(shown[i]) != before + counted)
			count_bad(&t, "type %u: %lu references, before %lu", type(shown[i]), refs(shown[i]), before);
		else if (read_faults(VA + 20 * FH_PAGE) || !write_faults(VA + 20 * FH_PAGE))
			count_bad(&t, "type %u is not readable, or is writable", type(shown[i]));
		if (op(FH_OP_PROTECT, 0, pt1, 20, FH_W | FH_NX, 0) != -FH_EACCES)
			count_bad(&t, "type %u is made writable (HOSTILE 17)", type(shown[i]));
		if (op(FH_OP_UNMAP_FREE, FH_FLUSH_LOCAL, pt1, 20, 0, VA + 20 * FH_PAGE) != FH_OP_KEPT || refs(shown[i]) != before)
			count_bad(&t, "type %u is freed by unmapping", type(shown[i]));
	}
	none_bad(&t, "tables, THREADs, ENVs, CPUs and the ownership table are shown read-only, and stay so (invariant 4)");
}

/* ---- 2 MiB ---- */

static int64_t free_all(pfn_t first)
{
	return frame_put(first, FH_LARGE_FRAMES);
}

static void check_large(void)
{
	pfn_t big = frame_get(&frames_large, FH_LARGE_FRAMES, FH_LARGE_FRAMES, 0, 0);
	const va_t va = VA + 16 * PLAN_LARGE;
	struct tally t = {0};

	if (!ok(big && big % FH_LARGE_FRAMES == 0, "512 aligned frames are ours"))
		return;
	returns(set(pt2, 16, big << 12 | RW | FH_PS), FH_OP_DONE, "one entry maps them");
	for (unsigned i = 0; i < FH_LARGE_FRAMES; i++)
		if (refs(big + i) != 1)
			count_bad(&t, "frame %u", i);
	none_bad(&t, "each counts a reference");
	*(volatile uint64_t *)(va + PLAN_LARGE - 8) = 7;
	is((int64_t)(*window_slot(va, 2) & (FH_A | FH_D)), (int64_t)(FH_A | FH_D), "a write anywhere in them sets A and D of the one entry");
	returns(sys_frame_free(big + 511, 1), -FH_EBUSY, "none of them can be freed (HOSTILE 29)");
	returns(sys_frame_retype(big + 5, FH_PT1), -FH_EBUSY, "or made a table");
	returns(set(pt1, 0, (big + 511) << 12 | RO), FH_OP_DONE, "one of them is mapped by a small entry, too");
	is((int64_t)at(0)[511], 7, "and is the same memory");
	returns(set(pt2, 16, big << 12 | RW | FH_PS), -FH_EEXIST, "a large entry goes only into an empty slot (HOSTILE 39)");
	returns(set(pt2, 16, pt1 << 12 | LINK), -FH_EEXIST, "and is not replaced by a link");
	returns(set(pt2, 17, big << 12 | FH_P | FH_W | FH_U | FH_PS), info->features & FH_HAS_LARGE_X ? (int64_t)FH_OP_DONE : -FH_EACCES,
	        "executable where the CPU has no multihit erratum");
	clear(pt2, 17);
	returns(set(pt2, 17, (big + 1) << 12 | RW | FH_PS), -FH_EINVAL, "it is aligned: bit 12 is PAT there (HOSTILE 3)");
	returns(set(pt2, 17, (big + 256) << 12 | RW | FH_PS), -FH_EINVAL, "to all 2 MiB");
	returns(set(pt2, 17, big << 12 | RW | FH_PS | FH_PCD), -FH_EINVAL, "and cached");
	returns(set(pt2, 17, (info->nframes & ~511ul) << 12 | RW | FH_PS), -FH_EINVAL, "it does not leave the table");
	returns(set(pt2, 17, 0 | RW | FH_PS), -FH_EACCES, "nor low memory");
	returns(set(pt2, 17, (uint64_t)info->table_pfn << 12 | RW | FH_PS), -FH_EACCES, "nor the ownership table, writable");
	returns(set(pt2, 17, (uint64_t)info->table_pfn << 12 | FH_P | FH_U | FH_PS), -FH_EACCES, "or executable");
	returns(set(pt2, 17, (uint64_t)info->table_pfn << 12 | RO | FH_PS), FH_OP_DONE, "read-only it is shown");
	returns(op(FH_OP_PROTECT, 0, pt2, 17, FH_W | FH_NX, 0), -FH_EACCES, "and not made writable");
	returns(clear(pt2, 17), FH_OP_DONE, "cleared");
	returns(op(FH_OP_NARROW, FH_FLUSH_LOCAL, pt2, 16, FH_NX, va), FH_OP_DONE, "a large entry is narrowed");
	ok(write_faults(va + 0x12340) && !read_faults(va + 0x12340), "and then faults on a write");
	returns(op(FH_OP_UNMAP_FREE, FH_FLUSH_LOCAL, pt2, 16, 0, va), FH_OP_KEPT, "UNMAP_FREE keeps the one still mapped elsewhere");
	t.bad = 0;
	for (unsigned i = 0; i < FH_LARGE_FRAMES; i++)
		if (type(big + i) != (i == 511 ? FH_DATA : FH_FREE))
			count_bad(&t, "frame %u is of type %u", i, type(big + i));
	none_bad(&t, "and frees the other 511");
	returns(clear(pt1, 0), FH_OP_DONE, "that one is unmapped");
	returns(sys_frame_free(big + 511, 1), 1, "and freed");

	returns(op(FH_OP_CLAIM, 0, pt2, 16, big << 12 | RW | FH_PS, 0), FH_OP_DONE, "CLAIM takes 512 FREE frames by one entry");
	uint64_t sum = 0;
	for (unsigned i = 0; i < PLAN_LARGE / 8; i += 64)
		sum |= ((volatile uint64_t *)va)[i];
	is((int64_t)sum, 0, "zeroed");
	returns(clear(pt2, 16), FH_OP_DONE, "cleared");
	returns(sys_frame_retype(big + 300, FH_PT1), 0, "one of them becomes a table");
	returns(set(pt2, 16, big << 12 | RW | FH_PS), -FH_EBUSY, "then no large entry covers it (HOSTILE 2, 13)");
	is((int64_t)refs(big), 0, "and the references taken so far are given back (HOSTILE 28)");
	returns(op(FH_OP_CLAIM, 0, pt2, 16, big << 12 | RW | FH_PS, 0), -FH_EBUSY, "nor a CLAIM");
	returns(sys_frame_retype(big + 300, FH_DATA), 0, "it is DATA again");
	returns(free_all(big), 0, "all are freed");
}

/* ---- Batches ---- */

static struct fh_op *batch;
static uint64_t batch_off;

static unsigned updated; /* operations done by the last update() */

/* pt_update until all n are done or one is refused (an interrupt ends a call early): how many calls it took. */
static unsigned update(unsigned n, int64_t *result)
{
	unsigned calls = 0;

	updated = 0;
	do {
		struct sys_result r = sys_pt_update(batch_off + updated * sizeof(*batch), n - updated);
		updated += (unsigned)r.rdx;
		*result = r.rax;
		calls++;
	} while (*result == 0 && updated < n && calls < 10000);
	return calls;
}

static void check_runs(void)
{
	struct tally t = {0};
	unsigned calls = 0, rounds = 0;
	uint64_t end = cpu_tsc() + 400 * info->tsc_khz, before = frames_owned();
	int64_t r;

	/* Rounds of claiming and freeing a whole table, for so long that the timer comes between. */
	while (cpu_tsc() < end) {
		pfn_t f = frames_first.next(&frames_first, 512, 1, 0);
		batch[0] = (struct fh_op){fh_what(FH_OP_CLAIM, 0, pt1, 0, 512), f << 12 | RW};
		calls += update(1, &r);
		for (unsigned slice = 0; slice < 1000 && (r == -FH_EAGAIN || r == -FH_EBUSY); slice++) {
			thread_yield(); /* the flushes of this slice are spent */
			calls += update(1, &r);
		}
		if (r < 0 || fh_what_status(batch[0].what) != FH_OP_DONE || fh_what_count(batch[0].what) != 0)
			count_bad(&t, "round %u: claims: %ld, word %#lx", rounds, r, batch[0].what);
		for (unsigned i = 0; i < 512; i += 73)
			if (fh_pte_pfn(window_slot(VA, 1)[i]) != f + i || *at(i) != 0)
				count_bad(&t, "round %u: slot %u is %#lx", rounds, i, window_slot(VA, 1)[i]);
		*at(100) = 1;
		batch[0] = (struct fh_op){fh_what(FH_OP_UNMAP_FREE, FH_FLUSH_LOCAL, pt1, 0, 512), 0};
		calls += update(1, &r);
		if (r < 0 || fh_what_status(batch[0].what) != FH_OP_DONE || !(batch[0].entry & FH_D))
			count_bad(&t, "round %u: frees: %ld, word %#lx, entry %#lx", rounds, r, batch[0].what, batch[0].entry);
		rounds++;
	}
	none_bad(&t, "%u runs of 512 slots, interrupted and called again, each do what they should (HOSTILE 43)", 2 * rounds);
	is((int64_t)frames_owned(), (int64_t)before, "and lose no frame");
	note("%u calls for %u runs", calls, 2 * rounds);
}

static void check_batches(void)
{
	struct tally t = {0};
	int64_t r;
	struct sys_result s;
	const struct {
		uint64_t off, n;
		int64_t want;
	} ranges[] = {
	    {8, 1, -FH_EINVAL}, {1, 1, -FH_EINVAL}, {FH_PAGE, 1, -FH_EINVAL}, {FH_PAGE - 16, 2, -FH_EINVAL}, {0, 257, -FH_EINVAL},
	    {0, 1ul << 60, -FH_EINVAL}, {16, (1ul << 60) - 1, -FH_EINVAL}, {~0ul - 15, 1, -FH_EINVAL}, {~0ul - 15, 2, -FH_EINVAL},
	    {1ul << 63, 1, -FH_EINVAL}, {FH_PAGE, 0, 0}, {0, 0, 0}, {~0ul & ~15ul, 0, -FH_EINVAL},
	};
	for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		s = sys_pt_update(ranges[i].off, ranges[i].n);
		if (s.rax != ranges[i].want || s.rdx != 0)
			count_bad(&t, "off %#lx, n %#lx: %ld, done %lu", ranges[i].off, ranges[i].n, s.rax, s.rdx);
	}
	none_bad(&t, "a range that is misaligned, leaves the batch frame or wraps is refused, and nothing is done (HOSTILE 46)");

	t.bad = 0;
	static const unsigned counts[][2] = {{0, 0}, {0, 513}, {0, 1023}, {511, 2}, {1, 512}, {500, 500}};
	for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		batch[0] = (struct fh_op){fh_what(FH_OP_READ, 0, pt1, counts[i][0], counts[i][1]), 0};
		if (sys_pt_update(batch_off, 1).rax != -FH_EINVAL)
			count_bad(&t, "index %u, count %u", counts[i][0], counts[i][1]);
	}
	none_bad(&t, "a count of 0 or one that leaves the table is refused");

	batch[0] = (struct fh_op){fh_what(FH_OP_SET, 0, pt1, 30, 1), data << 12 | RW};
	batch[1] = (struct fh_op){fh_what(FH_OP_SET, 0, pt1, 31, 1), data << 12 | RW | FH_G};
	batch[2] = (struct fh_op){fh_what(FH_OP_SET, 0, pt1, 32, 1), data << 12 | RW};
	struct fh_op second = batch[1], third = batch[2];
	update(3, &r);
	ok(r == -FH_EINVAL && updated == 1, "a batch stops at the first refusal: %s after %u", error_name((int)r), updated);
	ok(fh_what_status(batch[0].what) == FH_OP_DONE && memcmp(&batch[1], &second, 16) == 0 && memcmp(&batch[2], &third, 16) == 0,
	   "what came before stays done, what comes after is untouched");
	ok(window_slot(VA, 1)[30] && !window_slot(VA, 1)[31] && !window_slot(VA, 1)[32], "as the table shows");
	s = sys_pt_update(batch_off, 1);
	returns(s.rax, -FH_EINVAL, "an operation that was done does not run again: its status says so");
	clear(pt1, 30);

	/* A refusal in the middle of a run: the pages of `data` and a stranger's. */
	pfn_t pair = frame_get(&frames_first, 2, 1, 0, 0);
	frame_put(pair + 1, 1);
	batch[0] = (struct fh_op){fh_what(FH_OP_SET, 0, pt1, 40, 2), pair << 12 | RW};
	unsigned calls = update(1, &r);
	ok(r == -FH_EPERM && fh_what_index(batch[0].what) == 41 && fh_what_count(batch[0].what) == 1 &&
	       fh_pte_pfn(batch[0].entry) == pair + 1,
	   "a run that is refused in the middle stands advanced to there (%u calls)", calls);
	ok(window_slot(VA, 1)[40] && !window_slot(VA, 1)[41] && refs(pair) == 1, "with its first part done (HOSTILE 44)");
	returns(op(FH_OP_UNMAP_FREE, FH_FLUSH_LOCAL, pt1, 40, 0, 0), FH_OP_DONE, "which is undone");

	/* An operation that takes away what the next one works on. */
	pfn_t table = frame_get_typed(&frames_first, 0, FH_PT1);
	set(pt2, 50, table << 12 | LINK);
	batch[0] = (struct fh_op){fh_what(FH_OP_UNLINK_FREE, 0, pt2, 50, 1), 0};
	batch[1] = (struct fh_op){fh_what(FH_OP_SET, 0, table, 0, 1), data << 12 | RW};
	update(2, &r);
	ok(r == -FH_EINVAL && updated == 1 && type(table) == FH_FREE && refs(data) == 0,
	   "a table freed by the operation before is no table for the next (HOSTILE 45): %s", error_name((int)r));
	batch[0] = (struct fh_op){fh_what(FH_OP_SET, 0, pt1, 60, 1), data << 12 | RW};
	batch[1] = (struct fh_op){fh_what(FH_OP_UNMAP_FREE, 0, pt1, 60, 1), 0};
	batch[2] = (struct fh_op){fh_what(FH_OP_SET, 0, pt1, 61, 1), data << 12 | RW};
	update(3, &r);
	ok(r == -FH_EPERM && updated == 2 && type(data) == FH_FREE, "nor a frame freed by it a frame to map: %s",
	   error_name((int)r));
	data = frame_get(&frames_first, 1, 1, 0, 0);

	/* The batch frame itself is what is unmapped: it is pinned, and reached by its frame number. */
	const va_t va = info->batch_va;
	pfn_t over = space_table(space_current(), va, 1), frame = frame_at((void *)va);
	pte_t entry = space_get(space_current(), va);
	batch[0] = (struct fh_op){fh_what(FH_OP_UNMAP_FREE, FH_FLUSH_LOCAL, over, pt_index(va, 1), 1), 0};
	batch[1] = (struct fh_op){fh_what(FH_OP_READ, 0, pt1, 0, 1), 0};
	update(2, &r); /* its second call, if there is one, is by the frame's number, too */
	bool still = type(frame) == FH_DATA && refs(frame) == 1;
	int64_t again = op(FH_OP_SET, FH_FLUSH_LOCAL, over, pt_index(va, 1), entry & ~(FH_A | FH_D), va);
	ok(r == 0 && updated == 2 && again == FH_OP_DONE && still, "a batch may unmap the batch frame: it is pinned, so it is kept (HOSTILE 25)");
	ok(fh_what_status(batch[0].what) == FH_OP_KEPT && fh_what_status(batch[1].what) == FH_OP_DONE, "and its statuses are in it");

	/* A batch in another env that takes the ground from under its own feet. */
	struct raw c;
	for (unsigned tries = 0;; tries++) {
		if (raw_new(&c, 64) < 0)
			panic("no child");
		pfn_t child_pt1 = frame_find(0, FH_PT1, c.env);
		c.batch[0] = (struct fh_op){fh_what(FH_OP_UNMAP_FREE, FH_FLUSH_LOCAL, child_pt1, pt_index(RAW_BASE, 1), RAW_PAGES), 0};
		c.batch[1] = (struct fh_op){fh_what(FH_OP_CLEAR, FH_FLUSH_LOCAL, c.root, 0, 1), 0};
		r = raw_call(&c, FH_SYS_pt_update, 0, 2, 0, 0);
		if (r != 0 || c.view->regs.rdx == 2 || tries == 10)
			break;
		raw_end(&c); /* an interrupt came between the two, and there is no code left to go on with */
	}
	ok(r == 0 && c.view->state == FH_FAULTED && c.view->regs.vector == 14,
	   "an env that unmaps its code, stack, upcall and batch frame and its whole address space faults, and that is all");
	ok(fh_what_status(c.batch[0].what) == FH_OP_KEPT && fh_what_status(c.batch[1].what) == FH_OP_DONE, "both operations were done");
	returns(raw_end(&c), 0, "it is buried");
}

int main(void)
{

	tap_begin();
	pt1 = space_table(space_current(), VA, 1);
	pt2 = space_table(space_current(), VA, 2);
	pt3 = space_table(space_current(), VA, 3);
	pt4 = space_current()->root;
	data = frame_get(&frames_first, 1, 1, 0, 0);
	batch_off = FH_PAGE * 3 / 4; /* the part for handlers within handlers (batch.h): nobody prints from there */
	batch = (struct fh_op *)(info->batch_va + batch_off);
	if (!pt1 || !pt2 || !pt3 || !data)
		panic("no tables");
	check_leaf();
	check_refusals();
	check_links();
	check_other_types();
	check_large();
	check_runs();
	check_batches();
	frame_put(data, 1);
	space_trim(space_current(), VA, VA + PLAN_GIB);
	return tap_end();
}
