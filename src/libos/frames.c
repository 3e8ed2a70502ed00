/*
 * frames.c - policies that choose frames by reading the ownership table, and frame_get/frame_put on top of them.
 *
 * No locks: cursors may be moved by several threads at once, which costs at most a lost race. (But a frame that was
 * claimed without a reference is orphan_collect's to free, unless it is known to be in use: orphan.c.)
 */
#include "frames.h"

#include <errno.h>

#include "env.h"
#include "spacewalk.h"
#include "start.h"
#include "sync.h"
#include "syscall.h"

#define TRIES 10000u /* lost races in a row before a caller is told that there is no frame */

uint64_t frame_epoch(void)
{
	const volatile struct fh_clock *clock = (const void *)info->clock_va;
	uint64_t lowest = FH_EPOCH_INF;

	for (unsigned i = 0; i < info->ncpus; i++)
		if (clock->cpu[i].epoch < lowest)
			lowest = clock->cpu[i].epoch;
	return lowest;
}

static bool free_and_quiet(pfn_t pfn, uint64_t epoch)
{
	const volatile struct fh_frame *f = frame_record(pfn);
	return fh_type(f->state) == FH_FREE && (f->stamp & FH_STAMP_MASK) < epoch;
}

bool frame_sole(pfn_t pfn)
{
	uint64_t state = frame_record(pfn)->state;
	return fh_refs(state) == 1 && fh_owner(state) == env_self();
}

bool frame_is_quiet(pfn_t pfn) { return free_and_quiet(pfn, frame_epoch()); }

/*
 * First run of n frames in [from, to), aligned, all FREE and, unless epoch is FH_EPOCH_INF, quiet. The run is tested
 * from its last frame down: the next candidate starts behind the first obstacle found. 0: none.
 */
static pfn_t scan(pfn_t from, pfn_t to, size_t n, size_t align, uint64_t epoch)
{
	pfn_t p = (from + align - 1) & ~(align - 1);

	while (p + n <= to) {
		size_t i = n;
		while (i > 0 && (epoch == FH_EPOCH_INF ? frame_is_free(p + i - 1) : free_and_quiet(p + i - 1, epoch)))
			i--;
		if (i == 0)
			return p;
		p = (p + i + align - 1) & ~(align - 1);
	}
	return 0;
}

/* scan() from the cursor to the end, then from the start; moves the cursor behind what it found. */
static pfn_t scan_around(struct frames *f, size_t n, size_t align, uint64_t epoch)
{
	pfn_t cursor = __atomic_load_n(&f->cursor, __ATOMIC_RELAXED);
	pfn_t p = scan(cursor, f->hi, n, align, epoch);

	if (!p)
		p = scan(f->lo, cursor + n - 1 < f->hi ? cursor + n - 1 : f->hi, n, align, epoch);
	if (p)
		f->cursor = p + n;
	return p;
}

static pfn_t next_first(struct frames *f, size_t n, size_t align, uint64_t hint)
{
	(void)hint;
	pfn_t p = __atomic_load_n(&f->cursor, __ATOMIC_RELAXED);
	if (n == 1 && p < f->hi && frame_is_free(p) && /* the usual case, on the fault path: each thread its own frame */
	    __atomic_compare_exchange_n(&f->cursor, &p, p + 1, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return p;
	return scan_around(f, n, align, FH_EPOCH_INF);
}

static pfn_t next_quiet(struct frames *f, size_t n, size_t align, uint64_t hint)
{
	pfn_t p = scan_around(f, n, align, frame_epoch());
	return p ? p : next_first(f, n, align, hint);
}

static pfn_t next_colour(struct frames *f, size_t n, size_t align, uint64_t hint)
{
	uint64_t mask = f->colours - 1;

	for (int round = 0; round < 2; round++) {
		pfn_t p = round == 0 ? f->cursor : f->lo;
		pfn_t to = f->hi;
		for (p += (hint - p) & mask; p + n <= to; p += f->colours) {
			if (p % align == 0 && scan(p, p + n, n, 1, FH_EPOCH_INF)) {
				f->cursor = p + n;
				return p;
			}
		}
	}
	return next_first(f, n, align, hint); /* a page of another colour is better than none */
}

static pfn_t next_large(struct frames *f, size_t n, size_t align, uint64_t hint)
{
	(void)hint;
	if (n < FH_LARGE_FRAMES)
		n = FH_LARGE_FRAMES;
	return scan_around(f, n, align > FH_LARGE_FRAMES ? align : FH_LARGE_FRAMES, FH_EPOCH_INF);
}

/* A step of a xorshift generator (Marsaglia 2003); never 0 for a non-zero x. */
static uint64_t shuffle(uint64_t x)
{
	x ^= x << 13;
	x ^= x >> 7;
	return x ^ x << 17;
}

static pfn_t next_random(struct frames *f, size_t n, size_t align, uint64_t hint)
{
	f->state = shuffle(f->state ^ hint << 1); /* the generator's state; frames_init seeds it */
	f->cursor = f->lo + f->state % (f->hi - f->lo);
	return scan_around(f, n, align, FH_EPOCH_INF);
}

struct frames frames_first = {.name = "first", .next = next_first};
struct frames frames_quiet = {.name = "quiet", .next = next_quiet};
struct frames frames_colour = {.name = "colour", .next = next_colour, .colours = 64};
struct frames frames_large = {.name = "large", .next = next_large};
struct frames frames_random = {.name = "random", .next = next_random};

void frames_init(const struct fh_info *in)
{
	struct frames *all[] = {&frames_first, &frames_quiet, &frames_colour, &frames_large, &frames_random};
	uint64_t seed = shuffle(env_self() * 0x9e3779b97f4a7c15ul + in->boot_tsc + 1);

	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		all[i]->lo = in->first_user;
		all[i]->hi = in->nframes;
		all[i]->cursor = in->first_user + (seed >> 8) % (in->nframes - in->first_user);
	}
	frames_random.state = (seed ^ *(const uint64_t *)in->random) | 1; /* not the same twice */
}

pfn_t frame_find(pfn_t after, unsigned type, pfn_t env)
{
	for (pfn_t p = after + 1; p < info->nframes; p++) {
		uint64_t state = frame_record(p)->state;
		if ((type == FH_NTYPES || fh_type(state) == type) && (!env || fh_owner(state) == env))
			return p;
	}
	return 0;
}

void frame_count(struct frame_counts *c)
{
	*c = (struct frame_counts){{0}};
	for (pfn_t p = 0; p < info->nframes; p++) {
		unsigned type = fh_type(frame_record(p)->state);
		if (type < FH_NTYPES)
			c->type[type]++;
	}
}

uint64_t frame_count_free(void)
{
	struct frame_counts c;
	frame_count(&c);
	return c.type[FH_FREE];
}

int64_t frame_owned(pfn_t env)
{
	struct fh_env e;

	if (!env || env == env_self())
		return (int64_t)fh_owned(env_view()->account);
	int r = env_look(env, &e);
	return r < 0 ? r : (int64_t)fh_owned(e.account);
}

/* Allocate the run [p, p + n): 0, or the -errno that stopped it, with nothing kept. */
static int claim_run(pfn_t p, size_t n, pfn_t env, uint64_t flags)
{
	size_t done = 0;

	while (done < n) {
		int64_t r = sys_frame_alloc(p + done, n - done, env, flags);
		if (r == -EAGAIN || r == 0) {
			wait_quiet();
		} else if (r < 0) {
			if (done)
				frame_put(p, done);
			return (int)r;
		} else {
			done += (size_t)r;
		}
	}
	return 0;
}

pfn_t frame_get(struct frames *f, size_t n, size_t align, pfn_t env, uint64_t flags)
{
	for (unsigned tries = 0; tries < TRIES; tries++) {
		pfn_t p = f->next(f, n, align, 0);
		if (!p)
			return 0;
		orphan_lock();
		int r = claim_run(p, n, env, flags);
		if (r == 0)
			orphan_forget_locked(p, n);
		orphan_unlock();
		if (r == 0)
			return p;
		if (r != -EBUSY) /* quota, frozen, no such env: another frame does not help */
			return 0;
	}
	return 0;
}

int frame_put(pfn_t pfn, size_t n)
{
	while (n > 0) {
		int64_t r = sys_frame_free(pfn, n);
		if (r < 0)
			return (int)r;
		pfn += (uint64_t)r;
		n -= (size_t)r;
	}
	return 0;
}

#define SOON 10u       /* yields in which a CPU lets go of what it is leaving */
#define AT_LAST 1000u  /* ms in which it must have: a virtual CPU may be held up that long by its host */

/* frame_retype, waiting while the frame is not quiet or still in use on a CPU. */
static int retype(pfn_t pfn, unsigned type, unsigned tries)
{
	int64_t r;

	for (unsigned i = 0; (r = sys_frame_retype(pfn, type)) == -EAGAIN || (r == -EBUSY && i < tries);) {
		if (r == -EAGAIN)
			wait_quiet();
		else if (i++ < SOON)
			thread_yield();
		else
			thread_sleep(1);
	}
	return (int)r;
}

pfn_t frame_get_typed(struct frames *f, pfn_t env, unsigned type)
{
	pfn_t p = frame_get(f, 1, 1, env, FH_ALLOC_KEEP);

	if (p && retype(p, type, SOON) < 0) {
		frame_put(p, 1);
		return 0;
	}
	return p;
}

static int put_typed(pfn_t pfn, unsigned tries)
{
	int r = retype(pfn, FH_DATA, tries);
	return r < 0 ? r : frame_put(pfn, 1);
}

int frame_put_typed(pfn_t pfn) { return put_typed(pfn, SOON + AT_LAST); }
int frame_put_soon(pfn_t pfn) { return put_typed(pfn, SOON); }

int frame_grant(pfn_t pfn, uint64_t env)
{
	int64_t r;

	while ((r = sys_frame_grant(pfn, env)) == -EAGAIN)
		wait_quiet();
	return (int)r;
}

const char *frame_type_name(unsigned type)
{
#define FH_X(name, number, text) #name,
	static const char *const names[] = {FH_TYPES(FH_X)};
#undef FH_X
	return type < FH_NTYPES ? names[type] : "?";
}
