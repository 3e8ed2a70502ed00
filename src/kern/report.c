/*
 * report.c - what goes wrong, said: kernel bugs, boot refusals, root's faults, the refusal ring, Ctrl-P.
 */
#include "console.h"
#include "epoch.h"
#include "frame.h"
#include "lapic.h"
#include "thread.h"

struct ksym { uint64_t address; const char *name; };
extern const struct ksym ksyms[]; /* made from the linked kernel, sorted by address */
extern const unsigned long nksyms;
extern char image_text[], image_rodata[];

static const char *const names[] = {
#define FH_X(number, name, nargs, args) [number] = #name,
	FH_SYSCALLS(FH_X)
#undef FH_X
};
static const char *const types[] = {
#define FH_X(name, number, text) [number] = #name,
	FH_TYPES(FH_X)
#undef FH_X
};

static void log_symbol(const char *what, uint64_t address)
{
	const struct ksym *best = NULL;
	for (unsigned long i = 0; i < nksyms && ksyms[i].address <= address; i++)
		best = &ksyms[i];
	bool text = address >= (uint64_t)image_text && address < (uint64_t)image_rodata;
	if (best && text)
		log_line("  %s %016lx %s+0x%lx", what, address, best->name, address - best->address);
	else
		log_line("  %s %016lx", what, address);
}

static void log_regs(const struct fh_regs *r)
{
	log_line("  rip %016lx rsp %016lx rflags %08lx cs %04lx ss %04lx", r->rip, r->rsp, r->rflags, r->cs, r->ss);
	log_line("  rax %016lx rbx %016lx rcx %016lx rdx %016lx", r->rax, r->rbx, r->rcx, r->rdx);
	log_line("  rsi %016lx rdi %016lx rbp %016lx r8  %016lx", r->rsi, r->rdi, r->rbp, r->r8);
	log_line("  r9  %016lx r10 %016lx r11 %016lx r12 %016lx", r->r9, r->r10, r->r11, r->r12);
	log_line("  r13 %016lx r14 %016lx r15 %016lx", r->r13, r->r14, r->r15);
}

/* Is this word of a kernel stack there to be read? */
static bool on_a_stack(uint64_t a)
{
	extern char start_stack_top[];
	uint64_t start = (uint64_t)start_stack_top;
	if (a % 8)
		return false;
	if (a >= start - 16384 && a < start - 8)
		return true;
	uint64_t area = PERCPU_BASE + mach_cpu() * PERCPU_SIZE;
	uint64_t off = a - area;
	for (unsigned i = 0; i < PERCPU_STACKS; i++)
		if (off >= percpu_stacks[i].off && off < percpu_stacks[i].off + percpu_stacks[i].bytes - 8)
			return true;
	return false;
}

static void log_backtrace(uint64_t rip, uint64_t rbp)
{
	log_line("backtrace:");
	log_symbol("at  ", rip);
	for (unsigned i = 0; i < 20 && on_a_stack(rbp) && on_a_stack(rbp + 8); i++) {
		log_symbol("from", ((uint64_t *)rbp)[1]);
		uint64_t next = *(uint64_t *)rbp;
		if (next <= rbp)
			break;
		rbp = next;
	}
}

static void log_calls(void)
{
	struct cpu *cpu = this_cpu();
	log_line("last system calls of CPU %u, newest first:", cpu->id);
	for (unsigned i = 1; i <= 8; i++) {
		uint64_t n = cpu->trace[(uint8_t)(cpu->calls - i)];
		if (n == TRACE_NONE)
			break;
		log_line("  %s (%lu)", n < FH_NSYSCALLS ? names[n] : "?", n);
	}
	if (cpu->trace[(uint8_t)(cpu->calls - 1)] == TRACE_NONE)
		return;
	struct syscall_frame *f = syscall_frame();
	log_line("the newest on the short path had: %lx, %lx, %lx, %lx; from rip %lx", f->rdi, f->rsi, f->rdx, f->r10, f->rip);
}

static bool percpu_ready; /* this_cpu() may be used */
static uint32_t dying;    /* 1 + the CPU that reports, in the others' stead too */

void report_ready(void) { percpu_ready = true; }

void last_words(void)
{
	uint32_t id = percpu_ready ? mach_cpu() + 1 : 1, first = 0;
	bool mine = atomic_cas(&dying, &first, id);
	if (!mine && first != id)
		mach_stop();
	console_dying();
	if (!mine) /* a bug in the report itself */
		machine_exit(FH_EXIT_PANIC);
	if (percpu_ready)
		lapic_nmi_others();
}

void panic_at(uint64_t rip, uint64_t rbp)
{
	log_backtrace(rip, rbp);
	if (percpu_ready) {
		log_calls();
		dump_state();
	}
	machine_exit(FH_EXIT_PANIC);
}

void report_kernel_fault(const struct fh_regs *regs)
{
	static const char *const what[32] = {
		"divide error", "debug", "NMI", "breakpoint", "overflow", "bound", "invalid opcode", "no FPU", "double fault",
		"?", "invalid TSS", "no segment", "stack fault", "general protection", "page fault", "?", "x87", "alignment",
		"machine check", "SIMD"};
	if (regs->vector == 2 && atomic_get(&dying))
		mach_stop();
	last_words();
	const char *name = regs->vector < 32 && what[regs->vector] ? what[regs->vector] : "interrupt while not idle";
	log_line("freehold: KERNEL BUG: %s (vector %lu) error %lx address %016lx on CPU %u", name, regs->vector, regs->error,
	         read_cr2(), percpu_ready ? mach_cpu() : 0);
	if (regs->vector == 8 && !on_a_stack(regs->rsp - 8))
		log_line("  the stack pointer is in a guard page: kernel stack overflow");
	log_regs(regs);
	panic_at(regs->rip, regs->rbp);
}

void report_root_fault(const struct fh_regs *regs, uint64_t address)
{
	last_words();
	log_line("freehold: root faulted and has no handler left: vector %lu error %lx address %016lx", regs->vector,
	         regs->error, address);
	log_regs(regs);
	dump_state();
	machine_exit(FH_EXIT_BOOT);
}

static const char *state_name(uint32_t s)
{
	static const char *const states[] = {"STOPPED", "READY", "RUNNING", "SLEEPING", "FAULTED", "CHANGING"};
	return s <= FH_CHANGING ? states[s] : "?";
}

/* ENV and THREAD frames are rare: a pass over the table finds them, at most this many lines are printed. */
#define DUMP_LINES 64

void dump_state(void)
{
	uint64_t count[FH_NTYPES] = {0};
	unsigned lines = 0;
	log_line("---- state: clock %lu ----", clock_now());
	for (unsigned c = 0; c < ncpus; c++) {
		const struct fh_cpu *cpu = cpu_at(c)->frame;
		uint64_t epoch = tlb_clock->cpu[c].epoch;
		log_line(epoch == FH_EPOCH_INF ? "cpu %u: idle; slices begun %lu, idle %lu times"
		                               : "cpu %u: slices begun %lu, idle %lu times, thread %lx, root %lx, epoch %lu",
		         c, cpu->ticks, cpu->idle, fh_name_pfn(cpu->thread), epoch_cpu[c].root.n, epoch);
	}
	for (uint64_t n = 0; n < nframes; n++) {
		uint64_t state = state_of(pfn(n));
		unsigned type = fh_type(state);
		count[type < FH_NTYPES ? type : 0]++;
		if (type == FH_ENV && lines++ < DUMP_LINES)
			log_line("env %lx: parent %lx owns %lu of %lu%s%s", n, fh_owner(state),
			         fh_owned(env_at(pfn(n))->account), fh_quota(env_at(pfn(n))->account),
			         env_at(pfn(n))->account & FH_ACCOUNT_FROZEN ? " frozen" : "",
			         env_at(pfn(n))->account & FH_ACCOUNT_DEAD ? " dead" : "");
		if (type == FH_THREAD && lines++ < DUMP_LINES) {
			struct fh_thread *t = thread_at(pfn(n));
			log_line("thread %lx: env %lx %s rip %lx rsp %lx bells %lx wait %lx", n, fh_owner(state),
			         state_name(t->state), t->regs.rip, t->regs.rsp, t->bells, t->wait);
		}
	}
	for (unsigned t = 0; t < FH_NTYPES; t++)
		if (count[t])
			log_line("%lu frames %s", count[t], types[t]);
	log_line("---- end of state ----");
}

#ifdef DEBUG
struct fh_refusals *refusals; /* mapped read-only by all; NULL before it exists */

void refusal_note(unsigned error, const char *sentence)
{
	if (!refusals)
		return;
	uint64_t seq = atomic_plus(&refusals->next, 1);
	__typeof__(refusals->entry[0]) *e = &refusals->entry[seq % FH_REFUSALS];
	e->seq = seq;
	e->env = percpu_ready ? this_cpu()->env.n : 0;
	e->error = error;
	unsigned i = 0;
	for (; sentence[i] && i < sizeof e->text - 1; i++)
		e->text[i] = sentence[i];
	e->text[i] = 0;
}
#endif
