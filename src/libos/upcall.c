/*
 * upcall.c - from the assembly entry to the handler of a vector, and what happens when there is none.
 *
 * Handler tables are the env's, masks are each thread's. Page faults go first to the regions; everything else costs the
 * saving of the FPU and SSE registers (2 instructions), so that handlers may be ordinary code.
 */
#include "upcall.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "console.h"
#include "layout.h"
#include "start.h"
#include "startup.h"
#include "syscall.h"
#include "thread.h"

/* What upcall.asm knows (offsets.inc). */
_Static_assert(offsetof(struct fh_upcall, depth) == 24, "UP_DEPTH");
_Static_assert(offsetof(struct fh_upcall, libos[UPCALL_LIBOS_ROOT]) == 112, "UP_LIBOS_ROOT");
_Static_assert(offsetof(struct fh_upcall, slot) == 256 && sizeof(struct fh_context) == 192, "UP_SLOT, CTX_SIZE");
_Static_assert(offsetof(struct fh_regs, r15) == 0 && offsetof(struct fh_regs, r8) == 56, "the order of the loads");
_Static_assert(offsetof(struct fh_regs, rbp) == 64 && offsetof(struct fh_regs, rax) == 112, "the order of the loads");
_Static_assert(offsetof(struct fh_regs, rip) == 136 && offsetof(struct fh_regs, rflags) == 152, "CTX_RIP, CTX_RFLAGS");
_Static_assert(offsetof(struct fh_regs, rsp) == 160 && offsetof(struct fh_context, root) == 184, "CTX_RSP, CTX_ROOT");
_Static_assert(FH_SYS_thread_ctl == 1 && FH_THREAD_RETURN == 2 && FH_UPCALL_SLOTS == 16, "numbers");

#define GENERAL_PROTECTION 13u
#define PAGE_FAULT 14u
#define VECTORS 33u /* 0-31 of the CPU; the last: FH_VEC_SYSCALL */

static upcall_handler *handlers[VECTORS];
static void (*bells[64])(uint64_t bits);

void upcall_dispatch(struct fh_context *);
extern const char upcall_entry[], upcall_resume_lo[], upcall_resume_hi[];

void upcall_prepare(struct fh_upcall *frame, va_t self_va, va_t stack_top)
{
	frame->entry = (uint64_t)upcall_entry;
	frame->stack_top = stack_top;
	frame->stack_stride = UPCALL_STRIDE;
	frame->depth = 0;
	frame->max_depth = UPCALL_DEPTH;
	frame->mask = ~0ul; /* doorbells wait for thread_switch, until on_bell */
	frame->resume_lo = (uint64_t)upcall_resume_lo;
	frame->resume_hi = (uint64_t)upcall_resume_hi;
	frame->self_va = self_va;
}

static unsigned vector_index(uint64_t vector)
{
	return vector < 32 ? (unsigned)vector : vector == FH_VEC_SYSCALL ? VECTORS - 1 : VECTORS;
}

int on_upcall(unsigned vector, upcall_handler *handler)
{
	if (vector_index(vector) == VECTORS)
		return -EINVAL;
	handlers[vector_index(vector)] = handler;
	return 0;
}

int on_bell(uint64_t bits, void (*handler)(uint64_t))
{
	uint64_t mask = upcall_word(UPCALL_OFFSET(mask));

	for (unsigned i = 0; i < 64; i++)
		if (bits >> i & 1)
			bells[i] = handler;
	upcalls_restore(handler ? mask & ~bits : mask | bits);
	return 0;
}

void upcalls_poll(void)
{
	if (upcall_depth()) /* doorbells come in at depth 0 only */
		return;
	upcall_word_swap(UPCALL_OFFSET(pending), 0);
	sys_thread_switch(0, 0, 0, 0); /* what waited comes in now, not at the next tick */
}

static void ring(uint64_t bits)
{
	for (unsigned i = 0; i < 64; i++)
		if (bits >> i & 1 && bells[i])
			bells[i](1ul << i);
}

/* All but the page faults of regions: the handler may use any register. */
static bool handle(struct fh_context *c)
{
	unsigned i = vector_index(c->regs.vector);
	struct fx_area fx;
	bool done = true;

	cpu_fx_save(&fx);
	if (c->regs.vector == FH_VEC_DOORBELL)
		ring(c->address);
	else
		done = i < VECTORS && handlers[i] && handlers[i](c) == FAULT_DONE;
	cpu_fx_restore(&fx);
	return done;
}

const char *upcall_where(uint64_t rip, char *buffer, size_t n)
{
	char name[32];
	uint64_t bias = rip >= layout_here.bias ? layout_here.bias : 0; /* the file doesn't know where it was moved */

	for (unsigned i = 0; i < info->nmodules; i++) {
		const char *file = info->strings + info->module[i].command;
		size_t len = strcspn(file, " ");
		if (strcmp(startup_name(file, name, sizeof(name)), program_name) != 0)
			continue;
		if (len > 4 && memcmp(file + len - 4, ".elf", 4) == 0)
			len -= 4;
		snprintf(buffer, n, "addr2line -fe %.*s.debug.elf %#lx", (int)len, file, rip - bias);
		return buffer;
	}
	/* Part of another's file, or of a module that is an archive. */
	snprintf(buffer, n, "addr2line -fe %s.debug.elf %#lx (find build -name %s.debug.elf)", program_name, rip - bias, program_name);
	return buffer;
}

void upcall_dispatch(struct fh_context *c)
{
	bool done = false;

	if (enter_upcall(c))
		return;
	if (c->regs.vector != PAGE_FAULT || handlers[PAGE_FAULT])
		done = handle(c);
	if (!done && c->regs.vector == PAGE_FAULT)
		done = fault_page(c);
	if (done)
		return;
	upcall_report(&c->regs, c->address, program_name);
	if (c->regs.vector == PAGE_FAULT)
		fault_explain(c->address, c->regs.error);
	if (c->regs.vector == GENERAL_PROTECTION)
		kputs("  a non-canonical address, a privileged instruction, or a bad selector\n");
	char command[128];
	printf("  where: %s\n", upcall_where(c->regs.rip, command, sizeof(command)));
	exit(128 + (int)(c->regs.vector & 127));
}

const char *upcall_vector_name(unsigned vector)
{
	static const char *const names[] = {
	    "divide error", "debug", "NMI", "breakpoint", "overflow", "bound", "invalid opcode", "no FPU", "double fault",
	    "9", "invalid TSS", "segment not present", "stack fault", "general protection", "page fault", "15", "FPU error",
	    "alignment check", "machine check", "SIMD error",
	};
	if (vector < sizeof(names) / sizeof(names[0]))
		return names[vector];
	return vector == FH_VEC_DOORBELL ? "doorbell" : vector == FH_VEC_SYSCALL ? "system call" : "?";
}

static void report_page_fault(uint64_t error, uint64_t address)
{
	const char *verb = error & FAULT_FETCH ? "execution" : error & FAULT_WRITE ? "write" : "read";
	printf("  %s at address %#lx: %s\n", verb, address, error & FAULT_PRESENT ? "not allowed" : "nothing mapped there");
}

void upcall_report(const struct fh_regs *r, uint64_t address, const char *what)
{
	printf("%s: %s (vector %lu, error %#lx) at rip %#lx\n", what, upcall_vector_name((unsigned)r->vector), r->vector,
	       r->error, r->rip);
	if (r->vector == PAGE_FAULT)
		report_page_fault(r->error, address);
	printf("  rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx\n", r->rax, r->rbx, r->rcx, r->rdx);
	printf("  rsi %016lx  rdi %016lx  rbp %016lx  rsp %016lx\n", r->rsi, r->rdi, r->rbp, r->rsp);
	printf("  r8  %016lx  r9  %016lx  r10 %016lx  r11 %016lx\n", r->r8, r->r9, r->r10, r->r11);
	printf("  r12 %016lx  r13 %016lx  r14 %016lx  r15 %016lx\n", r->r12, r->r13, r->r14, r->r15);
	printf("  rflags %#lx\n", r->rflags);
}
