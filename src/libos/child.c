/*
 * child.c - making a child env out of frames. Everything is done from outside, by the parent's authority over frames of
 * its descendants: allocate for the child, write through a scratch page, put into the child's tables.
 */
#include "child.h"

#include <errno.h>
#include <string.h>

#include "machine.h"
#include "meta.h"
#include "spacewalk.h"
#include "start.h"
#include "syscall.h"
#include "upcall.h"

#define CHUNK 32u /* pages written through scratch at once */

/* Serial of an ENV frame, its first word but one; of a THREAD frame, its first. */
static int env_name(struct env *e)
{
	struct fh_env env;
	int r = env_look(e->pfn, &env);

	e->name = fh_name(e->pfn, env.serial);
	return r;
}

/* Move quota to the child. */
static int give_quota(pfn_t env, uint64_t frames)
{
	uint64_t account = env_view()->account;
	uint64_t left = fh_quota(account) - fh_owned(account);

	return (int)sys_env_ctl(env, FH_ENV_QUOTA, frames ? frames : left / 2, 0);
}

static int make_thread(struct child *c)
{
	struct env *e = c->env;

	if (!(e->thread = frame_get_typed(c->space.frames, e->pfn, FH_THREAD)))
		return -ENOMEM;
	if (!(e->view = scratch_map(e->thread, 1, RIGHT_R)))
		return -ENOMEM;
	e->thread_name = fh_name(e->thread, e->view->serial);
	return 0;
}

/* The ownership table, at TABLE_VA. Our own level-2 table for that gibibyte holds nothing else: a child may share it,
 * read-only, unless another child does already (a foreign owner's link is the only one) or it isn't ours either. But then
 * the child can't do the same for its own: so only a fork does, which is made often and rarely forks again. */
static int map_table(struct space *s, bool share)
{
	pte_t ours = *window_slot(TABLE_VA, 3);
	pte_t link = pte_make(fh_pte_pfn(ours), RIGHT_R);
	pfn_t table = space_table(s, TABLE_VA, 3);

	if (share && table && info->table_frames * FH_PAGE <= PLAN_GIB &&
	    sys_pt_set(fh_what(FH_OP_SET, 0, table, pt_index(TABLE_VA, 3), 1), link, 0).rax >= 0)
		return 0;
	return space_map(s, TABLE_VA, info->table_pfn, info->table_frames, RIGHT_R | RIGHT_LARGE);
}

/* What the kernel lets everybody read. */
static int map_common(struct space *s, bool share)
{
	int r;

	if ((r = space_map(s, info->info_va, info->info_pfn, 1, RIGHT_R)) < 0 ||
	    (r = space_map(s, info->clock_va, info->clock_pfn, info->nclock, RIGHT_R)) < 0)
		return r;
	if (info->refusals_va && (r = space_map(s, info->refusals_va, info->refusals_pfn, 1, RIGHT_R)) < 0)
		return r;
	return map_table(s, share);
}

int child_new(struct child *c, const char *title, uint64_t quota, struct frames *frames, bool share)
{
	struct env *e = meta_alloc(sizeof(*e));
	int r;

	if (!e)
		return -ENOMEM;
	*c = (struct child){.env = e};
	strncpy(e->title, title, ENV_TITLE - 1);
	env_list_add(e);
	if (!(e->pfn = frame_get_typed(frames, 0, FH_ENV)))
		return child_abandon(c, -ENOMEM);
	if ((r = env_name(e)) < 0 || (r = give_quota(e->pfn, quota)) < 0 || (r = space_new(&c->space, e->pfn, frames)) < 0 ||
	    (r = make_thread(c)) < 0 || (r = map_common(&c->space, share)) < 0)
		return child_abandon(c, r);
	return 0;
}

int child_abandon(struct child *c, int error)
{
	struct env *e = c->env;

	space_unpeek(&c->space);
	if (c->space.root && e->pfn) { /* no thread has it as its root yet: reaping would have to search for it */
		table_drain(c->space.root, 4);
		frame_put_typed(c->space.root);
	}
	env_reap(&e, NULL);
	return error;
}

/* The part of [src, src + bytes), placed `lead` bytes after the range's start, that lies at [at, at + size) of it. */
static void copy_part(char *to, size_t at, size_t size, const char *src, size_t bytes, size_t lead)
{
	size_t from = at > lead ? at : lead, end = at + size < lead + bytes ? at + size : lead + bytes;

	if (from < end)
		memcpy(to + (from - at), src + (from - lead), end - from);
}

/* `n` pages, at byte `at` of the range: one run of frames, written, mapped in the child. */
static int place_run(struct space *s, va_t va, size_t n, unsigned rights, const char *src, size_t bytes, size_t lead,
                     size_t at)
{
	pfn_t pfn = frame_get(s->frames, n, 1, s->env, 0);

	if (!pfn)
		return -ENOMEM;
	if (at < lead + bytes) {
		char *window = scratch_map(pfn, n, RIGHT_R | RIGHT_W);
		if (!window) {
			frame_put(pfn, n);
			return -ENOMEM;
		}
		copy_part(window, at, n * FH_PAGE, src, bytes, lead);
		scratch_put((va_t)window, n);
	}
	int r = space_map(s, va + at, pfn, n, rights);
	if (r < 0)
		frame_put(pfn, n);
	return r;
}

int child_place(struct space *s, va_t va, size_t n, unsigned rights, const void *src, size_t bytes, size_t lead)
{
	size_t chunk = CHUNK, done = 0;

	while (done < n) {
		if (chunk > n - done)
			chunk = n - done;
		int r = place_run(s, va, chunk, rights, src, bytes, lead, done * FH_PAGE);
		if (r == -ENOMEM && chunk > 1) {
			chunk /= 2; /* memory is in pieces */
			continue;
		}
		if (r < 0)
			return r;
		done += chunk;
	}
	return 0;
}

int child_start(struct child *c, const struct fh_regs *regs, uint64_t fs_base, unsigned slots, bool stopped)
{
	struct env *e = c->env;
	uint64_t offset, size;
	int r;

	pfn_t upcall = fh_pte_pfn(space_get(&c->space, info->upcall_va)), batch = fh_pte_pfn(space_get(&c->space, info->batch_va));
	space_unpeek(&c->space); /* from here on the tables are the child's alone */
	struct fh_thread_args *a = batch_area(&offset, &size);
	*a = (struct fh_thread_args){
	    .fields = FH_SET_ALL,
	    .regs = *regs,
	    .fs_base = fs_base,
	    .gs_base = info->upcall_va,
	    .root = c->space.root,
	    .upcall = upcall,
	    .batch = batch,
	    .keeper = thread_self_name(),
	    .keeper_bits = 1ul << BELL_CHILD,
	};
	a->regs.rflags = 2;
	if ((r = (int)sys_thread_write(e->thread_name, offset)) < 0)
		return r;
	c->space.root = 0; /* the thread holds it now */
	if ((r = slot_give(e->thread_name, slots ? slots : (slot_count() + 1) / 2)) < 0)
		return r;
	return stopped ? 0 : (int)sys_thread_ctl(e->thread_name, FH_THREAD_START, 0);
}
