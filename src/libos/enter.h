/*
 * enter.h - code in another address space of this env, which sees nothing of this program: a user context under a libOS
 * that plays its kernel. space_enter is to it what KVM_RUN is to a guest (Linux, Documentation/virt/kvm/api.rst): it runs the
 * registers there until an exception or a system call, and comes back with what that was.
 *
 * No mapping of this program is needed there, not even of its upcall frame: upcalls switch to the upcall root, which is the
 * running space (DESIGN 6). So a space is entered, and left, without a page table being changed.
 */
#pragma once

#include "abi.h"
#include "plan.h"

struct entry {
	pfn_t root;          /* a PT4 of ours */
	struct fh_regs regs; /* in: where and with what to go on. out: as it was interrupted; regs.vector, regs.error: by what,
	                      * FH_VEC_SYSCALL for a system call */
	uint64_t address;    /* out, page fault: the address that was touched */
};

/*
 * Run e->regs in the address space e->root on the calling thread until it faults or makes a system call. Doorbells come in
 * meanwhile as ever. SSE and x87 registers, FS and GS base are the thread's: shared by both sides. Outside handlers only.
 * 0; -EINVAL: the running space, or called in a handler; -EPERM, -EBUSY: not a root of ours.
 */
int space_enter(struct entry *e);
/* The calling thread won't enter `root` again just now, so that it may be freed (space_free does it). 0 or -errno. */
int space_left(pfn_t root);
