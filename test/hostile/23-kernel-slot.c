/* 23: PML4[511], in a fresh, loaded or foreign PT4; kernel addresses, non-canonical and wrapping ones. */
#include "hostile.h"

static pfn_t fresh;
static volatile unsigned rounds;
static struct tally shared;

/* Each CPU runs over a root's slots from both sides of the kernel's. */
static void around(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	struct fh_op *b = batch_here();

	for (unsigned i = 0; i < 60; i++) {
		unsigned first = (i * 7 + me * 64) % 500;
		b[0] = (struct fh_op){fh_what(i % 2 ? FH_OP_SET : FH_OP_CLEAR, 0, fresh, first, FH_KERNEL_SLOT - first), 0};
		int64_t r = update(b, 1);
		b[1] = (struct fh_op){fh_what(FH_OP_SET, 0, fresh, first, 512 - first), 0};
		int64_t over = update(b + 1, 1);
		if (r != 0 || over != -FH_EINVAL)
			count_bad(&shared, "a run to slot 510: %ld; to 511: %ld", r, over);
	}
	__atomic_fetch_add(&rounds, 1, __ATOMIC_RELAXED);
}

void attack(void)
{
	struct tally t = {0};
	struct raw *v = victim(200);

	fresh = table_new(FH_PT4);
	const pfn_t roots[] = {pt4, fresh, v->root, STAGE->root, info->tables[0]};
	for (unsigned i = 0; i < 5; i++) {
		for (unsigned o = 0; o < 16; o++) {
			for (unsigned k = 0; k < 4; k++) {
				const pte_t e = (pte_t[]){0, pt3 << 12 | LINK, data << 12 | RW, free_frame() << 12 | LINK}[k];
				want(&t, sys_pt_set(fh_what(o, 0, roots[i], FH_KERNEL_SLOT, 1), e, 0).rax, i < 3 ? -FH_EINVAL : -FH_EPERM,
				     "operation %u on slot 511 of root %u", o, i);
			}
		}
		for (unsigned n = 2; n < 512; n += 3) {
			struct fh_op *b = batch_here();
			b[0] = (struct fh_op){fh_what(n % 2 ? FH_OP_READ : FH_OP_CLEAR, 0, roots[i], 512 - n, n), 0};
			want(&t, update(b, 1), i < 3 ? -FH_EINVAL : -FH_EPERM, "a run of %u to its end, root %u", n, i);
		}
	}
	none_bad(&t, "slot 511 of a loaded, a fresh, a child's, a stranger's PT4: no operation, no run touches it; EINVAL, EPERM");

	crew(around);
	const pte_t *ours = scratch_map(pt4, 1, RIGHT_R), *its = scratch_map(fresh, 1, RIGHT_R);
	none_bad(&shared, "%u CPUs clear runs that end beside it, at once: %u of them done", info->ncpus, rounds);
	uint64_t sum = 0;
	for (unsigned i = 0; i < FH_KERNEL_SLOT; i++)
		sum |= its[i];
	is((int64_t)(its[FH_KERNEL_SLOT] & ~FH_A), (int64_t)(ours[FH_KERNEL_SLOT] & ~FH_A),
	   "it is the same in the fresh root as in ours");
	is((int64_t)sum, 0, "and alone there");
	scratch_put((va_t)ours, 1), scratch_put((va_t)its, 1);
	frame_put_typed(fresh);

	t.bad = 0;
	static const va_t kernel[] = {FH_KERNEL_BASE,     FH_KERNEL_BASE + 0x100000, 0xfffffff000000000, 0xfffffff400000000,
	                              0xfffffff800000000, 0xffffffff80100000,        0xfffffffffffff000, ~7ul};
	static const va_t outside[] = {1ul << 47, 1ul << 63, 0x7fffffffffff + 1ul, 0xffff7ffffffffff8, 0x8000000000000000 | 1ul << 46};
	for (unsigned i = 0; i < 8 + 5; i++) {
		struct fh_regs regs = raw_regs(v, 0);
		unsigned expect = i < 8 ? 14 : 13;
		regs.rdi = i < 8 ? kernel[i] : outside[i - 8];
		want(&t, vector_of(v, "\x48\x8b\x07", 3, &regs), expect, "%#lx read", regs.rdi);
		want(&t, vector_of(v, "\x48\x89\x07", 3, &regs), expect, "%#lx written", regs.rdi);
		want(&t, vector_of(v, "\xff\xe7", 2, &regs), expect, "%#lx run", regs.rdi);
		regs.rsp = regs.rdi + 8;
		unsigned vector = vector_of(v, "\x50", 1, &regs);
		if (vector != expect && vector != 12)
			count_bad(&t, "%#lx pushed to: vector %u", regs.rdi, vector);
	}
	none_bad(&t, "kernel addresses and non-canonical ones: a fault of the program when read, written, run or used as a stack");
	victim_end(v, &t);
}
