/* envs.c - what two envs, or two threads, do with each other: copy-on-write, fork, ping-pong. */
#include <string.h>

#include "bench.h"

#define MIB_PAGES 256u
#define GO (1ul << BELL_USER)
#define STOP (1ul << (BELL_USER + 1))

/* In a child. The frame that will be claimed tells whether the kernel is going to zero it: not if it was ours last. */
static int64_t zeroed_next(void)
{
	struct frames *f = space_current()->frames;
	pfn_t next = f->cursor;

	if (next >= f->hi || !frame_is_free(next))
		return -1; /* the policy will have to search */
	return frame_record(next)->tenant != env_self_name();
}

static void cow_child(char *p)
{
	for (unsigned i = 0; i < MIB_PAGES; i++) {
		int64_t zeroed = zeroed_next();
		bench_begin();
		touch(p + i * FH_PAGE);
		BENCH_END(zeroed < 0 ? -1 : 1 + zeroed);
	}
	exit(0);
}

static void bury(struct env **child)
{
	MUST(env_wait(*child) == ENV_EXITED && env_status(*child) == 0);
	MUST(env_reap(child, NULL) == 0);
}

/* The first write to a page after fork, in the child, while the parent has it too: a copy. */
static void cow(char *p)
{
	bench_group();
	for (int k = 0; k < 8; k++) {
		struct env *child;
		int r = env_fork(&child);
		MUST(r >= 0);
		if (r == 0)
			cow_child(p);
		bury(&child);
		for (unsigned i = 0; i < MIB_PAGES; i++)
			touch(p + i * FH_PAGE);
	}
	bench_report("cow", 1);
}

/* The same in the parent after the child has died: nobody else has the page. */
static void cow_reuse(char *p)
{
	bench_group();
	for (int k = 0; k < 8; k++) {
		struct env *child;
		int r = env_fork(&child);
		MUST(r >= 0);
		if (r == 0)
			exit(0);
		bury(&child);
		for (unsigned i = 0; i < MIB_PAGES; i++) {
			bench_begin();
			touch(p + i * FH_PAGE);
			BENCH_END(0);
		}
	}
	bench_report("cow-reuse", 1);
}

static void fork_exit_wait(char *p)
{
	bench_group();
	for (int i = 0; i < 150; i++) {
		struct env *child;
		bench_begin();
		int r = env_fork(&child);
		if (r == 0)
			exit(0);
		enum env_state state = r < 0 ? ENV_FAULTED : env_wait(child);
		int reaped = state == ENV_EXITED ? env_reap(&child, NULL) : -1;
		BENCH_END(-1);
		MUST(reaped == 0);
	}
	bench_report("fork+exit+wait-1MiB", 1);
	MUST(mm_unmap((va_t)p, MIB_PAGES * FH_PAGE) == 0);
}

static void pong(void *peer)
{
	uint64_t to = (uint64_t)peer;
	int64_t got = sys_thread_switch(0, 0, GO | STOP, 0);

	while (got > 0 && !(got & STOP))
		got = sys_thread_switch(to, GO, GO | STOP, 0);
}

static void ping(const char *name, uint64_t to)
{
	for (int i = 0; i < 50; i++)
		sys_thread_switch(to, GO, GO, 0);
	bench_group();
	for (int i = 0; i < 2000; i++) {
		bench_begin();
		int64_t r = sys_thread_switch(to, GO, GO, 0);
		BENCH_END(0);
		MUST(r == GO);
	}
	bench_report(name, 1);
	sys_thread_switch(to, STOP, 0, 0);
}

static void ping_pong(void)
{
	uint64_t me = thread_main.name;
	struct thread *t = thread_new(pong, (void *)me, NULL);
	struct env *child;

	MUST(t);
	ping("ping-pong-threads", t->name);
	thread_join(t);
	int r = env_fork(&child);
	MUST(r >= 0);
	if (r == 0) {
		pong((void *)me);
		exit(0);
	}
	MUST(sys_env_ctl(0, FH_ENV_CALLER, 0, child->name) == 0);
	ping("ping-pong-envs", child->thread_name);
	bury(&child);
	MUST(sys_env_ctl(0, FH_ENV_CALLER, 0, 0) == 0);
}

void bench_envs(void)
{
	char *p = bench_touched(MIB_PAGES);

	cow(p);
	cow_reuse(p);
	for (unsigned i = 0; i < MIB_PAGES; i++)
		touch(p + i * FH_PAGE);
	fork_exit_wait(p);
	ping_pong();
}
