/*
 * upcall.c - faults and doorbells go to the thread's own handler, through its upcall frame (DESIGN 6).
 *
 * The upcall frame is user memory, pinned and reached by the direct map: each word of it is read once and bounded,
 * and what is taken from it (entry, stack, a saved context) only ever becomes user registers.
 */
#include "console.h"
#include "pt.h"
#include "thread.h"

void fault_running(uint64_t address)
{
	struct fh_thread *t = this_cpu()->thread;
	t->fault_address = address;
	if (same(this_cpu()->env, root_env))
		report_root_fault(&t->regs, address);
	thread_stop_self(FH_FAULTED);
}

static inline __attribute__((always_inline)) bool enter_handler(struct fh_regs *regs, uint64_t address)
{
	struct fh_thread *t = cpu_field(thread);
	struct fh_upcall *u = upcall_of(t);
	if (!u)
		return false;
	uint64_t depth = atomic_get(&u->depth), entry = atomic_get(&u->entry);
	if (depth >= atomic_get(&u->max_depth) || depth >= FH_UPCALL_SLOTS || !user_address(entry))
		return false;
	mach_count(FH_COUNT_UPCALLS);
	struct fh_context *slot = &u->slot[mach_index(depth, FH_UPCALL_SLOTS)];
	uint64_t lo = atomic_get(&u->resume_lo), hi = atomic_get(&u->resume_hi);
	if (regs->rip < lo || regs->rip >= hi) { /* else the slot still holds what was interrupted */
		copy_words((uint64_t *)&slot->regs, (const uint64_t *)regs, sizeof *regs / 8);
		slot->root = t->loaded;
	} else {
		slot->regs.vector = regs->vector;
		slot->regs.error = regs->error;
	}
	slot->address = address;
	atomic_set(&u->depth, depth + 1);
	regs->rip = entry;
	regs->rsp = atomic_get(&u->stack_top) - depth * atomic_get(&u->stack_stride);
	regs->rdi = atomic_get(&u->self_va) + offsetof(struct fh_upcall, slot) + depth * sizeof *slot;
	regs->rflags = FLAGS_FIXED;
	regs->cs = USER_CS, regs->ss = USER_DS; /* of 16 bits, by QEMU's virtual-8086 mode (MACHINE): iretq would fault */
	if (off_upcall_root(t))
		enter_root(t, t->upcall_root);
	return true;
}

bool upcall_enter(struct fh_regs *regs, uint64_t vector, uint64_t error, uint64_t address)
{
	regs->vector = vector;
	regs->error = error;
	return enter_handler(regs, address);
}

struct fh_regs *upcall(struct fh_regs *regs, uint64_t address)
{
	if (enter_handler(regs, address))
		return regs;
	fault_running(address);
	return schedule();
}

uint64_t upcall_open(const struct fh_thread *t)
{
	const struct fh_upcall *u = upcall_of(t);
	if (!u || atomic_get(&u->depth) || !atomic_get(&u->max_depth) || !user_address(atomic_get(&u->entry)))
		return 0;
	return ~atomic_get(&u->mask);
}

void upcall_bells(struct fh_regs *regs)
{
	struct fh_thread *t = cpu_field(thread);
	uint64_t bells = atomic_get(&t->bells);
	if (!bells)
		return;
	struct fh_upcall *u = upcall_of(t);
	if (!u)
		return;
	uint64_t due = bells & upcall_open(t);
	if (bells != due)
		atomic_or(&u->pending, bells & ~due);
	if (due && upcall_enter(regs, FH_VEC_DOORBELL, 0, due))
		atomic_and(&t->bells, ~due);
}

long upcall_return(struct fh_regs *regs)
{
	struct fh_thread *t = this_cpu()->thread;
	struct fh_upcall *u = upcall_of(t);
	uint64_t depth = u ? atomic_get(&u->depth) : 0;
	if (depth == 0 || depth > FH_UPCALL_SLOTS)
		return REFUSE(EINVAL, "no upcall to return from");
	struct fh_context *slot = &u->slot[mach_index(depth - 1, FH_UPCALL_SLOTS)];
	uint64_t root = atomic_get(&slot->root);
	if (root == 0 || (root != t->root && root != t->upcall_root))
		return REFUSE(EINVAL, "the slot names neither of the thread's roots");
	for (unsigned i = 0; i < sizeof *regs / 8; i++)
		((uint64_t *)regs)[i] = atomic_get((uint64_t *)&slot->regs + i);
	sanitize(regs);
	atomic_set(&u->depth, depth - 1);
	if (root != t->loaded)
		enter_root(t, root);
	return 0;
}

struct fh_regs *return_checked(struct fh_regs *regs)
{
	sanitize(regs);
	if (canonical(regs->rip))
		return regs;
	regs->vector = VECTOR_GP;
	regs->error = 0;
	return upcall(regs, 0);
}
