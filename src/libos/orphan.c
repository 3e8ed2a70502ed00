/*
 * orphan.c - frames of ours that we no longer map while a forked child still does. The child may not free them, so they
 * are remembered here, and freed once nothing refers to them (env_reap looks).
 *
 * An entry may be out of date: its frame freed by somebody else, and perhaps ours again for another purpose. While it is
 * mapped its references protect it; code that keeps frames without a reference calls orphan_forget, and if it has just
 * claimed them, holds the lock from before: else orphan_collect would free a frame between the two.
 */
#include <string.h>

#include "env.h"
#include "meta.h"
#include "spacewalk.h"

static struct {
	struct lock lock;
	pfn_t *pfn; /* kit memory; guarded by lock, as the rest */
	size_t n, capacity;
} orphans;

void orphan_lock(void) { lock_take(&orphans.lock); }
void orphan_unlock(void) { lock_give(&orphans.lock); }

static bool ours(pfn_t pfn)
{
	uint64_t state = frame_record(pfn)->state;
	return fh_type(state) == FH_DATA && fh_owner(state) == env_self();
}

/* Room for one more. False: no memory; then the frame stays ours until the env dies. */
static bool make_room(void)
{
	if (orphans.n < orphans.capacity)
		return true;
	size_t capacity = orphans.capacity ? 2 * orphans.capacity : 512;
	pfn_t *more = meta_alloc(capacity * sizeof(pfn_t));
	if (!more)
		return false;
	if (orphans.pfn) {
		memcpy(more, orphans.pfn, orphans.n * sizeof(pfn_t));
		meta_free(orphans.pfn, orphans.capacity * sizeof(pfn_t));
	}
	orphans.pfn = more;
	orphans.capacity = capacity;
	return true;
}

void orphan_note(pfn_t pfn)
{
	if (!ours(pfn))
		return;
	lock_take(&orphans.lock);
	if (make_room())
		orphans.pfn[orphans.n++] = pfn;
	lock_give(&orphans.lock);
}

void orphan_forget_locked(pfn_t pfn, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < orphans.n; i++)
		if (orphans.pfn[i] < pfn || orphans.pfn[i] >= pfn + n)
			orphans.pfn[kept++] = orphans.pfn[i];
	orphans.n = kept;
}

void orphan_forget(pfn_t pfn, size_t n)
{
	orphan_lock();
	orphan_forget_locked(pfn, n);
	orphan_unlock();
}

void orphan_collect(void)
{
	size_t kept = 0;

	if (!orphans.n)
		return;
	lock_take(&orphans.lock);
	for (size_t i = 0; i < orphans.n; i++) {
		pfn_t pfn = orphans.pfn[i];
		if (ours(pfn) && (fh_refs(frame_record(pfn)->state) || frame_put(pfn, 1) < 0))
			orphans.pfn[kept++] = pfn;
	}
	orphans.n = kept;
	lock_give(&orphans.lock);
}

void orphan_reset(void)
{
	orphans.lock.holder = orphans.n = orphans.capacity = 0;
	orphans.pfn = NULL; /* the parent's other threads may have been changing it */
}
