/* SPDX-License-Identifier: MIT */
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

#include "env.h"
#include "meta.h"
#include "spacewalk.h"
#include "start.h"
#include "syscall.h"

#define ROUNDS 1000u /* of waiting for CPUs to let go */

/* Stop a thread and turn its frame back. */
static int reap_thread(pfn_t thread)
{
	int64_t r = -EBUSY;

	for (unsigned i = 0; i < ROUNDS && r == -EBUSY; i++) {
		if (i)
			thread_yield();
		r = sys_thread_ctl(thread, FH_THREAD_STOP, 137); /* 128 + SIGKILL, if it had not stopped by itself */
	}
	return r < 0 ? (int)r : frame_put_typed(thread);
}

/* Free a table that is no longer linked, with all it leads to. */
static int reap_table(pfn_t table, unsigned type)
{
	int r = table_drain(table, type - FH_PT1 + 1);
	return r < 0 ? r : frame_put_typed(table);
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

/* One pass over the ownership table: everything of `type` owned in the subtree of `top`. */
static int sweep(pfn_t top, unsigned type)
{
	int bad = 0;

	for (pfn_t p = frame_find(0, type, 0); p; p = frame_find(p, type, 0)) {
		if (!env_below(fh_owner(frame_record(p)->state), top))
			continue;
		int r = 0;
		if (type == FH_ENV)
			r = owned_by(p) ? 0 : reap_env_frame(p);
		else if (type == FH_THREAD)
			r = reap_thread(p);
		else if (type == FH_DATA)
			r = frame_put(p, 1);
		else
			r = reap_table(p, type);
		bad = r < 0 ? r : bad;
	}
	return bad;
}

/* Nothing in the subtree runs or allocates any more. */
static void freeze(pfn_t top, uint64_t *frames)
{
	for (pfn_t p = env_next(0); p; p = env_next(p)) {
		if (p != top && env_below(p, top)) {
			sys_env_ctl(p, FH_ENV_FREEZE, 0, 0);
			*frames += owned_by(p);
		}
	}
}

static int reap_search(pfn_t top, uint64_t *frames)
{
	static const uint8_t order[] = {FH_THREAD, FH_PT4, FH_PT3, FH_PT2, FH_PT1, FH_DATA, FH_ENV};
	int r = 0;

	freeze(top, frames);
	slot_take_env(top);
	for (unsigned round = 0; round <= FH_ENV_DEPTH && owned_by(top); round++) {
		for (unsigned i = 0; i < sizeof(order); i++) {
			int bad = sweep(top, order[i]);
			r = bad < 0 ? bad : r;
		}
	}
	return owned_by(top) ? (r < 0 ? r : -EBUSY) : 0;
}

/* The env's first thread and the space it ran in. */
static void reap_first(pfn_t thread)
{
	struct fh_thread t;

	slot_take(thread);
	if (thread_look(thread, &t) < 0 || reap_thread(thread) < 0 || !t.root)
		return;
	if (fh_type(frame_record(t.root)->state) == FH_PT4)
		reap_table(t.root, FH_PT4);
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
	for (struct env **e = &env_list; *e; e = &(*e)->next) {
		if ((*e)->pfn == env) {
			struct env *handle = *e;
			return env_reap(&handle, freed);
		}
	}
	return env == env_self() || !env_below(env, env_self()) ? -EPERM : reap(env, 0, freed);
}

int env_kill(struct env *e)
{
	int64_t r = sys_env_ctl(e->pfn, FH_ENV_FREEZE, 0, 0);
	return r < 0 ? (int)r : (int)sys_thread_ctl(e->thread, FH_THREAD_STOP, 137);
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
	for (struct env **p = &env_list; *p; p = &(*p)->next) {
		if (*p == e) {
			*p = e->next;
			break;
		}
	}
	meta_free(e, sizeof(*e));
	*child = NULL;
	return 0;
}
