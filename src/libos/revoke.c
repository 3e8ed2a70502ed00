/* revoke.c - asking for frames back, giving them, taking them. */
#include "revoke.h"

#include <errno.h>

#include "child.h"
#include "layout.h"
#include "machine.h"
#include "spacewalk.h"
#include "start.h"
#include "syscall.h"
#include "upcall.h"

/* ---- The child's side ---- */

static revoke_handler *give_frames;

static uint64_t unused_quota(uint64_t account) { return fh_quota(account) - fh_owned(account); }

uint64_t revoke_spare(uint64_t frames, uint64_t deadline)
{
	uint64_t before = fh_owned(env_view()->account);

	(void)frames, (void)deadline;
	space_lock(space_current());
	space_trim(space_current(), layout_mmap.lo, layout_mmap.hi);
	space_unlock(space_current());
	orphan_collect();
	uint64_t after = fh_owned(env_view()->account);
	return before > after ? before - after : 0;
}

static void on_request(uint64_t bits)
{
	const volatile struct fh_env *me = env_view();
	uint64_t frames = me->revoke_frames, unused = unused_quota(me->account);

	(void)bits;
	if (unused < frames)
		give_frames(frames - unused, me->revoke_deadline);
	unused = unused_quota(me->account);
	sys_env_ctl(0, FH_ENV_QUOTA, -(unused < frames ? unused : frames), 0);
}

int revoke_listen(revoke_handler *give)
{
	give_frames = give ? give : revoke_spare;
	on_bell(FH_BELL_REVOKE, on_request);
	return (int)sys_env_ctl(0, FH_ENV_LISTENER, thread_self_name(), 0);
}

size_t repossessed_next(uint64_t *seen, pfn_t pfn[], size_t max, uint64_t *lost)
{
	const volatile struct fh_env *me = env_view();
	size_t n = 0;

	for (; n < max && *seen < me->repossessed; ++*seen) {
		uint64_t entry = me->repossession[*seen % FH_REPOSSESSIONS];
		int32_t newer = (int32_t)((uint32_t)(entry >> 32) - (uint32_t)*seen);
		if (newer < 0 || (newer == 0 && !(entry & FH_PFN_MASK))) /* counted, but not written yet */
			break;
		if (newer == 0)
			pfn[n++] = entry & FH_PFN_MASK;
		else if (lost)
			++*lost;
	}
	return n;
}

/* ---- The parent's side ---- */

int64_t env_revoke(struct env *child, uint64_t frames, uint64_t ms)
{
	uint64_t deadline = cpu_tsc() + ms * info->tsc_khz;
	struct fh_env before, now;
	int64_t r = env_look(child->pfn, &before);

	if (r < 0 || (r = sys_env_ctl(child->name, FH_ENV_REVOKE, frames, deadline)) < 0)
		return r;
	do {
		thread_sleep(1);
		if ((r = env_look(child->pfn, &now)) < 0)
			return r;
	} while (fh_quota(before.account) - fh_quota(now.account) < frames && cpu_tsc() < deadline);
	return (int64_t)(fh_quota(before.account) - fh_quota(now.account));
}

/* Unmap and free up to n of the child's own pages. What the child changes at the same time is left alone. */
static void take_pages(struct space *s, uint64_t n)
{
	struct batch b;
	struct leaf leaf;

	batch_begin(&b, s->frames);
	for (va_t va = layout_mmap.lo; n > 0 && space_next(s, va, layout_mmap.hi, &leaf); va = leaf.va + pt_span(leaf.level)) {
		const volatile pte_t *link = space_slot(s, leaf.va, 2);
		uint64_t state = leaf.pte & FH_P ? frame_record(fh_pte_pfn(leaf.pte))->state : 0;
		if (!link || leaf.level != 1 || fh_type(state) != FH_DATA || fh_owner(state) != s->env || fh_refs(state) != 1)
			continue;
		batch_add(&b, FH_OP_UNMAP_FREE, FH_FLUSH_ALL, fh_pte_pfn(*link), pt_index(leaf.va, 1), 1, 0);
		n--;
	}
	batch_end(&b);
	space_unpeek(s);
}

int64_t env_repossess(struct env *child, uint64_t frames)
{
	struct space s = child_space(child);
	uint64_t taken = 0, unused;
	struct fh_env e;
	int64_t r;

	do { /* the child may be claiming others meanwhile, for which it still has the quota */
		take_pages(&s, frames - taken);
		if ((r = env_look(child->pfn, &e)) < 0)
			return r;
		unused = unused_quota(e.account);
		unused = unused < frames - taken ? unused : frames - taken;
		if (unused && sys_env_ctl(child->name, FH_ENV_QUOTA, -unused, 0) == 0)
			taken += unused;
	} while (unused && taken < frames);
	return (int64_t)taken;
}
