/*
 * siblings.c - children for the demos of sharing. To each other they are strangers: all that each knows of the others is
 * their names, in a page that their parent shares with them; and they may ring each other, because it lists them.
 */
#include "demo.h"

#define SLOTS 8u

volatile struct sibling *sibling;
static struct env *child[SIBLINGS];
static unsigned count;

static bool introduce(void)
{
	for (unsigned i = 0; i < count; i++) {
		for (unsigned k = 0; k < count; k++)
			if (i != k && env_admit(child[i]->name, child[k]->name) < 0)
				return false;
		sibling[i].thread = child[i]->thread_name;
	}
	for (unsigned i = 0; i < count; i++)
		sibling[i].env = child[i]->name; /* this is what they wait for */
	return true;
}

static _Noreturn void live(int (*run)(unsigned), unsigned i, unsigned n)
{
	while (!sibling[n - 1].env)
		thread_sleep(1);
	exit(run(i));
}

bool siblings_start(unsigned n, int (*run)(unsigned i))
{
	sibling = (volatile struct sibling *)mm_map(0, FH_PAGE, RIGHT_R | RIGHT_W, MM_SHARED | MM_EAGER);
	for (count = 0; count < n; count++) {
		int r = env_fork(&child[count]);
		if (r == 0)
			live(run, count, n);
		if (r < 0)
			return !check(false, "env_fork: %s", error_name(r));
		slot_give(child[count]->thread_name, SLOTS); /* more than a fork gets: for threads and children of its own */
	}
	return introduce();
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

void ring(unsigned to) { sys_thread_switch(sibling[to].thread, 1ul << BELL_USER, 0, 0); }

void ring_wait(void)
{
	while (sys_thread_switch(0, 0, 1ul << BELL_USER, 0) <= 0)
		;
}

void hand_over(unsigned to)
{
	sibling[to ^ 1].cpu = (unsigned)upcall_word(UPCALL_OFFSET(cpu));
	ring(to);
	ring_wait();
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
