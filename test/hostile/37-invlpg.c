/* 37: addresses for INVLPG that are non-canonical, in the kernel half, or become so by a count (279). */
#include "hostile.h"

void attack(void)
{
	struct tally t = {0};
	static const va_t bad[] = {FH_KERNEL_BASE, FH_KERNEL_BASE + FH_PAGE, 0xffffffff80000000, ~0ul, ~0xffful, 1ul << 47, 1ul << 63,
	                           0xffff7fffffffffff, 0x8000000000000000 | VA, FH_KERNEL_BASE | 1};
	static const struct {
		va_t va;
		uint64_t n;
	} ranges[] = {{FH_KERNEL_BASE - FH_PAGE, 2},
	              {FH_KERNEL_BASE - 32 * FH_PAGE, 33},
	              {0x7ffffffff000, 2},
	              {0x7fffffffffff, 2},
	              {VA, ~0ul},
	              {VA, 1ul << 52},
	              {VA, (1ul << 52) - 1},
	              {0, 1ul << 36},
	              {VA, 1ul << 63},
	              {0xffff800000000000, 1ul << 35},
	              {0, ~0ul}};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		for (unsigned o = FH_OP_READ; o < FH_NOPS; o++)
			want(&t, sys_pt_set(fh_what(o, FH_FLUSH_LOCAL, pt1, 9, 1), 0, bad[i]).rax, -FH_EINVAL, "operation %u, va %#lx", o,
			     bad[i]);
		for (uint64_t mode = FH_TLB_LOCAL; mode <= FH_TLB_ALL; mode++)
			for (uint64_t n = 1; n < 40; n += 6)
				want(&t, sys_tlb_flush(0, mode, bad[i], n), -FH_EINVAL, "%lu pages from %#lx", n, bad[i]);
	}
	for (unsigned i = 0; i < sizeof(ranges) / sizeof(*ranges); i++)
		for (uint64_t mode = FH_TLB_LOCAL; mode <= FH_TLB_ALL; mode++)
			want(&t, sys_tlb_flush(0, mode, ranges[i].va, ranges[i].n), -FH_EINVAL, "%#lx pages from %#lx", ranges[i].n,
			     ranges[i].va);
	none_bad(&t, "an address to flush in the kernel half, in the hole, or behind a count that wraps: EINVAL");
	t.bad = 0;
	static const va_t last[] = {0, 0x7ffffffff000, 0xffff800000000000, FH_KERNEL_BASE - FH_PAGE, WINDOW_VA, VA};
	for (unsigned i = 0; i < 6; i++) {
		want(&t, sys_tlb_flush(0, FH_TLB_LOCAL, last[i], 1), 0, "%#lx", last[i]);
		want(&t, op(FH_OP_READ, FH_FLUSH_LOCAL, pt1, 9, 0, last[i]), FH_OP_DONE, "READ with va %#lx", last[i]);
	}
	for (uint64_t mode = 3; mode && mode < 1ul << 63; mode *= 3)
		want(&t, sys_tlb_flush(0, mode, 0, 0), -FH_EINVAL, "mode %#lx", mode);
	for (uint64_t root = 1; root && root < 1ul << 62; root *= 5)
		if (sys_tlb_flush(root, FH_TLB_LOCAL, 0, 0) >= 0)
			count_bad(&t, "root %#lx", root);
	none_bad(&t, "every user page up to the edges is flushed; no other mode, no other root");
}
