/*
 * syscall.c - the dispatch table, and what stands between registers and the transitions.
 *
 * Each handler checks everything, then commits what can't fail; a refusal changes nothing. Arguments are numbers, or
 * offsets into the calling thread's batch frame: no user address is ever followed.
 */
#include "console.h"
#include "env.h"
#include "epoch.h"
#include "grant.h"
#include "pt.h"
#include "thread.h"

#define ARGS uint64_t a, uint64_t b, uint64_t c, uint64_t d
#define UNUSED (void)a, (void)b, (void)c, (void)d

static pfn_t me(void) { return pfn(cpu_field(env.n)); }

/* [off, off + bytes) of the batch frame, or NULL. */
static void *batch(uint64_t off, uint64_t bytes)
{
	char *frame = batch_of(cpu_field(thread));
	if (!frame || off > PAGE || bytes > PAGE - off || off % 8 != 0)
		return NULL;
	return frame + mach_index(off, PAGE); /* PAGE itself only without bytes */
}
#define NO_BATCH REFUSE(EINVAL, "no batch frame, or the range is misaligned or leaves it")

static long sys_frame_alloc(ARGS) { return frame_alloc(me(), a, b, c, d); }
static long sys_frame_free(ARGS) { UNUSED; return frame_free(me(), a, b); }
static long sys_frame_retype(ARGS) { UNUSED; return frame_retype(me(), a, b); }
static long sys_frame_grant(ARGS) { UNUSED; return frame_grant(me(), a, b); }
static long sys_frame_take(ARGS) { UNUSED; return frame_take(me(), a, b); }
static long sys_frame_sync(ARGS) { UNUSED; return frame_sync(a, b); }

static long sys_pt_set(ARGS)
{
	UNUSED;
	return pt_set(me(), a, b, c, &syscall_frame()->rdx); /* the old entry: the caller's rdx */
}

static long sys_pt_update(ARGS)
{
	UNUSED;
	uint64_t *done = &syscall_frame()->rdx;
	struct fh_op *ops = b <= FH_BATCH_OPS && a % sizeof *ops == 0 ? batch(a, b * sizeof *ops) : NULL;
	*done = 0;
	return ops ? pt_update(me(), ops, b, done) : NO_BATCH;
}

#define FLUSH_RANGE_MAX 32

/* A range of user pages, or all; on this CPU, or on all that run the root's owner. */
static long sys_tlb_flush(ARGS)
{
	if (b == FH_TLB_NONE)
		return 0;
	uint64_t n = a ? a : this_cpu()->thread->loaded;
	pfn_t root = pfn(mach_index(n, nframes));
	if (b > FH_TLB_ALL || n >= nframes)
		return REFUSE(EINVAL, "unknown mode, or no root");
	if (fh_type(state_of(root)) != FH_PT4)
		return fh_type(state_of(root)) == FH_BUSY ? REFUSE(EBUSY, "another CPU is changing the frame")
		                                          : REFUSE(EINVAL, "the frame is no root");
	if (!authority(me(), owner_of(state_of(root))))
		return REFUSE(EPERM, "no authority over the root");
	if (d && (!user_address(c) || d > (FH_KERNEL_BASE - c) / PAGE || !user_address(c + d * PAGE - 1)))
		return REFUSE(EINVAL, "the range leaves user space");
	if (b == FH_TLB_ALL) {
		long r = flush_allowed();
		if (r == 0)
			flush_owner(owner_of(state_of(root)));
		return r;
	}
	if (d == 0 || d > FLUSH_RANGE_MAX)
		flush_local();
	else
		for (uint64_t i = 0; i < d; i++)
			mach_invlpg(c + i * PAGE);
	return 0;
}

static long sys_env_ctl(ARGS) { return env_ctl(me(), a, b, c, d); }

static long sys_thread_write(ARGS)
{
	UNUSED;
	struct fh_thread_args *args = batch(b, sizeof *args);
	return args ? thread_write(me(), a, args) : NO_BATCH;
}

static long sys_cpu_slice(ARGS) { UNUSED; return cpu_slice(me(), a, b, c); }

#define CONSOLE_MAX 128ul /* newlines scroll the screen: 130 instructions each */

static long sys_console_write(ARGS)
{
	UNUSED;
	const char *bytes = batch(a, b);
	return bytes ? (long)console_put(me(), bytes, MIN(b, CONSOLE_MAX)) : NO_BATCH;
}

static long sys_console_read(ARGS)
{
	UNUSED;
	char *bytes = batch(a, b);
	if (!same(me(), root_env) && env_name(me()) != atomic_get(&console_reader))
		return REFUSE(EPERM, "the console is read by root and the env that root named");
	if (!bytes || (c & ~FH_BELLS_USER))
		return NO_BATCH;
	long n = console_get(bytes, MIN(b, CONSOLE_MAX));
	if (c)
		console_listen(thread_name(this_cpu()->thread_pfn), c);
	return n;
}

static long sys_machine_halt(ARGS)
{
	UNUSED;
	if (!same(me(), root_env))
		return REFUSE(EPERM, "only root halts the machine");
	if (a > FH_HALT_MAX)
		return REFUSE(EINVAL, "halt codes are 0 to 63");
	machine_exit(FH_EXIT_HALT + a);
}

/* Calls 0 and 1 never come this way: the entry sends them to syscall_slow. */
static long sys_thread_switch(ARGS) { UNUSED; return -FH_ENOSYS; }
static long sys_thread_ctl(ARGS) { UNUSED; return -FH_ENOSYS; }

typedef long handler(ARGS);
#define FH_X(number, name, nargs, args) [number] = sys_##name,
handler *const syscall_table[] = {FH_SYSCALLS(FH_X)};
#undef FH_X
_Static_assert(sizeof syscall_table / sizeof *syscall_table == FH_NSYSCALLS, "one handler for each number");

/* A system call that is the libOS's to answer: it comes from outside the native range, or off the upcall root. */
static bool foreign(const struct fh_thread *t)
{
	uint64_t at = t->regs.rip - 2; /* of the syscall instruction */
	if (off_upcall_root(t))
		return true;
	return t->native_hi && (at < t->native_lo || at >= t->native_hi);
}

/* The whole context is in regs. Returns the regs to run. */
struct fh_regs *syscall_slow(struct fh_regs *regs)
{
	struct fh_thread *t = cpu_field(thread);
	uint64_t a = regs->rdi, b = regs->rsi, c = regs->rdx, d = regs->r10, number = regs->rax;
	if (foreign(t)) {
		regs->error = 0; /* the entry has set the vector */
		return upcall(regs, 0);
	}
	if (number == FH_SYS_thread_switch)
		regs = thread_switch(regs, a, b, c, d);
	else if (number == FH_SYS_thread_ctl)
		regs = thread_ctl(regs, a, b, c);
	else if (number < FH_NSYSCALLS) {
		regs->rax = syscall_table[mach_index(number, FH_NSYSCALLS)](a, b, c, d);
		regs->rdx = syscall_frame()->rdx;
	} else
		regs->rax = REFUSE(ENOSYS, "no such system call");
	return return_checked(regs);
}
