/*
 * hello.c - one page by hand: no region, no allocator, no fault handler; just the table and three system calls' worth of
 * operations. Everything in src/libos is made of this. docs/libos.md walks through it.
 */
#include "kit.h"

#define PAGE_VA 0x500000000000ul /* any user address will do; nobody has mapped this one */
#define RIGHTS_RW (FH_P | FH_W | FH_U | FH_NX)
#define RIGHTS_LINK (FH_P | FH_W | FH_U)

/* A frame that nobody owns, found where everybody looks: in the ownership table, mapped read-only at TABLE_VA. */
static pfn_t any_free(void)
{
	static pfn_t at;
	while (++at < info->nframes)
		if (fh_type(frame_record(at)->state) == FH_FREE)
			return at;
	panic("no frame is free");
}

/* One operation on the entry of PAGE_VA in `table` of `level`; the kernel checks it against the table. */
static int64_t operate(unsigned op, uint64_t flags, pfn_t table, unsigned level, uint64_t entry)
{
	unsigned index = PAGE_VA >> (12 + 9 * (level - 1)) & 511;
	return sys_pt_set(fh_what(op, flags, table, index, 1), entry, PAGE_VA).rax;
}

int main(void)
{
	pfn_t table[5] = {[4] = space_current()->root}; /* by level: 4 is the PML4 */
	int64_t r = 0;

	for (unsigned level = 4; level > 1 && r >= 0; level--) {
		table[level - 1] = any_free();
		r = operate(FH_OP_LINK_NEW, 0, table[level], level, table[level - 1] << 12 | RIGHTS_LINK);
		printf("frame %#lx is now a PT%u, linked from frame %#lx: %s\n", table[level - 1], level - 1, table[level],
		       r < 0 ? error_name((int)r) : "ok");
	}
	pfn_t page = any_free();
	if (r >= 0)
		r = operate(FH_OP_CLAIM, 0, table[1], 1, page << 12 | RIGHTS_RW);
	if (r < 0)
		return 1;
	char *p = (char *)PAGE_VA;
	printf("frame %#lx is mapped at %p; entry %#lx\n", page, (void *)p, space_get(space_current(), PAGE_VA));
	__builtin_strcpy(p, "hello, frame");
	printf("\"%s\" written; the CPU has set A and D: entry %#lx, read without a system call\n", p,
	       space_get(space_current(), PAGE_VA));

	/* What the kernel is for: it refuses. A page table is never writable, so mapping this one with W fails. */
	r = operate(FH_OP_SET, 0, table[1], 1, table[1] << 12 | RIGHTS_RW);
	printf("my own page table, mapped writable: %s\n", error_name((int)r));

	r = operate(FH_OP_UNMAP_FREE, FH_FLUSH_LOCAL, table[1], 1, 0);
	for (unsigned level = 2; level <= 4 && r >= 0; level++)
		r = operate(FH_OP_UNLINK_FREE, 0, table[level], level, 0);
	sys_tlb_flush(0, FH_TLB_LOCAL, 0, 0); /* the window must not show the tables that are gone */
	printf("all given back: frame %#lx is %s again\n", page, frame_type_name(fh_type(frame_record(page)->state)));
	return r < 0;
}
