/* share.c - windows, and pages passed on. */
#include "share.h"

#include <errno.h>

#include "layout.h"
#include "spacewalk.h"
#include "start.h"
#include "syscall.h"

int env_admit(uint64_t env, uint64_t caller)
{
	struct fh_env e;
	int64_t r = env_look(env ? fh_name_pfn(env) : env_self(), &e);

	for (unsigned i = 0; r == 0 && i < FH_ENV_CALLERS; i++) {
		if (e.callers[i] == caller)
			return 0;
		if (fh_type(frame_record(fh_name_pfn(e.callers[i]))->state) != FH_ENV) /* nobody, or nobody any more */
			return (int)sys_env_ctl(env, FH_ENV_CALLER, i, caller);
	}
	return r < 0 ? (int)r : -ENOSPC;
}

pfn_t granted_next(pfn_t after, unsigned type, pfn_t owner)
{
	pfn_t p = frame_find(after, type, owner);

	while (p && frame_record(p)->tenant != env_self_name())
		p = frame_find(p, type, owner);
	return p;
}

unsigned devices_take(void)
{
	pfn_t parent = fh_owner(frame_record(env_self())->state);
	unsigned n = 0;

	for (pfn_t p = 0; (p = granted_next(p, FH_DEVICE, parent)) != 0;)
		n += sys_frame_take(p, 1) == 1;
	return n;
}

unsigned devices_give(uint64_t env)
{
	unsigned n = 0;

	for (pfn_t p = 0; (p = frame_find(p, FH_DEVICE, env_self())) != 0;)
		n += (frame_record(p)->tenant == 0 || frame_grant(p, 0) == 0) && frame_grant(p, env) == 0;
	return n;
}

/* ---- The owner of a window ---- */

int window_new(struct window *w)
{
	w->table = frame_get_typed(space_current()->frames, 0, FH_PT1);
	return w->table ? 0 : -ENOMEM;
}

int window_show(struct window *w, unsigned at, va_t va, size_t n, unsigned rights)
{
	struct space *s = space_current();
	struct batch b;

	if (at > WINDOW_PAGES || n > WINDOW_PAGES - at)
		return -EINVAL;
	batch_begin(&b, s->frames);
	for (unsigned i = 0; i < n && !b.error; i++, va += FH_PAGE) {
		pte_t e = space_get(s, va);
		pfn_t pfn = fh_pte_pfn(e) + (e & FH_PS ? pt_index(va, 1) : 0);
		if (e & FH_P)
			batch_add(&b, FH_OP_SET, 0, w->table, at + i, 1, pte_make(pfn, rights));
		else
			b.error = -ENOENT;
	}
	return batch_end(&b);
}

int window_hide(struct window *w, unsigned at, size_t n)
{
	pfn_t last = 0;
	int64_t r;

	if (at > WINDOW_PAGES || n > WINDOW_PAGES - at)
		return -EINVAL;
	for (unsigned i = 0; i < n; i++) {
		struct sys_result old = sys_pt_set(fh_what(FH_OP_CLEAR, 0, w->table, at + i, 1), 0, 0);
		if (old.rax < 0)
			return (int)old.rax;
		if (old.rdx & FH_P)
			last = fh_pte_pfn(old.rdx);
	}
	/* The frame that lost its entry last has the newest stamp: when it is quiet, so are the others (DESIGN 4). */
	while ((r = last ? sys_frame_sync(last, 1) : 0) == -EAGAIN)
		wait_quiet();
	return r < 0 ? (int)r : 0;
}

int window_grant(struct window *w, uint64_t env) { return env ? frame_grant(w->table, env) : -EINVAL; }
int window_withdraw(struct window *w) { return frame_grant(w->table, 0); }

int window_free(struct window *w)
{
	int r;

	if ((r = window_withdraw(w)) < 0 || (r = window_hide(w, 0, WINDOW_PAGES)) < 0 || (r = frame_put_typed(w->table)) < 0)
		return r;
	w->table = 0;
	return 0;
}

/* ---- The tenant ---- */

static int link_at_gap(struct space *s, va_t va, pfn_t table, const struct region *r)
{
	pte_t link = pte_make(table, r->rights);
	int error = region_add(s, r);

	if (error < 0)
		return error;
	space_trim(s, va, va + PLAN_LARGE); /* an empty table may be left of what was there before */
	pfn_t above = space_table(s, va, 2);
	error = !above ? -ENOMEM : *space_slot(s, va, 2) ? -EEXIST : 0;
	if (error == 0)
		error = pt_one(s->frames, FH_OP_SET, 0, above, pt_index(va, 2), &link, 0);
	if (error < 0)
		region_cut(s, va, va + PLAN_LARGE);
	return error < 0 ? error : 0;
}

int64_t window_link(pfn_t table, unsigned rights, region_fault *fault, void *arg)
{
	struct space *s = space_current();

	if (!table) /* granted_next has found none */
		return -EPERM;
	space_lock(s);
	va_t va = region_gap(s, layout_mmap.lo, layout_mmap.hi, PLAN_LARGE, PLAN_LARGE);
	struct region r = {
	    .base = va,
	    .end = va + PLAN_LARGE,
	    .rights = (uint8_t)rights,
	    .fork = REGION_SKIP,
	    .fault = fault ? fault : fault_guard,
	    .arg = arg,
	    .name = "[window]",
	};
	int error = va ? link_at_gap(s, va, table, &r) : -ENOMEM;
	space_unlock(s);
	return error < 0 ? error : (int64_t)va;
}

int window_unlink(va_t va)
{
	struct space *s = space_current();
	int r = 0;

	space_lock(s);
	const volatile pte_t *slot = space_slot(s, va, 2);
	if (slot && *slot & FH_P && table_foreign(s, fh_pte_pfn(*slot))) {
		pte_t none = 0;
		r = pt_one(s->frames, FH_OP_CLEAR, space_flush(), space_table(s, va, 2), pt_index(va, 2), &none, 0);
	} else {
		r = space_drop(s, va, WINDOW_PAGES); /* withdrawn: what its fault function has put there instead */
	}
	if (r >= 0)
		r = region_cut(s, va, va + PLAN_LARGE);
	space_unlock(s);
	return r;
}

/* ---- Pages passed on ---- */

int64_t page_give(va_t va, uint64_t env)
{
	struct space *s = space_current();
	pte_t e;
	int r;

	space_lock(s);
	if ((r = space_split(s, va & ~(PLAN_LARGE - 1))) == 0)
		r = (e = space_get(s, va)) & FH_P ? 0 : -ENOENT;
	pfn_t pfn = r == 0 ? fh_pte_pfn(e) : 0;
	if (r == 0 && !frame_sole(pfn))
		r = fh_owner(frame_record(pfn)->state) == env_self() ? -EBUSY : -EPERM;
	if (r == 0) /* from here on no reference says that it is in use */
		orphan_forget(pfn, 1);
	if (r == 0 && (r = space_unmap(s, va, 1)) == 0 && (r = frame_grant(pfn, env)) < 0)
		space_map(s, va, pfn, 1, pte_rights(e));
	space_unlock(s);
	return r < 0 ? r : (int64_t)pfn;
}

static int map_own(pfn_t pfn, va_t va, unsigned rights)
{
	struct space *s = space_current();

	space_lock(s);
	int r = space_map(s, va, pfn, 1, rights);
	space_unlock(s);
	return r;
}

/* Ours from here on, and no orphan, before anybody collects those. */
static int64_t take(pfn_t pfn)
{
	orphan_lock();
	int64_t r = sys_frame_take(pfn, 1);
	if (r > 0)
		orphan_forget_locked(pfn, 1);
	orphan_unlock();
	return r;
}

int page_take(pfn_t pfn, va_t va, unsigned rights)
{
	int64_t r;

	while ((r = take(pfn)) == -EAGAIN)
		wait_quiet();
	if (r > 0 && (r = map_own(pfn, va, rights)) < 0)
		frame_put(pfn, 1);
	return r < 0 ? (int)r : 0;
}

int page_recall(pfn_t pfn, va_t va, unsigned rights)
{
	int r = frame_grant(pfn, 0);

	return r < 0 ? r : map_own(pfn, va, rights);
}
