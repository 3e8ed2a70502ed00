/* 45: a batch that changes its own root, its own frame, or its own right midway (213). */
#include "hostile.h"

static struct fh_op *b;
static void is_op(unsigned i, unsigned o, pfn_t table, unsigned index, pte_t e)
{
	b[i] = (struct fh_op){fh_what(o, 0, table, index, 1), e};
}

void attack(void)
{
	struct tally t = {0};
	pfn_t table = table_new(FH_PT1), f = data_new(1, 1);

	b = batch_here();
#define RUN(n, r, d)                                                                                                   \
	do {                                                                                                               \
		want(&t, update(b, n), r, "a batch of %u", n);                                                                 \
		want(&t, updated, d, "operations done");                                                                       \
	} while (0)

	is_op(0, FH_OP_SET, pt2, 50, table << 12 | LINK);
	is_op(1, FH_OP_UNLINK_FREE, pt2, 50, 0);
	is_op(2, FH_OP_SET, table, 0, f << 12 | RW);
	RUN(3, -FH_EINVAL, 2);
	want(&t, type(table) == FH_FREE && refs(f) == 0, 1, "the table is FREE, the page untouched");
	is_op(0, FH_OP_SET, pt1, 60, f << 12 | RW);
	is_op(1, FH_OP_UNMAP_FREE, pt1, 60, 0);
	is_op(2, FH_OP_SET, pt1, 61, f << 12 | RW);
	RUN(3, -FH_EPERM, 2);
	want(&t, type(f) == FH_FREE, 1, "the frame is FREE");
	is_op(0, FH_OP_CLAIM, pt1, 60, f << 12 | RW);
	is_op(1, FH_OP_CLAIM, pt1, 61, f << 12 | RW);
	want(&t, update(b, 2), -FH_EBUSY, "one frame claimed twice");
	is_op(0, FH_OP_UNMAP_FREE, pt1, 60, 0);
	is_op(1, FH_OP_LINK_NEW, pt2, 50, f << 12 | LINK);
	RUN(2, 0, 2);
	is_op(0, FH_OP_SET, f, 0, f << 12 | RW);
	RUN(1, -FH_EACCES, 0);
	is_op(0, FH_OP_UNLINK_FREE, pt2, 50, 0);
	RUN(1, 0, 1);
	none_bad(&t, "what an operation has freed is no table and no frame for the next: EINVAL, EPERM, EBUSY");

	/* Its code, stack, upcall and batch page, then its whole tree; its authority over an env. */
	t.bad = 0;
	struct raw *v;
	int64_t r;
	for (unsigned tries = 0;; tries++) {
		v = victim(64);
		v->batch[0] =
			(struct fh_op){fh_what(FH_OP_UNMAP_FREE, FH_FLUSH_LOCAL, table_of(v, FH_PT1), pt_index(RAW_BASE, 1), RAW_PAGES), 0};
		v->batch[1] = (struct fh_op){fh_what(FH_OP_CLEAR, FH_FLUSH_LOCAL, v->root, 0, FH_KERNEL_SLOT), 0};
		v->batch[2] = (struct fh_op){fh_what(FH_OP_READ, 0, v->root, 0, 1), 0};
		r = raw_call(v, FH_SYS_pt_update, 0, 3, 0, 0);
		if (r != 0 || v->view->regs.rdx == 3 || tries == 10)
			break;
		victim_end(v, &t); /* an interrupt came between, and there is no code left to go on with */
	}
	want(&t, r == 0 && v->view->regs.vector == 14, 1, "it runs to its end, and faults when back");
	want(&t, fh_what_status(v->batch[2].what), FH_OP_DONE,
	     "the status of the last, in a batch frame that is mapped nowhere there");
	victim_end(v, &t);
	none_bad(&t, "an env that unmaps its code, stack, batch frame and whole tree by one batch faults, and that is all");

	t.bad = 0;
	struct raw here;
	if (raw_here(&here) < 0)
		panic("no thread");
	pfn_t second = root_clone();
	struct fh_thread_args a = {.fields = FH_SET_ROOT, .root = second};
	want(&t, raw_write(&here, &a), 0, "on a second root");
	here.batch[0] = (struct fh_op){fh_what(FH_OP_CLEAR, FH_FLUSH_ALL, second, 0, 256), 0};
	here.batch[1] = (struct fh_op){fh_what(FH_OP_CLEAR, FH_FLUSH_ALL, second, 256, FH_KERNEL_SLOT - 256), 0};
	r = raw_call(&here, FH_SYS_pt_update, 0, 2, 0, 0);
	want(&t, r == 0 && here.view->regs.vector == 14, 1, "it clears the root it runs on");
	a.root = pt4;
	raw_write(&here, &a);
	raw_end(&here);
	struct fh_op *ops = batch_here();
	ops[0] = (struct fh_op){fh_what(FH_OP_CLEAR, 0, second, 0, FH_KERNEL_SLOT), 0};
	update(ops, 1);
	frame_put_typed(second);
	none_bad(&t, "a root cleared by the thread that runs on it: a fault of its own");

	t.bad = 0;
	struct fh_thread_args *own = (struct fh_thread_args *)batch_here();
	uint64_t off = (va_t)own - (va_t)thread_self()->batch;
	*own = (struct fh_thread_args){.fields = FH_SET_ROOT};
	want(&t, sys_thread_write(0, off), -FH_EINVAL, "no root");
	*own = (struct fh_thread_args){.fields = FH_SET_ROOT, .root = pt3};
	want(&t, sys_thread_write(0, off), -FH_EBUSY, "a PT3 for a root");
	*own = (struct fh_thread_args){.fields = FH_SET_REGS};
	want(&t, sys_thread_write(0, off), -FH_EBUSY, "its registers");
	none_bad(&t, "a running thread can't take its own root away, nor change its registers: EINVAL, EBUSY");
}
