/*
 * stress.c - all CPUs at once: child envs, one on each CPU, and two threads of their parent claim, map, grant, link, withdraw,
 * take, retype, start, stop and free the same few frames at random, and attack each other's; children are killed and buried
 * meanwhile, and others take their places. Then the books must balance and the audit find nothing (all invariants; HOSTILE 11,
 * 27, 30, 31, 32, 41, 47).
 *
 * Workers are numbered as they are made. What a worker draws in a step comes from a generator whose state at the step's begin is
 * a function of `seed=`, the worker's number and the number of the step. So in every run with this seed, on as many CPUs, it does
 * the same thing in this step, and the numbers that it draws are the same as long as what it finds in the ownership table lets it
 * draw; how many that are and which frames they hit depends on the others. Who is killed, and when, is a matter of time: that, too,
 * changes no other worker's choices. Their hash is printed; test/boot/replay.py compares. `steps=` on the kernel's command line
 * says how many steps each takes.
 */
#include <string.h>

#include "arena.h"
#include "cpus.h"
#include "raw.h"
#include "tap.h"

#define ARENA 160u   /* frames that everybody works on */
#define SLOTS 16u    /* slots of a table in the arena that are ever used */
#define PAGES 32u    /* pages that a worker maps for itself */
#define WINDOWS 8u   /* slots for windows in its tree, from WINDOW_SLOT on */
#define WINDOW_SLOT 100u
#define SPARE 300u   /* frames that a child may claim */
#define PLACES 10u   /* workers at a time */
#define THREADS 2u   /* the first of them are threads of the parent */
#define NUMBERS 16u  /* workers in all: with those in the place of others that were killed */
#define KILLS 4u
#define HASHED 2u    /* draws of a step that are always made: what it does, and the first choice of how */
#define BASE_VA 0x600000000000ul /* worker k's pages: k GiB from here on; its windows WINDOW_SLOT * 2 MiB above */
#define SHARE_VA 0x610000000000ul
#define BELL_GO (1ul << BELL_USER)
#define STALE 0x57a1e57a1e57a1e0ul

/* One frame that all workers see. */
struct place {
	uint64_t env, thread;        /* names */
	pfn_t pt1, pt2, root;        /* its own tables, not in the arena: only to be attacked */
	uint64_t steps, good, pages, windows, pokes, bad; /* done; calls that succeeded; ... */
};
static struct shared {
	pfn_t arena;
	uint64_t seed, steps, stop;
	uint64_t places;
	struct place place[PLACES];
	uint64_t choices[NUMBERS]; /* by number: what all the steps of one that took all of them chose; else 0 */
} *shared = (struct shared *)SHARE_VA;
_Static_assert(sizeof(struct shared) <= FH_PAGE && PLACES + KILLS <= NUMBERS, "a page; a number for each");

struct worker {
	unsigned place, number;
	unsigned drawn; /* in this step */
	uint64_t choices;
	bool parent; /* a thread of the parent: it has authority over everybody, so it keeps to the arena */
	uint64_t state;
	pfn_t me, pt1, pt2;
	va_t pages, windows;
	struct place *p;
	struct {
		pfn_t frame;
		uint64_t tag;
		bool dirty; /* unmapped, and not flushed */
		bool stale; /* and written to since without a fault */
	} page[PAGES];
};

/* ---- Touching what may not be there ---- */

__asm__(".pushsection .text.touch,\"ax\"\n"
        ".globl stress_poke, stress_peek, stress_missed, stress_spin, stress_yield\n"
        "stress_poke: mov %rsi, (%rdi); mov $1, %eax; ret\n"
        "stress_peek: mov (%rdi), %rax; mov $1, %eax; ret\n"
        "stress_missed: xor %eax, %eax; ret\n"
        "stress_spin: pause; jmp stress_spin\n"
        "stress_yield: xor %eax, %eax; xor %edi, %edi; xor %esi, %esi; xor %edx, %edx; xor %r10d, %r10d; syscall; jmp stress_yield\n"
        ".popsection\n");
uint64_t stress_poke(va_t, uint64_t), stress_peek(va_t);
extern const char stress_missed[], stress_spin[], stress_yield[];

static enum answer on_fault(struct fh_context *c)
{
	if (c->regs.rip != (uint64_t)stress_poke && c->regs.rip != (uint64_t)stress_peek)
		return FAULT_NEXT;
	c->regs.rip = (uint64_t)stress_missed;
	return FAULT_DONE;
}

/* ---- Choices ---- */

static uint64_t draw(struct worker *w, uint64_t n)
{
	uint64_t k = random_below(&w->state, n);

	if (w->drawn++ < HASHED)
		w->choices = random_begin(w->choices, n, k);
	return k;
}

static unsigned type_of(pfn_t f) { return fh_type(frame_record(f)->state); }
static pfn_t owner(pfn_t f) { return fh_owner(frame_record(f)->state); }
static pfn_t any(struct worker *w) { return shared->arena + draw(w, ARENA); }

/* A frame of the arena of this type; of this owner, if it isn't 0; mostly. */
static pfn_t find(struct worker *w, unsigned type, pfn_t of)
{
	pfn_t f = any(w);

	for (unsigned i = 0; i < ARENA / 2; i++) {
		if (type_of(f) == type && (!of || owner(f) == of))
			return f;
		f = f + 1 < shared->arena + ARENA ? f + 1 : shared->arena;
	}
	return f;
}

static struct place *other(struct worker *w) { return &shared->place[draw(w, shared->places)]; }

static int64_t done(struct worker *w, int64_t r)
{
	w->p->good += r >= 0;
	return r;
}

static void wrong(struct worker *w, const char *what, uint64_t a, uint64_t b)
{
	if (w->p->bad++ < 4)
		note("worker %u, step %lu: %s: %#lx, %#lx", w->place, w->p->steps, what, a, b);
}

static uint64_t leaf(struct worker *w, pfn_t f) { return f << 12 | FH_P | FH_U | FH_NX | (draw(w, 2) ? FH_W : 0); }
static uint64_t link(struct worker *w, pfn_t f) { return f << 12 | FH_P | FH_U | (draw(w, 4) ? FH_W : 0); }
static uint64_t flush(struct worker *w)
{
	static const uint64_t flags[] = {FH_FLUSH_NONE, FH_FLUSH_NONE, FH_FLUSH_LOCAL, FH_FLUSH_ALL};
	return flags[draw(w, 4)];
}

/* ---- A worker's own pages: zero when they come, its own as long as they stay ---- */

static uint64_t local(const struct worker *w) { return w->parent ? FH_FLUSH_ALL : FH_FLUSH_LOCAL; }

static void page_map(struct worker *w, unsigned i)
{
	va_t va = w->pages + i * FH_PAGE;
	pfn_t f = find(w, FH_FREE, 0);

	if (w->page[i].dirty && sys_tlb_flush(0, w->parent ? FH_TLB_ALL : FH_TLB_LOCAL, va, w->parent ? 0 : 1) < 0)
		return;
	w->page[i].dirty = w->page[i].stale = false;
	if (done(w, sys_pt_set(fh_what(FH_OP_CLAIM, 0, w->pt1, i, 1), f << 12 | FH_P | FH_W | FH_U | FH_NX, 0).rax) < 0)
		return;
	volatile uint64_t *words = (uint64_t *)va;
	unsigned k = (unsigned)draw(w, 512);
	if (words[0] || words[1] || words[k] || words[511])
		wrong(w, "a page just claimed isn't zero", words[0] | words[1], words[k] | words[511]);
	w->page[i].frame = f;
	w->page[i].tag = (uint64_t)w->place << 56 | w->p->steps << 8 | i;
	words[0] = words[1] = words[511] = w->page[i].tag;
	w->p->pages++;
}

static void page_unmap(struct worker *w, unsigned i)
{
	va_t va = w->pages + i * FH_PAGE;
	volatile uint64_t *words = (uint64_t *)va;

	if (words[0] != w->page[i].tag || words[1] != w->page[i].tag || words[511] != w->page[i].tag)
		wrong(w, "a page has changed", words[0] == w->page[i].tag ? words[1] : words[0], w->page[i].tag);
	bool lazy = draw(w, 2);
	if (sys_pt_set(fh_what(FH_OP_UNMAP_FREE, lazy ? 0 : local(w), w->pt1, i, 1), 0, w->parent ? 0 : va).rax < 0)
		return;
	w->page[i].frame = 0;
	w->page[i].dirty = w->page[i].stale = lazy;
}

/* Write by a translation that should be gone, or may be still there: whosever the frame is, he must never see it. */
static void poke(struct worker *w)
{
	unsigned i = (unsigned)draw(w, PAGES);

	for (unsigned k = 0; k < PAGES && !w->page[i].stale; k++)
		i = (i + 1) % PAGES;
	for (unsigned k = 0; k < 200 && w->page[i].stale; k++) {
		w->page[i].stale = stress_poke(w->pages + i * FH_PAGE + 8, STALE);
		w->p->pokes += w->page[i].stale;
	}
}

static void do_page(struct worker *w)
{
	unsigned i = (unsigned)draw(w, PAGES);

	if (w->page[i].frame)
		page_unmap(w, i);
	else
		page_map(w, i);
}

/* ---- Frames and tables of the arena ---- */

static void do_frame(struct worker *w)
{
	pfn_t f = any(w);
	uint64_t n = 1 + draw(w, 4);

	if (f + n > shared->arena + ARENA)
		n = 1;
	switch (type_of(f)) {
	case FH_FREE: done(w, sys_frame_alloc(f, n, draw(w, 4) ? 0 : find(w, FH_ENV, w->me), draw(w, 2))); return;
	case FH_DATA: done(w, draw(w, 3) ? sys_frame_free(f, n) : sys_frame_take(f, n)); return;
	default: done(w, sys_frame_retype(f, FH_DATA));
	}
}

static void do_retype(struct worker *w)
{
	static const unsigned types[] = {FH_PT1, FH_PT1, FH_PT1, FH_PT1, FH_PT2, FH_PT2, FH_PT3, FH_PT4, FH_ENV, FH_ENV, FH_THREAD,
	                                 FH_THREAD};
	done(w, sys_frame_retype(find(w, FH_DATA, w->me), types[draw(w, sizeof(types) / sizeof(types[0]))]));
}

static struct fh_op table_op(struct worker *w)
{
	static const unsigned low[] = {FH_OP_SET, FH_OP_SET, FH_OP_SET, FH_OP_NARROW, FH_OP_PROTECT, FH_OP_CLEAR, FH_OP_CLEAR,
	                               FH_OP_HARVEST, FH_OP_CLAIM, FH_OP_CLAIM, FH_OP_UNMAP_FREE, FH_OP_UNMAP_FREE};
	static const unsigned high[] = {FH_OP_SET, FH_OP_SET, FH_OP_NARROW, FH_OP_PROTECT, FH_OP_CLEAR, FH_OP_LINK_NEW, FH_OP_LINK_NEW,
	                                FH_OP_UNLINK_FREE, FH_OP_UNLINK_FREE, FH_OP_UNLINK_FREE, FH_OP_CLEAR, FH_OP_READ};
	unsigned type = draw(w, 3) ? FH_PT1 : draw(w, 3) ? FH_PT2 : draw(w, 2) ? FH_PT3 : FH_PT4;
	pfn_t t = find(w, type, draw(w, 4) ? w->me : 0);
	unsigned o = type == FH_PT1 ? low[draw(w, 12)] : high[draw(w, 12)], index = (unsigned)draw(w, SLOTS);
	unsigned count = draw(w, 4) ? 1 : 1 + (unsigned)draw(w, SLOTS - index);
	bool claims = o == FH_OP_CLAIM || o == FH_OP_LINK_NEW, clears = o == FH_OP_CLEAR || o == FH_OP_UNMAP_FREE || o == FH_OP_UNLINK_FREE;
	pfn_t f = claims ? find(w, FH_FREE, 0) : type == FH_PT1 ? find(w, FH_DATA, draw(w, 4) ? w->me : 0) : find(w, type - 1, draw(w, 4) ? w->me : 0);
	uint64_t e = clears || o == FH_OP_HARVEST || o == FH_OP_READ ? 0 : type == FH_PT1 ? leaf(w, f) : link(w, f);

	if ((o == FH_OP_SET || claims) && f + count > shared->arena + ARENA)
		count = 1; /* the parent's threads must not name what lies beyond */
	return (struct fh_op){fh_what(o, flush(w), t, index, count), e};
}

static void do_set(struct worker *w)
{
	struct fh_op o = table_op(w);

	done(w, sys_pt_set((o.what & ~(1023ul << 8)) | 1 << 8, o.entry, 0).rax);
}

#define BATCH_OPS 96u /* the kit's batches at depth 0 fill from 0 on */
static void do_batch(struct worker *w)
{
	struct fh_op *ops = thread_self()->batch + BATCH_OPS;
	unsigned n = 1 + (unsigned)draw(w, 6);

	for (unsigned i = 0; i < n; i++)
		ops[i] = table_op(w);
	done(w, sys_pt_update(BATCH_OPS * sizeof(*ops), n).rax);
}

/* ---- Windows ---- */

static void do_grant(struct worker *w)
{
	pfn_t f = find(w, draw(w, 4) ? FH_PT1 : draw(w, 2) ? FH_DATA : FH_PT2, w->me);

	done(w, sys_frame_grant(f, draw(w, 3) ? other(w)->env : 0));
}

static void do_take(struct worker *w)
{
	pfn_t f = any(w);

	for (unsigned i = 0; i < ARENA - 4; i++) {
		if (type_of(f) == FH_DATA && frame_record(f)->tenant == shared->place[w->place].env)
			break;
		f = f + 1 < shared->arena + ARENA ? f + 1 : shared->arena;
	}
	done(w, sys_frame_take(f, f + 2 < shared->arena + ARENA ? 1 + draw(w, 2) : 1));
}

static void do_window(struct worker *w)
{
	unsigned slot = (unsigned)draw(w, WINDOWS);
	va_t va = w->windows + slot * PLAN_LARGE;
	pfn_t f = any(w);

	if (draw(w, 3) == 0)
		done(w, sys_pt_set(fh_what(FH_OP_CLEAR, flush(w), w->pt2, WINDOW_SLOT + slot, 1), 0, 0).rax);
	for (unsigned i = 0; i < ARENA; i++) {
		if (type_of(f) == FH_PT1 && (frame_record(f)->tenant == shared->place[w->place].env || owner(f) == w->me))
			break;
		f = f + 1 < shared->arena + ARENA ? f + 1 : shared->arena;
	}
	if (done(w, sys_pt_set(fh_what(FH_OP_SET, 0, w->pt2, WINDOW_SLOT + slot, 1), link(w, f), 0).rax) < 0)
		return;
	for (unsigned i = 0; i < SLOTS; i++)
		w->p->windows += stress_peek(va + i * FH_PAGE);
}

/* ---- Threads, envs ---- */

static void do_thread(struct worker *w)
{
	pfn_t t = find(w, FH_THREAD, w->me);
	uint64_t now = cpu_tsc(), offset = BATCH_OPS * sizeof(struct fh_op);
	struct fh_thread_args *a = (struct fh_thread_args *)(thread_self()->batch + BATCH_OPS);

	switch (draw(w, 6)) {
	case 0:
		*a = (struct fh_thread_args){
		    .fields = FH_SET_REGS | FH_SET_ROOT | (draw(w, 2) ? FH_SET_UPCALL : 0) | (draw(w, 2) ? FH_SET_KEEPER : 0),
		    .regs = {.rip = (uint64_t)(draw(w, 2) ? stress_spin : stress_yield), .rsp = BASE_VA, .rflags = 2},
		    .root = draw(w, 8) ? space_current()->root : 0,
		    .upcall = draw(w, 2) ? find(w, FH_DATA, w->me) : 0,
		    .keeper = draw(w, 2) ? shared->place[w->place].thread : 0,
		    .keeper_bits = 1ul << (BELL_USER + 5),
		};
		done(w, sys_thread_write(t, offset));
		return;
	case 1:
	case 2: done(w, sys_thread_ctl(t, FH_THREAD_START, 0)); return;
	case 3: done(w, sys_thread_ctl(t, FH_THREAD_STOP, 1)); return;
	default: /* give it some of our time: at most to the end of the slice */
		if (type_of(t) == FH_THREAD)
			done(w, sys_thread_switch(t, draw(w, 4), draw(w, 2) << (BELL_USER + 5), now + 1 + draw(w, 2) * info->tsc_khz / 8));
	}
}

static void do_bell(struct worker *w)
{
	struct place *p = other(w);

	if (draw(w, 4) == 0)
		done(w, sys_env_ctl(0, FH_ENV_CALLER, draw(w, 16), other(w)->env));
	else if (p->thread)
		done(w, sys_thread_switch(p->thread, 1ul << (BELL_USER + 6), 1ul << (BELL_USER + 6), cpu_tsc() + info->tsc_khz / 16));
}

static void do_env(struct worker *w)
{
	pfn_t e = find(w, FH_ENV, w->me);

	if (e < shared->arena || e >= shared->arena + ARENA || type_of(e) != FH_ENV)
		return;
	switch (draw(w, 8)) {
	case 0: done(w, sys_env_ctl(e, FH_ENV_FREEZE, 0, 0)); return;
	case 1: done(w, sys_env_ctl(e, FH_ENV_THAW, 0, 0)); return;
	case 2: done(w, sys_env_ctl(e, FH_ENV_REVOKE, 3, 0)); return;
	case 3: done(w, sys_frame_alloc(find(w, FH_FREE, 0), 1, e, 0)); return;
	case 4: done(w, sys_frame_retype(e, FH_DATA)); return;
	default: done(w, sys_env_ctl(e, FH_ENV_QUOTA, draw(w, 9) - 4, 0));
	}
}

static void do_sync(struct worker *w)
{
	if (draw(w, 4))
		done(w, sys_frame_sync(any(w), 1));
	else
		done(w, sys_tlb_flush(0, FH_TLB_ALL, 0, 0));
}

/* What belongs to other envs, and is in no arena: all refused. */
static void do_attack(struct worker *w)
{
	struct place *p = other(w);
	const struct place v = *p;
	const pfn_t frames[] = {v.pt1, v.pt2, v.root, fh_name_pfn(v.thread), fh_name_pfn(v.env)};
	const unsigned which = (unsigned)draw(w, 10);
	pfn_t f = frames[draw(w, 5)];
	int64_t r;

	/* A zero: the place is just being cleared, for the next worker. */
	if (w->parent || !v.env || !v.thread || !v.pt1 || !v.root || !f || fh_name_pfn(v.env) == w->me || owner(f) == w->me)
		return;
	switch (which) {
	case 0: r = sys_frame_free(f, 1); break;
	case 1: r = sys_frame_retype(f, draw(w, 2) ? FH_DATA : FH_PT1); break;
	case 2: r = sys_frame_grant(f, draw(w, 2) ? shared->place[w->place].env : 0); break;
	case 3: r = sys_frame_take(f, 1); break;
	case 4: r = sys_pt_set(fh_what(FH_OP_CLEAR, 0, draw(w, 2) ? v.pt1 : v.root, draw(w, 512), 1), 0, 0).rax; break;
	case 5: r = sys_pt_set(fh_what(FH_OP_SET, 0, w->pt1, PAGES, 1), leaf(w, f), 0).rax; break;
	case 6: r = sys_pt_set(fh_what(FH_OP_SET, 0, w->pt2, 50, 1), link(w, v.pt1), 0).rax; break;
	case 7: r = sys_thread_ctl(v.thread, draw(w, 2), 0); break;
	case 8: r = sys_env_ctl(v.env, draw(w, 3), draw(w, 2), 0); break;
	default: r = sys_thread_write(v.thread, 0);
	}
	if (r >= 0 && owner(f) != w->me)
		wrong(w, "an attack succeeds: which, frame", which, f);
}

static void step(struct worker *w, uint64_t n)
{
	static void (*const acts[])(struct worker *) = {
	    do_page, do_page, do_page, do_page, do_page, do_frame, do_frame, do_frame, do_frame, do_frame, do_retype, do_retype, do_set, do_set, do_set, do_set, do_batch,
	    do_grant, do_grant, do_take, do_window, do_window, do_window, do_thread, do_thread, do_bell, do_env, do_env, do_sync, do_attack,
	};
	w->state = random_begin(shared->seed, w->number, n);
	w->drawn = 0;
	acts[draw(w, sizeof(acts) / sizeof(acts[0]))](w);
	poke(w);
	w->p->steps++;
}

static void work(unsigned place, unsigned number)
{
	struct worker w = {
	    .place = place,
	    .number = number,
	    .parent = place < THREADS,
	    .me = env_self(),
	    .p = &shared->place[place],
	    .pages = BASE_VA + place * PLAN_GIB,
	};

	w.windows = w.pages + WINDOW_SLOT * PLAN_LARGE;
	w.pt1 = space_table(space_current(), w.pages, 1), w.pt2 = space_table(space_current(), w.pages, 2);
	if (!w.pt1 || !w.pt2)
		panic("no tables for worker %u", number);
	w.p->pt1 = w.pt1, w.p->pt2 = w.pt2, w.p->root = space_current()->root;
	w.p->thread = thread_self_name();
	__atomic_store_n(&w.p->env, env_self_name(), __ATOMIC_SEQ_CST);
	uint64_t taken = 0;
	for (; taken < shared->steps && !*(volatile uint64_t *)&shared->stop; taken++)
		step(&w, taken);
	if (taken == shared->steps)
		shared->choices[number] = w.choices;
	for (unsigned i = 0; i < PAGES; i++)
		while (w.page[i].frame) {
			page_unmap(&w, i);
			if (w.page[i].frame)
				wait_quiet();
		}
	for (unsigned i = 0; i < WINDOWS; i++)
		sys_pt_set(fh_what(FH_OP_CLEAR, 0, w.pt2, WINDOW_SLOT + i, 1), 0, 0);
}

/* ---- The parent: it makes workers, kills some, and buries them ---- */

static struct env *child[PLACES];
static unsigned number; /* workers made so far */
static pfn_t share;

static void thread_work(void *arg) { work((unsigned)(uint64_t)arg, (unsigned)(uint64_t)arg); }

static void make_child(unsigned place)
{
	unsigned mine = number++;
	struct fh_thread t;
	struct fh_env e;

	memset(&shared->place[place], 0, offsetof(struct place, steps)); /* the counts go on */
	pfn_t arena = shared->arena;
	int r = env_fork(&child[place]);
	if (r == 0) {
		arena_keep_below(arena); /* the fork has set up the policies anew */
		sys_thread_switch(0, 0, BELL_GO, 0);
		work(place, mine);
		exit(0);
	}
	if (r < 0 || thread_look(child[place]->thread, &t) < 0 || env_look(child[place]->pfn, &e) < 0)
		panic("no child %u: %s", mine, error_name(r));
	if (fh_quota(e.account) - fh_owned(e.account) > SPARE) /* a fork leaves its child half of all there is */
		sys_env_ctl(child[place]->name, FH_ENV_QUOTA, fh_owned(e.account) + SPARE - fh_quota(e.account), 0);
	struct space s = {.root = t.root, .env = child[place]->pfn, .frames = &frames_first};
	if ((r = space_map(&s, SHARE_VA, share, 1, RIGHT_R | RIGHT_W)) < 0 || !cpu_place(child[place]->thread_name, place % info->ncpus))
		panic("no place for child %u: %s", mine, error_name(r));
	space_unpeek(&s);
	sys_thread_switch(child[place]->thread_name, BELL_GO, 0, 0);
}

static bool is_table_type(unsigned type) { return type >= FH_PT1 && type <= FH_PT4; }

/* Take what env `of` (0: anybody) owns out of all tables of the arena, and its windows out of everybody's. */
static void purge(pfn_t of)
{
	for (pfn_t t = shared->arena; t < shared->arena + ARENA; t++) {
		if (!is_table_type(type_of(t)))
			continue;
		if (!of || env_below(owner(t), of))
			sys_frame_grant(t, 0);
		for (unsigned i = 0; i < SLOTS; i++) {
			struct sys_result e = sys_pt_set(fh_what(FH_OP_READ, 0, t, i, 1), 0, 0);
			if (e.rax >= 0 && (e.rdx & FH_P) && (!of || env_below(owner(fh_pte_pfn(e.rdx)), of)))
				sys_pt_set(fh_what(FH_OP_CLEAR, 0, t, i, 1), 0, 0);
		}
	}
}

static void bury(unsigned place, struct tally *t)
{
	int r = -FH_EBUSY;

	sys_env_ctl(child[place]->name, FH_ENV_FREEZE, 0, 0);
	cpu_leave(child[place]->thread_name);
	for (unsigned tries = 0; tries < 100 && child[place] && r < 0; tries++) {
		if (tries)
			thread_sleep(1);
		purge(child[place]->pfn);
		r = env_reap(&child[place], NULL);
	}
	if (r < 0) {
		count_bad(t, "worker at %u can't be buried: %s", place, error_name(r));
		shared->stop = 1;
	}
}

/* Everything in the arena goes back: threads stop, tables lose their entries, then all of it is freed, over and over. */
static unsigned clear_arena(void)
{
	unsigned left = ARENA;

	for (unsigned round = 0; round < 200 && left; round++) {
		left = 0;
		purge(0);
		for (pfn_t f = shared->arena; f < shared->arena + ARENA; f++) {
			unsigned type = type_of(f);
			if (type == FH_THREAD)
				sys_thread_ctl(f, FH_THREAD_STOP, 0);
			if (type == FH_ENV) {
				struct fh_env e;
				if (env_look(f, &e) == 0)
					sys_env_ctl(f, FH_ENV_QUOTA, -(fh_quota(e.account) - fh_owned(e.account)), 0);
			}
			if (type == FH_THREAD || type == FH_ENV || is_table_type(type))
				sys_frame_retype(f, FH_DATA);
			sys_frame_free(f, 1);
			left += type_of(f) != FH_FREE;
		}
		if (left)
			thread_sleep(1);
	}
	return left;
}

static uint64_t quota(void)
{
	struct fh_env e;

	return env_look(env_self(), &e) < 0 ? 0 : fh_quota(e.account);
}

static void run(unsigned places, unsigned kills)
{
	struct thread *t[THREADS];
	struct tally graves = {0};
	struct worker self = {.state = shared->seed};
	unsigned buried = 0;

	for (unsigned i = 0; i < THREADS; i++)
		t[i] = thread_on(i % info->ncpus, thread_work, (void *)(uint64_t)i);
	for (unsigned i = THREADS; i < places; i++)
		make_child(i);
	for (bool alive = true; alive;) {
		alive = false;
		sys_thread_switch(0, 0, 1ul << BELL_CHILD, cpu_tsc() + (5 + draw(&self, 40)) * info->tsc_khz);
		unsigned victim = THREADS + (unsigned)draw(&self, places - THREADS);
		for (unsigned i = THREADS; i < places; i++) {
			if (!child[i])
				continue;
			enum env_state state = env_state(child[i]);
			alive |= state == ENV_RUNNING;
			if (state == ENV_FAULTED) {
				count_bad(&graves, "the worker at %u has faulted", i);
				env_report(child[i]);
			}
			if (state == ENV_RUNNING && (i != victim || !kills || shared->stop))
				continue;
			bury(i, &graves);
			buried++;
			if (state == ENV_RUNNING && !child[i]) {
				kills--;
				make_child(i);
			}
		}
	}
	for (unsigned i = 0; i < THREADS; i++)
		thread_off(t[i]);
	none_bad(&graves, "%u children are buried, some of them killed at work, and no worker has faulted", buried);
}

static void nothing(void *arg) { (void)arg; }

int main(void)
{
	uint64_t quota_before = quota();

	thread_join(thread_new(nothing, NULL, NULL)); /* makes the kit's tables for threads */
	tap_begin();
	share = frame_get(&frames_first, 1, 1, 0, 0);
	if (!share || space_map(space_current(), SHARE_VA, share, 1, RIGHT_R | RIGHT_W) < 0)
		panic("no page to share");
	cpus_begin();
	on_upcall(14, on_fault);
	shared->seed = option("seed", cpu_tsc() % 1000000007);
	shared->steps = option("steps", 1500);
	shared->arena = arena_find(ARENA); /* without tables of the kit's own: they would be fair game for the parent's threads */
	unsigned places = THREADS + (info->ncpus < PLACES - THREADS ? (info->ncpus < 2 ? 2 : info->ncpus) : PLACES - THREADS);
	shared->places = places;
	number = THREADS;
	note("seed %lu, %lu steps each (seed= and steps= on the kernel's command line): %u workers on %u CPUs, frames %#lx to %#lx",
	     shared->seed, shared->steps, places, info->ncpus, shared->arena, shared->arena + ARENA - 1);
	run(places, KILLS);
	is(clear_arena(), 0, "all frames that they fought for can be taken back");
	uint64_t bad = 0, good = 0, steps = 0;
	for (unsigned i = 0; i < places; i++) {
		struct place *p = &shared->place[i];
		note("worker %u: %lu steps, %lu calls succeeded, %lu pages, %lu touched in windows, %lu stale writes", i, p->steps, p->good,
		     p->pages, p->windows, p->pokes);
		bad += p->bad, good += p->good, steps += p->steps;
	}
	for (unsigned i = 0; i < number; i++)
		if (shared->choices[i])
			note("choices of number %u: %#lx", i, shared->choices[i]);
	is((int64_t)bad, 0, "no worker saw a foreign byte in its pages, or did what it must not");
	ok(good > steps / 5, "of %lu steps, %lu did something", steps, good);
	on_upcall(14, NULL);
	cpus_end();
	space_unmap(space_current(), SHARE_VA, 1);
	frame_put(share, 1);
	is((int64_t)quota(), (int64_t)quota_before, "quota moved, and none was lost or made");
	return tap_end();
}
