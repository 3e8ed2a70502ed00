/*
 * siblings.c - children for the demos of sharing. To each other they are strangers: all that each knows of the others is
 * their names, in a page that their parent shares with them; and they may ring each other, because it lists them.
 */
#include "demo.h"

#include "syscall.h"

#define SLOTS 8u
enum { BELL_GO = BELL_USER, BELL_TURN }; /* bits don't count: what may come twice before it is taken needs two */

volatile struct sibling *sibling;
static struct env *child[SIBLINGS];
static unsigned count;

static void wait_for(unsigned bell)
{
	while (sys_thread_switch(0, 0, 1ul << bell, 0) <= 0)
		;
}

static bool introduce(void)
{
	for (unsigned i = 0; i < count; i++) {
		for (unsigned k = 0; k < count; k++)
			if (i != k && env_admit(child[i]->name, child[k]->name) < 0)
				return false;
		sibling[i].thread = child[i]->thread_name;
		sibling[i].env = child[i]->name;
	}
	return true;
}

static _Noreturn void live(int (*run)(unsigned), unsigned i)
{
	wait_for(BELL_GO);
	exit(run(i));
}

bool siblings_start(unsigned n, int (*run)(unsigned i))
{
	sibling = (volatile struct sibling *)mm_map(0, FH_PAGE, RIGHT_R | RIGHT_W, MM_SHARED | MM_EAGER);
	for (count = 0; count < n; count++) {
		int r = env_fork(&child[count]);
		if (r == 0)
			live(run, count);
		if (r < 0)
			return !check(false, "env_fork: %s", error_name(r));
		slot_give(child[count]->thread_name, SLOTS); /* more than a fork gets: for threads and children of its own */
	}
	return introduce();
}

void siblings_go(void)
{
	for (unsigned i = 0; i < count; i++)
		sys_thread_switch(sibling[i].thread, 1ul << BELL_GO, 0, 0);
}

/* All slots that it has, and gets, are that CPU's. */
void sibling_pin(unsigned i, unsigned cpu)
{
	unsigned n = (unsigned)slot_take(child[i]->thread);

	for (unsigned slot = 0; slot < cpu_view(cpu)->nslices && n > 0; slot++)
		if (cpu_view(cpu)->slice[slot] == thread_main.name)
			n -= sys_cpu_slice(info->cpu_pfn[cpu], slot, sibling[i].thread) >= 0;
}

struct env *sibling_env(unsigned i) { return child[i]; }

void sibling_ready(unsigned me) { sibling[me].ready = true; }

void sibling_await(unsigned i)
{
	while (!sibling[i].ready && env_state(child[i]) == ENV_RUNNING)
		thread_sleep(1);
}

int sibling_reap(unsigned i, uint64_t *freed)
{
	int r = env_reap(&child[i], freed);
	return r < 0 ? check(false, "reaping child %u: %s", i, error_name(r)) : 0;
}

int siblings_end(void)
{
	int bad = 0;

	for (unsigned i = 0; i < count; i++) {
		if (!child[i])
			continue;
		if (env_wait(child[i]) != ENV_EXITED)
			env_report(child[i]);
		if (env_state(child[i]) != ENV_EXITED || env_status(child[i]))
			bad += check(false, "child %u failed: status %d", i, env_status(child[i]));
	}
	for (unsigned i = 0; i < count; i++)
		bad += child[i] ? sibling_reap(i, NULL) : 0;
	mm_unmap((va_t)sibling, FH_PAGE);
	return bad;
}

void ring(unsigned to) { sys_thread_switch(sibling[to].thread, 1ul << BELL_TURN, 0, 0); }
void ring_wait(void) { wait_for(BELL_TURN); }

void hand_over(unsigned to)
{
	ring(to);
	ring_wait();
}

volatile char *exchange(struct window *w, va_t va, size_t n, unsigned rights, unsigned other)
{
	pfn_t theirs;

	if (window_new(w) < 0 || window_show(w, 0, va, n, rights) < 0 || window_grant(w, sibling[other].env) < 0)
		return NULL;
	while (!(theirs = granted_next(0, FH_PT1, fh_name_pfn(sibling[other].env))))
		thread_sleep(1);
	int64_t at = window_link(theirs, RIGHT_R | RIGHT_W, miss, NULL);
	return mm_failed(at) ? NULL : (volatile char *)at;
}

/* ---- Touching what may not be there ---- */

static volatile bool trying;
struct missed missed;

enum answer miss(struct region *r, struct fault *f)
{
	(void)r;
	if (!trying)
		return FAULT_KILL;
	missed = (struct missed){f->address, f->error};
	f->context->regs.rip = f->context->regs.rbx;
	return FAULT_DONE;
}

int try_read(const volatile void *p)
{
	int byte = -1;

	trying = true;
	__asm__ volatile("leaq 1f(%%rip), %%rbx\n\tmovzbl (%1), %0\n1:" : "+r"(byte) : "r"(p) : "rbx", "memory");
	trying = false;
	return byte;
}

bool try_write(volatile void *p, char byte)
{
	missed.address = 0;
	trying = true;
	__asm__ volatile("leaq 1f(%%rip), %%rbx\n\tmovb %1, (%0)\n1:" : : "r"(p), "q"(byte) : "rbx", "memory");
	trying = false;
	return !missed.address;
}
