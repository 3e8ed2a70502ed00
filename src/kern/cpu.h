/*
 * cpu.h - what a CPU has for itself: stacks, descriptor tables, the thread that runs on it.
 */
#pragma once
#include "types.h"
#include "asm.h"
#include <mach.h>

struct tss {
	uint32_t reserved0;
	uint64_t rsp0, rsp1, rsp2; /* rsp0: end of the running thread's regs, so an interrupt saves right into them */
	uint64_t reserved1;
	uint64_t ist[7];
	uint64_t reserved2;
	uint16_t reserved3, iomap;
} __attribute__((packed));

#define TRACE_NONE (~1ul) /* no call yet */

/* In the per-CPU area, at gs:0 in the kernel. All (c): used by its own CPU only. */
struct cpu {
	uint32_t id, apic_id;
	uint64_t user_rsp;         /* scratch of the system-call entry */
	uint64_t stack_top;        /* 8 below a multiple of 16: nine pushes align it */
	struct fh_thread *thread;  /* running here; 0 when idle */
	uint64_t fast_calls;       /* calls that may return by the short path; 0: all become upcalls or need a look */
	uint64_t calls;            /* system calls so far; the low byte: where `trace` goes on */
	pfn_t env, thread_pfn;     /* of the running thread */
	struct fh_cpu *frame;
	unsigned slot;             /* slice that is running */
	bool timer_used;           /* the timer was set for a sleeper: set it again for the slice */
	uint64_t slice_end;        /* TSC */
	bool late;                 /* the slice was begun by another thread, which gave it up: the next is this one's, too */
	uint64_t gdt[8] __attribute__((aligned(16)));
	struct tss tss;
	uint64_t trace[256] __attribute__((aligned(1024))); /* numbers of the last system calls, a ring */
};

static inline struct cpu *cpu_at(unsigned id) { return (void *)(PERCPU_BASE + id * PERCPU_SIZE + PERCPU_CPU); }
static inline struct cpu *this_cpu(void) { return cpu_at(mach_cpu()); }

/* One field of this CPU's struct, by one instruction. */
#define cpu_field(f) ((__typeof__(((struct cpu *)0)->f))percpu_load(offsetof(struct cpu, f)))

/* What the system-call entry pushed, just below stack_top. */
struct syscall_frame { uint64_t rdi, rsi, rdx, r10, r8, r9, rflags, rip, rsp; };
static inline struct syscall_frame *syscall_frame(void)
{
	return (struct syscall_frame *)(cpu_field(stack_top) - sizeof(struct syscall_frame));
}

extern struct fh_info *info;

void cpu_check_features(void);        /* refuses machines that can't run Freehold */
void cpu_init(unsigned id);           /* descriptor tables, control registers, MSRs of this CPU */
void trap_init(void);                 /* fills the IDT, and loads it on this CPU */
void trap_load(void);                 /* loads it on this CPU */

_Static_assert(offsetof(struct cpu, id) == 0, "mach_cpu");
_Static_assert(offsetof(struct cpu, user_rsp) == CPU_USER_RSP, "asm.inc");
_Static_assert(offsetof(struct cpu, stack_top) == CPU_STACK_TOP, "asm.inc");
_Static_assert(offsetof(struct cpu, thread) == CPU_THREAD, "asm.inc");
_Static_assert(offsetof(struct cpu, fast_calls) == CPU_FAST_CALLS, "asm.inc");
_Static_assert(offsetof(struct cpu, calls) == CPU_CALLS, "asm.inc");
_Static_assert(offsetof(struct cpu, frame) == CPU_FRAME, "asm.inc");
_Static_assert(offsetof(struct cpu, trace) == CPU_TRACE, "asm.inc");
_Static_assert(sizeof(struct cpu) <= PAGE, "one frame of the per-CPU area");
_Static_assert(KBASE == KBASE_ASM && PERCPU_SIZE == PERCPU_MASK_ASM + 1 && PERCPU_CPU == PERCPU_CPU_ASM, "asm.inc");
_Static_assert(offsetof(struct fh_thread, regs) == THREAD_REGS, "asm.inc");
#define CHECK_REG(lower, UPPER) _Static_assert(offsetof(struct fh_regs, lower) == REGS_##UPPER, "asm.inc")
CHECK_REG(r15, R15); CHECK_REG(r14, R14); CHECK_REG(r13, R13); CHECK_REG(r12, R12); CHECK_REG(r11, R11);
CHECK_REG(r10, R10); CHECK_REG(r9, R9); CHECK_REG(r8, R8); CHECK_REG(rbp, RBP); CHECK_REG(rdi, RDI);
CHECK_REG(rsi, RSI); CHECK_REG(rdx, RDX); CHECK_REG(rcx, RCX); CHECK_REG(rbx, RBX); CHECK_REG(rax, RAX);
CHECK_REG(vector, VECTOR); CHECK_REG(rip, RIP); CHECK_REG(rflags, RFLAGS); CHECK_REG(rsp, RSP); CHECK_REG(ss, SS);
_Static_assert(FH_VEC_SYSCALL == VEC_SYSCALL, "asm.inc");
_Static_assert(FH_SYS_thread_ctl == SLOW_CALLS - 1, "calls below SLOW_CALLS need the whole context");
