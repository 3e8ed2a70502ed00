/*
 * reap.c - the death of an env (DESIGN 7): freeze, stop its threads, empty its tables, free its frames, take the quota
 * back. Every step may be repeated.
 *
 * The short way knows the first thread and its space, which is all a simple child has. If the env then still owns
 * something (more threads, spaces, envs of its own, frames it mapped nowhere), the long way searches the ownership
 * table: whatever has an owner in the subtree goes, threads first, then tables from the roots down, then the rest, then
 * the ENV frames.
 */
#include <errno.h>

#include "child.h"
#include "meta.h"
#include "spacewalk.h"
#include "start.h"
#include "syscall.h"

#define PATIENCE 50u /* ms */

/* No CPU runs it any more. */
static int stop_thread(pfn_t thread) { return thread_stop(thread, ENV_KILLED); }

/* Unmap all that a table leads to, and take it out of a stranger's tree. A thread may still have it as its root: it can't
 * be freed yet. */
static int empty_table(pfn_t table)
{
	if (frame_record(table)->tenant || frame_record(table)->link >> 16) /* a window: the slot that links it */
		frame_grant(table, 0);
	return table_drain(table, fh_type(frame_record(table)->state) - FH_PT1 + 1);
}

static uint64_t owned_by(pfn_t env)
{
	struct fh_env e;
	return env_look(env, &e) < 0 ? 0 : fh_owned(e.account);
}

/* Move the quota back to the parent, and let go of the ENV frame. */
static int reap_env_frame(pfn_t env)
{
	struct fh_env e;
	int r = env_look(env, &e);

	if (r < 0)
		return r;
	sys_env_ctl(env, FH_ENV_QUOTA, -fh_quota(e.account), 0);
	return frame_put_typed(env);
}

/* Frames that can't be freed change hands: to us. */
static int take_over(pfn_t pfn)
{
	int64_t r = frame_grant(pfn, 0); /* it may be another's to take */

	if (r == 0 && (r = frame_grant(pfn, env_self_name())) == 0)
		while ((r = sys_frame_take(pfn, 1)) == -EAGAIN)
			wait_quiet();
	return r < 0 ? (int)r : 0;
}

static int free_data(pfn_t pfn) { return frame_put(pfn, 1); }

static int free_env(pfn_t env) { return owned_by(env) ? 0 : reap_env_frame(env); }

/* One pass over the ownership table: do `act` to every frame of `type` owned in the subtree of `top`. */
static int sweep(pfn_t top, unsigned type, int (*act)(pfn_t))
{
	int bad = 0;

	for (pfn_t p = frame_find(0, type, 0); p; p = frame_find(p, type, 0)) {
		int r = env_below(fh_owner(frame_record(p)->state), top) && p != top ? act(p) : 0;
		bad = r < 0 ? r : bad;
	}
	return bad;
}

/* Freeze the envs of the subtree, and count what those below the top own. Returns how many were not frozen yet. */
static unsigned freeze(pfn_t top, uint64_t *below)
{
	unsigned fresh = 0;
	struct fh_env e;

	*below = 0;
	for (pfn_t p = env_next(0); p; p = env_next(p)) {
		if (!env_below(p, top) || env_look(p, &e) < 0)
			continue;
		*below += p != top ? fh_owned(e.account) : 0;
		fresh += !(e.account & FH_ACCOUNT_FROZEN) && sys_env_ctl(p, FH_ENV_FREEZE, 0, 0) == 0;
	}
	return fresh;
}

/* Nothing in the subtree runs any more. While some did, on other CPUs, they made envs, started threads, handed slots round. */
static void stop_all(pfn_t top, uint64_t *frames)
{
	uint64_t below;

	do
		sweep(top, FH_THREAD, stop_thread);
	while (freeze(top, &below));
	slot_take_env(top);
	*frames += below;
}

static int reap_search(pfn_t top, uint64_t *frames)
{
	/* First everything lets go, then everything goes. */
	static const struct {
		unsigned type;
		int (*act)(pfn_t);
	} passes[] = {
	    {FH_THREAD, stop_thread},  {FH_PT4, empty_table},    {FH_PT3, empty_table},    {FH_PT2, empty_table},
	    {FH_PT1, empty_table},     {FH_THREAD, frame_put_soon}, {FH_PT4, frame_put_soon}, {FH_PT3, frame_put_soon},
	    {FH_PT2, frame_put_soon},  {FH_PT1, frame_put_soon}, {FH_DATA, free_data},     {FH_DEVICE, take_over},
	    {FH_CPU, take_over},       {FH_ENV, free_env},
	};
	int r = 0;

	stop_all(top, frames);
	for (unsigned round = 0; round <= FH_ENV_DEPTH + PATIENCE && owned_by(top); round++) {
		if (round > FH_ENV_DEPTH) /* a CPU is slow in letting go */
			thread_sleep(1);
		for (unsigned i = 0; i < sizeof(passes) / sizeof(passes[0]); i++) {
			int bad = sweep(top, passes[i].type, passes[i].act);
			r = bad < 0 ? bad : r;
		}
	}
	return owned_by(top) ? (r < 0 ? r : -EBUSY) : 0;
}

/* The env's first thread, the space it ran in, the two frames it had pinned. What fails is left to the search. */
static void reap_first(pfn_t thread)
{
	struct fh_thread t;

	if (stop_thread(thread) < 0 || thread_look(thread, &t) < 0)
		return;
	slot_take(thread);
	if (t.root && table_drain(t.root, 4) < 0)
		return;
	if (frame_put_soon(thread) < 0) /* a second space shows it, for one */
		return;
	if (t.upcall)
		frame_put(t.upcall, 1);
	if (t.batch)
		frame_put(t.batch, 1);
	if (t.root && !fh_refs(frame_record(t.root)->state)) /* else other threads have it: the search's business */
		frame_put_typed(t.root);
}

static int reap(pfn_t env, pfn_t thread, uint64_t *freed)
{
	uint64_t frames = owned_by(env) + 1;
	int r = 0;

	sys_env_ctl(env, FH_ENV_FREEZE, 0, 0);
	if (thread)
		reap_first(thread);
	if (owned_by(env))
		r = reap_search(env, &frames);
	if (r == 0)
		r = reap_env_frame(env);
	orphan_collect();
	if (freed)
		*freed = frames;
	return r;
}

int env_reap_pfn(pfn_t env, uint64_t *freed)
{
	struct env *handle = env_list_find(env);

	if (handle)
		return env_reap(&handle, freed);
	return env == env_self() || !env_below(env, env_self()) ? -EPERM : reap(env, 0, freed);
}

int env_kill(struct env *e)
{
	int64_t r = sys_env_ctl(e->pfn, FH_ENV_FREEZE, 0, 0);
	return r < 0 ? (int)r : stop_thread(e->thread);
}

int env_reap(struct env **child, uint64_t *freed)
{
	struct env *e = *child;
	int r = 0;

	if (e->view) {
		scratch_put((va_t)e->view, 1); /* else the THREAD frame is referred to */
		e->view = NULL;
	}
	if (e->pfn && (r = reap(e->pfn, e->thread, freed)) < 0)
		return r;
	env_list_remove(e);
	meta_free(e, sizeof(*e));
	*child = NULL;
	return 0;
}
