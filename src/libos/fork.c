/*
 * fork.c - copies of an address space: of this env's, as a second space (space_fork), or into a child env (env_fork).
 *
 * Each region says how it is copied. Copy-on-write: both sides map the frame read-only (here NARROW takes W away, many
 * pages to an operation) and marked PTE_FORKED, and the fault handler copies at the first write, or gives W back to the
 * last who has it. Pages still marked from an earlier fork need no NARROW.
 *
 * env_fork write-protects the stack it is called on. So it runs on a stack of its own, in .bss, which is never
 * copy-on-write; the child starts on its copy of it, puts the kit's records in order without a fault, and only then
 * steps back to the stack of the caller.
 */
#include <errno.h>
#include <string.h>

#include "child.h"
#include "heap.h"
#include "machine.h"
#include "meta.h"
#include "region.h"
#include "spacewalk.h"
#include "start.h"
#include "startup.h"
#include "syscall.h"
#include "upcall.h"

int64_t fork_call(uint64_t stack_top, int64_t (*f)(uint64_t saved, void *arg), void *arg);
_Noreturn void fork_return(uint64_t saved);

/* ---- The two ways to hand pages on ---- */

/* A parked page (PROT_NONE) has no reference that could be shared: the copy gets a frame of its own. */
static int copy_parked(struct space *to, va_t va, pfn_t pfn)
{
	pfn_t table = space_table(to, va, 1), copy = frame_get(to->frames, 1, 1, to->env, FH_ALLOC_KEEP);
	void *from = scratch_map(pfn, 1, RIGHT_R), *into = copy ? scratch_map(copy, 1, RIGHT_R | RIGHT_W) : NULL;
	pte_t word = pte_park(copy);
	int r = -ENOMEM;

	if (from && into && table) {
		memcpy(into, from, FH_PAGE);
		r = pt_one(to->frames, FH_OP_SET, 0, table, pt_index(va, 1), &word, 0);
	}
	if (from)
		scratch_put((va_t)from, 1);
	if (into)
		scratch_put((va_t)into, 1);
	if (r < 0 && copy)
		frame_put(copy, 1);
	return r < 0 ? r : 0;
}

/* Is b the page after a in a run that one operation can hand on? */
static bool continues(pte_t a, pte_t b, unsigned n)
{
	const uint64_t same = FH_P | FH_W | FH_NX | PTE_FORKED | PTE_MAY_WRITE;
	return fh_pte_pfn(b) == fh_pte_pfn(a) + n && !((a ^ b) & same);
}

/* Frames of our own ancestors, which we were handed by a fork ourselves, are not ours to hand on: they are copied. */
static bool borrowed(pte_t e)
{
	uint64_t state = frame_record(fh_pte_pfn(e))->state;
	return fh_type(state) == FH_DATA && fh_owner(state) != env_self();
}

/* The entries of one level-1 table in [at, stop): same frames in `to`, without W on both sides if `cow`. */
static int hand_chunk(struct space *to, struct space *from, struct batch *b, va_t at, va_t stop, bool cow)
{
	const volatile pte_t *slot = space_slot(from, at, 1);
	unsigned count = (unsigned)((stop - at) / FH_PAGE), index = pt_index(at, 1);
	pfn_t source, target = 0;

	if (!slot)
		return 0;
	source = fh_pte_pfn(*space_slot(from, at, 2));
	for (unsigned i = 0, n; i < count; i += n) {
		pte_t e = slot[i];
		n = 1;
		if (!e)
			continue;
		if (!target && !(target = space_table(to, at, 1)))
			return -ENOMEM;
		if (!(e & FH_P)) {
			if (pte_parked(e) && copy_parked(to, at + i * FH_PAGE, pte_parked(e)) < 0)
				return -ENOMEM;
			if (pte_promised(e))
				batch_add(b, FH_OP_SET, 0, target, index + i, 1, e);
			continue;
		}
		va_t va = at + i * FH_PAGE;
		if (borrowed(e)) {
			if (child_place(to, va, 1, pte_rights(e), (const void *)va, FH_PAGE, 0) < 0)
				return -ENOMEM;
			continue;
		}
		while (i + n < count && continues(e, slot[i + n], n) && !borrowed(slot[i + n]))
			n++;
		pte_t copy = cow ? pte_fork(fh_pte_pfn(e), pte_rights(e)) : e & ~(FH_A | FH_D);
		batch_add(b, FH_OP_SET, 0, target, index + i, n, copy);
		if (cow && !(e & PTE_FORKED))
			batch_add(b, FH_OP_NARROW, space_flush(), source, index + i, n, copy & ~FH_PFN_FIELD);
	}
	return 0;
}

/* A 2 MiB page. */
static int hand_large(struct space *to, struct space *from, struct batch *b, va_t va, pte_t e, bool cow)
{
	pte_t copy = (cow ? pte_fork(fh_pte_pfn(e), pte_rights(e)) : e & ~(FH_A | FH_D)) | FH_PS;
	unsigned index = pt_index(va, 2);
	pfn_t target = space_table(to, va, 2);

	if (!target)
		return -ENOMEM;
	batch_add(b, FH_OP_SET, 0, target, index, 1, copy);
	if (cow && !(e & PTE_FORKED))
		batch_add(b, FH_OP_NARROW, space_flush(), space_table(from, va, 2), index, 1, copy & ~FH_PFN_FIELD);
	return 0;
}

static int hand_range(struct space *to, struct space *from, va_t base, va_t end, bool cow)
{
	struct batch b;
	struct leaf leaf;
	int r = 0;

	batch_begin(&b, to->frames);
	for (va_t at = base; r == 0 && space_next(from, at, end, &leaf);) {
		va_t stop = (leaf.va & ~(PLAN_LARGE - 1)) + PLAN_LARGE;
		stop = stop < end ? stop : end;
		if (leaf.level == 2 && cow && to->env) { /* the child could not split it: the frames are not its own */
			r = space_split(from, leaf.va);
			stop = at;
		} else if (leaf.level == 2)
			r = hand_large(to, from, &b, leaf.va, leaf.pte, cow);
		else
			r = hand_chunk(to, from, &b, leaf.va, stop, cow);
		at = stop;
	}
	int done = batch_end(&b);
	return r < 0 ? r : done;
}

/* ---- A second space of this env ---- */

/* The kit's own areas: whole gibibytes, so one link each. What is mapped there later shows in both. */
static int link_kit(struct space *to, struct space *from)
{
	static const va_t areas[] = {META_VA, THREADS_VA, SCRATCH_VA, CPUS_VA, BOOTFS_VA, TABLE_VA};

	for (unsigned i = 0; i < sizeof(areas) / sizeof(areas[0]); i++) {
		const volatile pte_t *slot = space_slot(from, areas[i], 3);
		pfn_t table = space_table(to, areas[i], 3);
		if (!slot || !(*slot & FH_P))
			continue;
		pte_t link = *slot & ~(FH_A | FH_D);
		int r = table ? pt_one(to->frames, FH_OP_SET, 0, table, pt_index(areas[i], 3), &link, 0) : -ENOMEM;
		if (r < 0)
			return r;
	}
	return hand_range(to, from, info->info_va, info->upcall_va + FH_PAGE, false);
}

/* Runs on the fork stack, `from` locked. */
static int64_t space_fork_here(uint64_t saved, void *arg)
{
	struct space *to = ((struct space **)arg)[0], *from = ((struct space **)arg)[1];
	int r;

	(void)saved;
	space_lock(from);
	from->shared = true;
	if ((r = space_new(to, 0, from->frames)) == 0) {
		to->shared = true;
		r = link_kit(to, from);
		for (unsigned i = 0; i < from->nregions && r == 0; i++) {
			struct region *g = from->regions[i];
			if (g->fork != REGION_SKIP)
				r = hand_range(to, from, g->base, g->end, g->fork == REGION_COW);
		}
		if (r == 0)
			r = region_copy(to, from);
		space_unpeek(to);
	}
	space_unlock(from);
	if (r < 0 && to->root)
		space_free(to);
	return r;
}

/* ---- A child env ---- */

static char fork_stack[4 * FH_PAGE] __attribute__((aligned(4096)));
static struct mutex fork_mutex; /* guards fork_stack */

/* Copy the pages mapped in [base, end) now. */
static int copy_range(struct child *c, struct space *from, va_t base, va_t end)
{
	struct leaf leaf;

	for (va_t at = base; space_next(from, at, end, &leaf) && leaf.level == 1;) {
		size_t n = 1;
		struct leaf next;
		while (space_next(from, leaf.va + n * FH_PAGE, end, &next) && next.va == leaf.va + n * FH_PAGE &&
		       pte_rights(next.pte) == pte_rights(leaf.pte))
			n++;
		int r = child_place(&c->space, leaf.va, n, pte_rights(leaf.pte), (const void *)leaf.va, n * FH_PAGE, 0);
		if (r < 0)
			return r;
		at = leaf.va + n * FH_PAGE;
	}
	return 0;
}

static int hand_region(struct child *c, struct space *from, const struct region *g)
{
	if (g->fork == REGION_SKIP)
		return 0;
	if (g->fork == REGION_COPY)
		return copy_range(c, from, g->base, g->end);
	/* What is shared must be there: a page touched later would be each side's own. */
	if (g->fork == REGION_SHARE && g->rights && space_fill(from, g->base, (g->end - g->base) / FH_PAGE, g->rights) < 0)
		return -ENOMEM;
	return hand_range(&c->space, from, g->base, g->end, g->fork == REGION_COW);
}

/* The kit's own memory in the child: records and the upcall frame are copied, handler stacks and batch frame are new. */
static int hand_kit(struct child *c, struct space *from)
{
	int r;

	if ((r = copy_range(c, from, META_VA, meta_end())) < 0 ||
	    (r = copy_range(c, from, info->upcall_va, info->upcall_va + FH_PAGE)) < 0 ||
	    (r = space_fill(&c->space, info->batch_va, 1, RIGHT_R | RIGHT_W)) < 0)
		return r;
	return space_fill(&c->space, THREADS_VA + THREAD_STACKS, (THREAD_PLACE - THREAD_STACKS) / FH_PAGE,
	                  RIGHT_R | RIGHT_W);
}

/* First code of the child, on its copy of the fork stack. Until the end nothing may fault. */
static _Noreturn void fork_child(uint64_t saved, pfn_t root)
{
	uint64_t mask = space_main.lock.mask;

	space_main.root = root;
	space_main.lock.holder = 0;
	upcall_word_set(UPCALL_OFFSET(libos[UPCALL_LIBOS_ROOT]), root);
	for (unsigned i = 0; i < 3; i++)
		thread_main.batch_used[i] = 0;
	thread_main.name = thread_self_name();
	thread_reset();
	slot_reset();
	env_list_reset();
	console_reset();
	meta_reset();
	fork_mutex.word = 1; /* held by us, nobody waits: env_fork will unlock it */
	orphan_reset();
	frames_init(info);
	startup_views();
	upcall_word_set(UPCALL_OFFSET(mask), mask);
	fork_return(saved);
}

/* Runs on the fork stack, space locked. */
static int64_t env_fork_here(uint64_t saved, void *arg)
{
	struct space *from = space_current();
	struct child c;
	int r;

	if ((r = child_new(&c, program_name, 0, from->frames, true)) < 0)
		return r;
	space_lock(from);
	meta_lock();
	from->shared = true;
	r = 0;
	for (unsigned i = 0; i < from->nregions && r == 0; i++)
		r = hand_region(&c, from, from->regions[i]);
	if (r == 0)
		r = hand_kit(&c, from);
	meta_unlock();
	space_unlock(from);
	unsigned half = slot_count() / 2;
	struct fh_regs regs = {
	    .rip = (uint64_t)fork_child,
	    .rsp = (uint64_t)fork_stack + sizeof(fork_stack) / 2 - 8, /* the lower half: our own frames are in the upper */
	    .rdi = saved,
	    .rsi = c.space.root,
	};
	if (r < 0 || (r = child_start(&c, &regs, (uint64_t)thread_main.tcb, half > 4 ? 4 : half, false)) < 0)
		return child_abandon(&c, r);
	*(struct env **)arg = c.env;
	return 1;
}

/* Run f on the fork stack. */
static int64_t on_fork_stack(int64_t (*f)(uint64_t, void *), void *arg)
{
	mutex_lock(&fork_mutex);
	int64_t r = fork_call((uint64_t)fork_stack + sizeof(fork_stack), f, arg);
	mutex_unlock(&fork_mutex);
	return r;
}

int env_fork(struct env **child)
{
	struct env *handle = NULL;
	struct fx_control control;

	if (upcall_depth() || thread_self() != &thread_main)
		return -EBUSY;
	cpu_fx_control_save(&control);
	heap_fork(HEAP_FORK_BEFORE);
	/* The handle is written while the stack is write-protected: it goes through kit memory. */
	struct env **box = meta_alloc(sizeof(*box));
	int64_t r = box ? on_fork_stack(env_fork_here, box) : -ENOMEM;
	if (box && r > 0)
		handle = *box;
	meta_free(box, sizeof(*box));
	heap_fork(r == 0 ? HEAP_FORK_CHILD : HEAP_FORK_PARENT);
	if (r > 0)
		*child = handle;
	if (r == 0)
		cpu_fx_control_restore(&control);
	return (int)r;
}

int space_fork(struct space *s, struct space *parent)
{
	/* The first thread's stack becomes copy-on-write: it must not be running under a kit lock. */
	if (parent == thread_main.space && thread_self() != &thread_main)
		return -EBUSY;
	struct space **pair = meta_alloc(2 * sizeof(*pair));
	if (!pair)
		return -ENOMEM;
	pair[0] = s;
	pair[1] = parent;
	int64_t r = on_fork_stack(space_fork_here, pair);
	meta_free(pair, 2 * sizeof(*pair));
	return (int)r;
}
