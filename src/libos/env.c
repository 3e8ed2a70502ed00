/* env.c - looking at envs and waiting for children. Making them is child.c, spawn.c, fork.c; ending them reap.c. */
#include "child.h"

#include <errno.h>

#include "console.h"
#include "machine.h"
#include "spacewalk.h"
#include "start.h"
#include "syscall.h"
#include "upcall.h"

struct env *env_list;
static struct lock list_lock;

void env_list_add(struct env *e)
{
	lock_take(&list_lock);
	e->next = env_list;
	env_list = e;
	lock_give(&list_lock);
}

void env_list_remove(struct env *e)
{
	lock_take(&list_lock);
	for (struct env **p = &env_list; *p; p = &(*p)->next) {
		if (*p == e) {
			*p = e->next;
			break;
		}
	}
	lock_give(&list_lock);
}

struct env *env_list_find(pfn_t env)
{
	lock_take(&list_lock);
	struct env *e = env_list;
	while (e && e->pfn != env)
		e = e->next;
	lock_give(&list_lock);
	return e;
}

void env_list_reset(void)
{
	list_lock.holder = 0;
	env_list = NULL;
}

pfn_t env_next(pfn_t after) { return frame_find(after, FH_ENV, 0); }

bool env_below(pfn_t env, pfn_t ancestor)
{
	for (unsigned depth = 0; env && depth <= FH_ENV_DEPTH; depth++) {
		if (env == ancestor)
			return true;
		pfn_t parent = fh_owner(frame_record(env)->state);
		if (parent == env) /* root owns itself */
			return false;
		env = parent;
	}
	return false;
}

/* Copy `n` bytes of a frame of this type that we may map read-only. */
static int look(pfn_t pfn, unsigned type, void *copy, size_t n)
{
	if (!pfn || pfn >= info->nframes || fh_type(frame_record(pfn)->state) != type)
		return -ESRCH;
	const volatile char *frame = scratch_map(pfn, 1, RIGHT_R);
	if (!frame)
		return -EPERM;
	for (size_t i = 0; i < n / 8; i++)
		((uint64_t *)copy)[i] = ((const volatile uint64_t *)frame)[i];
	scratch_put((va_t)frame, 1);
	return 0;
}

int env_look(pfn_t env, struct fh_env *copy) { return look(env, FH_ENV, copy, sizeof(*copy)); }
int thread_look(pfn_t thread, struct fh_thread *copy) { return look(thread, FH_THREAD, copy, sizeof(*copy)); }

const char *thread_state_name(unsigned state)
{
	static const char *const names[] = {"stopped", "ready", "running", "sleeping", "faulted", "changing"};
	return state < sizeof(names) / sizeof(names[0]) ? names[state] : "?";
}

/* Without a view it is being reaped, and could not be wholly. */
enum env_state env_state(const struct env *e)
{
	if (!e->view)
		return ENV_EXITED;
	uint32_t state = e->view->state;
	return state == FH_STOPPED ? ENV_EXITED : state == FH_FAULTED ? ENV_FAULTED : ENV_RUNNING;
}

int env_status(const struct env *e) { return e->view ? (int)(e->view->status & 255) : ENV_KILLED; }

enum env_state env_wait(struct env *e)
{
	enum env_state state;

	/* The bell may ring for another child, or have rung long ago: the state is what counts. */
	while ((state = env_state(e)) == ENV_RUNNING)
		sys_thread_switch(0, 0, 1ul << BELL_CHILD, 0);
	return state;
}

void env_report(const struct env *e)
{
	struct fh_thread t;

	if (thread_look(e->thread, &t) < 0)
		return;
	printf("env %#lx (%s), thread %#lx: faulted past its handlers\n", e->pfn, e->title, e->thread);
	upcall_report(&t.regs, t.fault_address, e->title);
}
