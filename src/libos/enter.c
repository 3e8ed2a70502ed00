/*
 * enter.c - there and back by upcalls. The way in: a fault at a known instruction, whose handler puts the registers and the
 * root of the other side into the context that it returns to. The way out: any upcall from another root; its handler notes
 * what happened and returns to after that instruction.
 */
#include "enter.h"

#include <errno.h>

#include "batch.h"
#include "env.h"
#include "frames.h"
#include "start.h"
#include "startup.h"
#include "syscall.h"
#include "thread.h"
#include "upcall.h"

extern const char enter_point[]; /* a ud2 */
__asm__(".pushsection .text\n"
        ".type enter_jump, @function\n"
        "enter_jump: push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n" /* the other side has all registers */
        "enter_point: ud2\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "ret\n"
        ".popsection");
void enter_jump(void);

/* What the thread does there: in the upcall frame, which every handler can reach. */
struct visit {
	struct entry *entry;
	struct fh_context home; /* where it left */
};

bool enter_upcall(struct fh_context *c)
{
	struct visit *v = (struct visit *)upcall_word(UPCALL_OFFSET(libos[UPCALL_LIBOS_VISIT]));

	if (!v || c->regs.vector == FH_VEC_DOORBELL)
		return false;
	if (c->regs.rip == (uint64_t)enter_point) {
		v->home = *c;
		c->root = v->entry->root;
		c->regs = v->entry->regs;
		return true;
	}
	if (c->root != v->entry->root)
		return false;
	v->entry->regs = c->regs;
	v->entry->address = c->address;
	*c = v->home;
	c->regs.rip += 2;
	return true;
}

/* The thread's root is what an upcall returns to; this program runs on the upcall root meanwhile. */
static int set_roots(pfn_t root, pfn_t upcall_root)
{
	uint64_t offset, size;
	struct fh_thread_args *a = batch_area(&offset, &size);

	*a = (struct fh_thread_args){.fields = FH_SET_ROOT, .root = root};
	if (thread_self()->view->upcall_root != upcall_root) {
		a->fields |= FH_SET_UPCALL_ROOT;
		a->upcall_root = upcall_root;
	}
	return (int)sys_thread_write(0, offset);
}

int space_enter(struct entry *e)
{
	pfn_t here = space_current()->root;

	if (upcall_depth() || e->root == here)
		return -EINVAL;
	if (thread_self()->view->root != e->root) {
		int r = set_roots(e->root, here);
		if (r < 0)
			return r;
	}
	struct visit v = {.entry = e};
	upcall_word_set(UPCALL_OFFSET(libos[UPCALL_LIBOS_VISIT]), (uint64_t)&v);
	enter_jump();
	upcall_word_set(UPCALL_OFFSET(libos[UPCALL_LIBOS_VISIT]), 0);
	return 0;
}

int space_left(pfn_t root)
{
	return thread_self()->view->root == root ? set_roots(space_current()->root, space_current()->root) : 0;
}
