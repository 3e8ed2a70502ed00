/*
 * envs.c - protection domains: birth and death, quota, freezing, nesting; what a parent may do to a child, and a stranger
 * to nobody (DESIGN 2, 7; invariants 4, 5, 9; HOSTILE 11, 22, 26, 47, 48).
 */
#include <errno.h>
#include <string.h>

#include "raw.h"
#include "tap.h"

#define RW (FH_P | FH_W | FH_U | FH_NX)
#define RO (FH_P | FH_U | FH_NX)
#define LINK (FH_P | FH_W | FH_U)

static uint64_t account(pfn_t env)
{
	struct fh_env e = {0};

	env_look(env, &e);
	return e.account;
}
static int64_t set(pfn_t table, unsigned index, pte_t e) { return sys_pt_set(fh_what(FH_OP_SET, 0, table, index, 1), e, 0).rax; }

/* ---- Programs ---- */

static void check_spawn(void)
{
	struct module m;
	struct env *e = NULL;
	char *argv[] = {"envs", "child", "7", NULL};

	if (!ok(module_named("envs", &m) == 0, "this program finds itself among the modules"))
		return;
	for (unsigned i = 0; i < 3; i++) {
		uint64_t free = frame_count_free(), owned = frames_owned(), freed = 0;
		int r = spawn(&e, m.data, m.bytes, argv, &(struct spawn_options){.quota = 400});
		if (r < 0) {
			ok(false, "a child is spawned: %s", error_name(r));
			return;
		}
		bool exited = env_wait(e) == ENV_EXITED;
		ok(exited && env_status(e) == 7, "a child runs this program, and exits with status %d", env_status(e));
		returns(env_reap(&e, &freed), 0, "it is buried");
		is((int64_t)(frames_owned() - owned) * (i > 0), 0, "this env owns what it did (%lu frames were the child's)", freed);
		is((int64_t)(free - frame_count_free()) * (i > 0), 0, "and as many frames are FREE");
	}
	argv[1] = "fault";
	returns(spawn(&e, m.data, m.bytes, argv, &(struct spawn_options){.quota = 400}), 0, "another is spawned");
	is(env_wait(e), ENV_FAULTED, "it faults with no handler left, and its parent hears of it");
	struct fh_thread t;
	thread_look(e->thread, &t);
	ok(t.regs.vector == 6, "vector %lu and its registers are in its THREAD frame", t.regs.vector);
	returns(env_reap(&e, NULL), 0, "it is buried");
	argv[1] = "spin";
	returns(spawn(&e, m.data, m.bytes, argv, &(struct spawn_options){.quota = 400}), 0, "another is spawned");
	thread_sleep(20);
	is(env_state(e), ENV_RUNNING, "it spins");
	returns(env_kill(e), 0, "and is killed");
	ok(env_wait(e) == ENV_EXITED && env_status(e) == 137, "with status %d", env_status(e));
	returns(env_reap(&e, NULL), 0, "it is buried");
	argv[1] = "parent";
	returns(spawn(&e, m.data, m.bytes, argv, &(struct spawn_options){.quota = 1000, .slots = 8}), 0, "another is spawned");
	ok(env_wait(e) == ENV_EXITED && env_status(e) == 9, "it forks a child, which leaves grandchildren behind, and exits (%d)",
	   env_status(e));
	uint64_t freed;
	returns(env_reap(&e, &freed), 0, "all of them are buried at once");
	pfn_t left = 0;
	for (pfn_t p = env_next(0); p; p = env_next(p))
		if (p != env_self() && env_below(p, env_self()))
			left = p;
	is((int64_t)left, 0, "no env is left below this one");
	returns(spawn(&e, "\177ELF and then nothing at all, but long enough for a header of sixty-four bytes...", 80, argv, NULL), -ENOEXEC,
	        "what is no program is refused");
}

static int child(const char *what, const char *number)
{
	struct env *e;
	struct raw r;

	if (strcmp(what, "fault") == 0) {
		thread_self()->upcall->max_depth = 0;
		__asm__ volatile("ud2");
	}
	while (strcmp(what, "spin") == 0)
		cpu_pause();
	if (strcmp(what, "parent") == 0) {
		int f = env_fork(&e);
		if (f < 0)
			return 100 - f % 50;
		if (f == 0)
			return raw_new(&r, 30) < 0 ? 2 : 3; /* never buried by its parent */
		return env_wait(e) == ENV_EXITED && env_status(e) == 3 ? 9 : 8;
	}
	return number ? number[0] - '0' : 1;
}

/* ---- Quota ---- */

static void check_quota(struct raw *c)
{
	uint64_t mine = account(env_self()), its = account(c->env), both = fh_quota(mine) + fh_quota(its);
	uint64_t spare = fh_quota(its) - fh_owned(its);

	returns(sys_env_ctl(c->env_name, FH_ENV_QUOTA, 10, 0), 0, "quota goes down to a child");
	is((int64_t)(fh_quota(account(c->env)) - fh_quota(its)), 10, "it has more");
	is((int64_t)(fh_quota(account(env_self())) + fh_quota(account(c->env))), (int64_t)both, "and its parent less: none is made");
	returns(sys_env_ctl(c->env_name, FH_ENV_QUOTA, -10ul, 0), 0, "and back up");
	returns(sys_env_ctl(c->env_name, FH_ENV_QUOTA, -(spare + 1), 0), -FH_EDQUOT, "what is in use can't be taken");
	returns(sys_env_ctl(c->env_name, FH_ENV_QUOTA, FH_ACCOUNT_MAX, 0), -FH_EDQUOT, "nor given what one hasn't");
	returns(sys_env_ctl(c->env_name, FH_ENV_QUOTA, FH_ACCOUNT_MAX + 1, 0), -FH_EINVAL, "nor more than there can be (HOSTILE 26, 52)");
	returns(sys_env_ctl(c->env_name, FH_ENV_QUOTA, 1ul << 63, 0), -FH_EINVAL, "nor less");
	returns(sys_env_ctl(c->env_name, FH_ENV_QUOTA, ~0ul << 32, 0), -FH_EINVAL, "nor with the low bits zero");
	returns(sys_env_ctl(0, FH_ENV_QUOTA, 1, 0), -FH_EPERM, "one can't give oneself");
	returns(sys_env_ctl(info->root_env, FH_ENV_QUOTA, -1ul, 0), -FH_EPERM, "nor take from one's parent");
	is(raw_call(c, FH_SYS_env_ctl, 0, FH_ENV_QUOTA, 1, 0), -FH_EPERM, "a child can't either");
	is(raw_call(c, FH_SYS_env_ctl, env_self(), FH_ENV_QUOTA, -1ul, 0), -FH_EPERM, "nor take from its parent");
	is(raw_call(c, FH_SYS_env_ctl, 0, FH_ENV_QUOTA, -5ul, 0), 0, "but give back");
	is((int64_t)fh_quota(account(c->env)), (int64_t)fh_quota(its) - 5, "which it then hasn't any more");
	is((int64_t)(fh_quota(account(env_self())) + fh_quota(account(c->env))), (int64_t)both, "and its parent has");
	sys_env_ctl(c->env_name, FH_ENV_QUOTA, 5, 0);
	returns(sys_env_ctl(c->env_name, FH_ENV_AUDIT + 1, 0, 0), -FH_EINVAL, "there is no operation behind the last");
	returns(sys_env_ctl(c->env_name, FH_ENV_CONSOLE, 0, 0), -FH_EPERM, "the console is root's to give");
	returns(sys_env_ctl(c->name, FH_ENV_FREEZE, 0, 0), -FH_ESRCH, "a thread is no env (HOSTILE 22)");
}

/* ---- Freezing ---- */

static void check_freeze(struct raw *c)
{
	volatile uint64_t *counter = (volatile uint64_t *)c->page[RAW_DATA];
	struct fh_thread_args a = {.fields = FH_SET_REGS, .regs = raw_regs(c, 0)};
	pfn_t f = frames_first.next(&frames_first, 1, 1, 0), pt1 = frame_find(0, FH_PT1, c->env);

	*counter = 0;
	a.regs.rbx = raw_va(c, RAW_DATA);
	raw_code(c, "\x48\xff\x03\xeb\xfb", 5); /* inc [rbx]; again */
	raw_write(c, &a);
	sys_thread_ctl(c->name, FH_THREAD_START, 0);
	raw_let(c, 0, 20);
	ok(*counter > 0, "a child runs");
	returns(sys_env_ctl(c->env_name, FH_ENV_FREEZE, 0, 0), 0, "it is frozen");
	uint64_t before = *counter;
	raw_let(c, 0, 20);
	is((int64_t)*counter, (int64_t)before, "and does not run, though it is ready and switched to");
	returns(sys_frame_alloc(f, 1, c->env_name, 0), -FH_ECANCELED, "nothing is claimed for it");
	returns(sys_pt_set(fh_what(FH_OP_CLAIM, 0, pt1, 300, 1), f << 12 | RW, 0).rax, -FH_ECANCELED, "nor into its tables");
	returns(sys_env_ctl(c->env_name, FH_ENV_FREEZE, 0, 0), 0, "freezing twice is no error");
	returns(sys_env_ctl(c->env_name, FH_ENV_THAW, 0, 0), 0, "it is thawed");
	raw_let(c, 0, 20);
	ok(*counter > before, "and goes on where it was");
	thread_stop(c->name, 0);
	is(raw_call(c, FH_SYS_env_ctl, 0, FH_ENV_THAW, 0, 0), -FH_EPERM, "no env thaws itself");
	is(raw_call(c, FH_SYS_env_ctl, env_self(), FH_ENV_FREEZE, 0, 0), -FH_EPERM, "or freezes its parent");
	returns(sys_env_ctl(info->root_env, FH_ENV_FREEZE, 0, 0), -FH_EPERM, "root is not frozen");
	struct fh_regs regs = raw_regs(c, 0);
	raw_code(c, "\x0f\x05\xeb\xfe", 4);
	regs.rax = FH_SYS_env_ctl;
	regs.rsi = FH_ENV_FREEZE;
	unsigned state = raw_run(c, &regs, RAW_PATIENCE);
	ok(state == FH_READY && (account(c->env) & FH_ACCOUNT_FROZEN), "an env that freezes itself is put aside at the end of its slice");
	returns(sys_env_ctl(c->env_name, FH_ENV_THAW, 0, 0), 0, "until an ancestor thaws it");
}

/* ---- Nesting ---- */

static void check_nesting(void)
{
	pfn_t env[FH_ENV_DEPTH + 2] = {env_self()};
	unsigned depth = 0;
	int64_t r = 0;
	uint64_t before = frames_owned();

	while (depth < FH_ENV_DEPTH) {
		if (depth && sys_env_ctl(env[depth], FH_ENV_QUOTA, 40 - depth, 0) < 0)
			break;
		pfn_t f = frame_get(&frames_first, 1, 1, depth ? env[depth] : 0, 0);
		if (!f || (r = sys_frame_retype(f, FH_ENV)) < 0) {
			frame_put(f, 1);
			break;
		}
		env[++depth] = f;
	}
	returns(r, -FH_ENOSPC, "the line of envs from root is %u long at most: this one's line goes %u deeper", FH_ENV_DEPTH, depth);
	is(depth, FH_ENV_DEPTH - 1, "as deep as FH_ENV_DEPTH says: this env is 1 below root");
	pfn_t f = frame_get(&frames_first, 1, 1, env[depth], 0);
	ok(f && sys_frame_free(f, 1) == 1, "authority reaches down the whole line");
	returns(sys_frame_retype(env[1], FH_DATA), -FH_ENOTEMPTY, "an env that owns something does not go (HOSTILE 47)");
	uint64_t freed = 0;
	returns(env_reap_pfn(env[1], &freed), 0, "the whole line is buried from its top");
	is((int64_t)freed, depth, "%lu frames come back", freed);
	is((int64_t)frames_owned(), (int64_t)before, "nothing is lost");
}

/* ---- Death ---- */

static unsigned type(pfn_t f) { return fh_type(frame_record(f)->state); }

/* Make the kernel flush for frames that were just unmapped until it won't any more in this slice. */
static void spend_flushes(void)
{
	pfn_t table = frame_get_typed(&frames_first, 0, FH_PT1), f = frame_get(&frames_first, 1, 1, 0, 0);
	int64_t r = 0;

	for (unsigned i = 0; i < 1000 && r != -FH_EAGAIN; i++) {
		set(table, 0, f << 12 | RW);
		set(table, 0, 0);
		r = sys_frame_retype(f, type(f) == FH_DATA ? FH_PT1 : FH_DATA); /* not quiet: it must wait */
		if (r == 0)
			sys_frame_retype(f, FH_DATA);
	}
	frame_put(f, 1);
	sys_frame_retype(table, FH_DATA);
	frame_put(table, 1);
}

static void check_death(void)
{
	pfn_t env = frame_get_typed(&frames_first, 0, FH_ENV), f = frames_first.next(&frames_first, 1, 1, 0);
	uint64_t quota = fh_quota(account(env_self()));
	struct fh_env e;

	sys_env_ctl(env, FH_ENV_QUOTA, 10, 0);
	env_look(env, &e);
	uint64_t name = fh_name(env, e.serial);
	is((int64_t)(quota - fh_quota(account(env_self()))), 10, "an env has quota from its parent");
	const volatile struct fh_env *view = scratch_map(env, 1, RIGHT_R);
	returns(sys_frame_retype(env, FH_DATA), -FH_EBUSY, "it does not die while its ENV frame is mapped");
	ok(view && !(view->account & FH_ACCOUNT_DEAD), "it lives");
	scratch_put((va_t)view, 1);

	/* It dies, but the slice's forced flushes are spent: the call fails, and dead it stays. */
	int64_t r = 0;
	for (unsigned tries = 0; tries < 20 && r != -FH_EAGAIN; tries++) {
		if (tries && (type(env) != FH_ENV || r != 0))
			break;
		spend_flushes();
		r = sys_frame_retype(env, FH_DATA);
	}
	if (r == 0) { /* a slow machine: each slice ended before its flushes were spent */
		static const char *const unseen[] = {"it dies when the slice's flushes are spent: EAGAIN", "the call failed, but it is dead",
		                                     "its quota is back with its parent", "a dead env gets no frames", "and no quota"};
		for (unsigned i = 0; i < sizeof(unseen) / sizeof(unseen[0]); i++)
			ok(true, "%s # SKIP it died and was quiet at once", unseen[i]);
		returns(frame_put(env, 1), 0, "dying twice is no error # SKIP");
	} else if (ok(r == -FH_EAGAIN, "it dies when the slice's flushes are spent: %s", error_name((int)r))) {
		ok(account(env) & FH_ACCOUNT_DEAD, "the call failed, but it is dead");
		is((int64_t)fh_quota(account(env_self())), (int64_t)quota, "its quota is back with its parent");
		returns(sys_frame_alloc(f, 1, name, 0), -FH_ECANCELED, "a dead env gets no frames");
		returns(sys_env_ctl(name, FH_ENV_QUOTA, 1, 0), -FH_ECANCELED, "and no quota");
		returns(frame_put_typed(env), 0, "dying twice is no error");
	}
	is((int64_t)fh_quota(account(env_self())), (int64_t)quota, "nor gives the quota twice (HOSTILE 27)");
	returns(sys_env_ctl(name, FH_ENV_THAW, 0, 0), -FH_ESRCH, "its name names nobody");
	returns(sys_frame_alloc(f, 1, name, 0), -FH_ESRCH, "for whom nothing is claimed");
	returns(sys_frame_retype(env_self(), FH_DATA), -FH_EPERM, "one's own env is one's parent's to end");
}

/* ---- Parent and child ---- */

static void check_parent_and_child(struct raw *c)
{
	pfn_t data = frame_get(&frames_first, 1, 1, 0, 0), own = c->frames + RAW_DATA, pt1 = frame_find(0, FH_PT1, c->env);
	pfn_t pt2 = frame_find(0, FH_PT2, c->env), mine = space_table(space_current(), 0x300000000000ul, 1);
	const unsigned at = 100;
	const va_t va = (RAW_BASE & ~(PLAN_LARGE - 1)) + at * FH_PAGE;

	is(raw_call(c, FH_SYS_pt_set, fh_what(FH_OP_SET, 0, pt1, at, 1), data << 12 | RO, 0, 0), -FH_EPERM,
	   "a child can't map its parent's frame (HOSTILE 11)");
	is(raw_call(c, FH_SYS_pt_set, fh_what(FH_OP_SET, 0, mine, at, 1), own << 12 | RO, 0, 0), -FH_EPERM, "nor write its parent's table");
	is(raw_call(c, FH_SYS_pt_set, fh_what(FH_OP_READ, 0, mine, at, 1), 0, 0, 0), -FH_EPERM, "nor read it");
	is(raw_call(c, FH_SYS_pt_set, fh_what(FH_OP_SET, 0, pt2, 9, 1), mine << 12 | LINK, 0, 0), -FH_EPERM, "nor link it");
	is(raw_call(c, FH_SYS_pt_set, fh_what(FH_OP_SET, 0, pt1, at, 1), mine << 12 | RO, 0, 0), -FH_EPERM, "nor look at it");
	is(raw_call(c, FH_SYS_pt_set, fh_what(FH_OP_SET, 0, pt1, at, 1), (uint64_t)env_self() << 12 | RO, 0, 0), -FH_EPERM,
	   "nor at its ENV frame");
	is(raw_call(c, FH_SYS_pt_set, fh_what(FH_OP_SET, 0, pt1, at, 1), c->env << 12 | RO, 0, 0), FH_OP_DONE, "its own ENV frame it may see");
	is(raw_call(c, FH_SYS_pt_set, fh_what(FH_OP_SET, 0, pt1, at, 1), c->thread << 12 | RO, 0, 0), FH_OP_DONE, "and its THREAD");
	is(raw_call(c, FH_SYS_frame_free, data, 1, 0, 0), -FH_EPERM, "it can't free its parent's frame");
	is(raw_call(c, FH_SYS_frame_retype, data, FH_PT1, 0, 0), -FH_EPERM, "nor retype it");
	is(raw_call(c, FH_SYS_env_ctl, env_self(), FH_ENV_CALLER, 0, c->env_name), -FH_EPERM, "nor put itself onto its list");

	/* What the parent gives. */
	returns(set(pt1, at, data << 12 | RO), FH_OP_DONE, "a parent maps its frame into the child's table, read-only (invariant 4)");
	uint64_t *p = scratch_map(data, 1, RIGHT_R | RIGHT_W);
	p[0] = 0xc0de;
	struct fh_regs regs = raw_regs(c, 0);
	regs.rbx = va;
	raw_code(c, "\x48\x8b\x03\x48\x89\x03", 6); /* mov rax, [rbx]; mov [rbx], rax */
	unsigned state = raw_run(c, &regs, RAW_PATIENCE);
	ok(state == FH_FAULTED && c->view->regs.rax == 0xc0de && c->view->regs.error == 7, "the child reads it, and faults when it writes");
	is(raw_call(c, FH_SYS_pt_set, fh_what(FH_OP_PROTECT, FH_FLUSH_LOCAL, pt1, at, 1), FH_W | FH_NX, 0, 0), -FH_EPERM,
	   "it can't give itself more (HOSTILE 17)");
	is(raw_call(c, FH_SYS_pt_set, fh_what(FH_OP_PROTECT, 0, pt1, at, 1), 0, 0, 0), -FH_EPERM, "not execution either");
	is(raw_call(c, FH_SYS_pt_set, fh_what(FH_OP_SET, 0, pt1, at, 1), data << 12 | RO, 0, 0), -FH_EPERM, "nor set it again");
	is(raw_call(c, FH_SYS_pt_set, fh_what(FH_OP_PROTECT, 0, pt1, at, 1), FH_NX | 1ul << 55, 0, 0), FH_OP_DONE, "its AVL bits are its own");
	is(raw_call(c, FH_SYS_pt_set, fh_what(FH_OP_UNMAP_FREE, FH_FLUSH_LOCAL, pt1, at, 1), 0, 0, 0), FH_OP_KEPT, "it unmaps it, and does not free it");
	ok(fh_owner(frame_record(data)->state) == env_self(), "it is still the parent's");

	/* A table of the parent's, linked into the child's tree: once. */
	pfn_t window = frame_get_typed(&frames_first, 0, FH_PT1);
	set(window, 0, data << 12 | RW);
	returns(set(pt2, 9, window << 12 | LINK), FH_OP_DONE, "a parent links a table of its own into its child's tree (invariant 5)");
	returns(set(pt2, 10, window << 12 | LINK), -FH_EBUSY, "but only once (HOSTILE 20)");
	regs.rbx = (RAW_BASE & ~(PLAN_GIB - 1)) + 9 * PLAN_LARGE;
	raw_code(c, "\x48\xc7\x03\x0d\x0f\x00\x00", 7); /* mov qword [rbx], 0xf0d */
	is(raw_run(c, &regs, RAW_PATIENCE), FH_STOPPED, "the child writes through it");
	is((int64_t)p[0], 0xf0d, "and the parent sees it");
	is(raw_call(c, FH_SYS_pt_set, fh_what(FH_OP_SET, 0, window, 1, 1), own << 12 | RW, 0, 0), -FH_EPERM, "the table is not the child's to fill");
	is(raw_call(c, FH_SYS_pt_set, fh_what(FH_OP_UNLINK_FREE, FH_FLUSH_LOCAL, pt2, 9, 1), 0, 0, 0), FH_OP_KEPT, "but to let go of");
	is((int64_t)(frame_record(window)->link >> 16), 0, "its record names no parent slot any more");
	set(window, 0, 0);
	returns(frame_put_typed(window), 0, "and it is given back");

	/* The other way round: the child's frame, the parent's table. */
	returns(set(mine, at, own << 12 | RW), FH_OP_DONE, "a parent maps its child's frame into its own table");
	*(volatile uint64_t *)(0x300000000000ul + at * FH_PAGE) = 0xbeef;
	is((int64_t)*(uint64_t *)c->page[RAW_DATA], 0xbeef, "and writes it");
	set(mine, at, 0);
	returns(set(pt1, at, (uint64_t)env_self() << 12 | RO), -FH_EPERM, "its ENV frame it can't show to the child");
	returns(set(pt1, at, space_current()->root << 12 | RO), -FH_EPERM, "nor its tables: those are for their owner and its ancestors");
	scratch_put((va_t)p, 1);
	returns(frame_put(data, 1), 0, "the frame is given back");
	space_trim(space_current(), 0x300000000000ul, 0x300000000000ul + PLAN_GIB);
}

/* ---- Siblings ---- */

static void check_siblings(struct raw *a, struct raw *b)
{
	pfn_t theirs = b->frames + RAW_DATA, pt1 = frame_find(0, FH_PT1, a->env), other = frame_find(0, FH_PT1, b->env);
	pfn_t f = frames_first.next(&frames_first, 1, 1, 0);
	const struct {
		const char *what;
		uint64_t number, arg[4];
	} calls[] = {
	    {"free its frame", FH_SYS_frame_free, {theirs, 1}},
	    {"retype its frame", FH_SYS_frame_retype, {theirs, FH_PT1}},
	    {"take its frame", FH_SYS_frame_take, {theirs, 1}},
	    {"grant itself its frame", FH_SYS_frame_grant, {theirs, a->env_name}},
	    {"withdraw its table", FH_SYS_frame_grant, {other, 0}},
	    {"ask it for frames", FH_SYS_env_ctl, {b->env_name, FH_ENV_REVOKE, 1, 0}},
	    {"listen for it", FH_SYS_env_ctl, {b->env_name, FH_ENV_LISTENER, 0}},
	    {"retype its ENV", FH_SYS_frame_retype, {b->env, FH_DATA}},
	    {"retype its THREAD", FH_SYS_frame_retype, {b->thread, FH_DATA}},
	    {"claim for it", FH_SYS_frame_alloc, {f, 1, b->env_name}},
	    {"map its frame", FH_SYS_pt_set, {fh_what(FH_OP_SET, 0, pt1, 90, 1), theirs << 12 | RW}},
	    {"map its frame read-only", FH_SYS_pt_set, {fh_what(FH_OP_SET, 0, pt1, 90, 1), theirs << 12 | RO}},
	    {"see its ENV", FH_SYS_pt_set, {fh_what(FH_OP_SET, 0, pt1, 90, 1), b->env << 12 | RO}},
	    {"see its THREAD", FH_SYS_pt_set, {fh_what(FH_OP_SET, 0, pt1, 90, 1), b->thread << 12 | RO}},
	    {"see its table", FH_SYS_pt_set, {fh_what(FH_OP_SET, 0, pt1, 90, 1), other << 12 | RO}},
	    {"link its table", FH_SYS_pt_set, {fh_what(FH_OP_SET, 0, frame_find(0, FH_PT2, a->env), 90, 1), other << 12 | LINK}},
	    {"read its table", FH_SYS_pt_set, {fh_what(FH_OP_READ, 0, other, 0, 1)}},
	    {"clear its table", FH_SYS_pt_set, {fh_what(FH_OP_CLEAR, 0, other, 0, 1)}},
	    {"put its own frame there", FH_SYS_pt_set, {fh_what(FH_OP_SET, 0, other, 90, 1), (a->frames + RAW_DATA) << 12 | RW}},
	    {"flush its root", FH_SYS_tlb_flush, {b->root, FH_TLB_LOCAL}},
	    {"take its quota", FH_SYS_env_ctl, {b->env_name, FH_ENV_QUOTA, -1ul}},
	    {"give it quota", FH_SYS_env_ctl, {b->env_name, FH_ENV_QUOTA, 1}},
	    {"freeze it", FH_SYS_env_ctl, {b->env_name, FH_ENV_FREEZE}},
	    {"thaw it", FH_SYS_env_ctl, {b->env_name, FH_ENV_THAW}},
	    {"name it without serial", FH_SYS_env_ctl, {b->env, FH_ENV_FREEZE}},
	    {"read the console", FH_SYS_console_read, {0, 8, 0}},
	    {"halt the machine", FH_SYS_machine_halt, {0}},
	};
	struct tally t = {0};

	for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		const uint64_t *g = calls[i].arg;
		int64_t r = raw_call(a, calls[i].number, g[0], g[1], g[2], g[3]);
		if (r != -FH_EPERM)
			count_bad(&t, "%s: %ld", calls[i].what, r);
	}
	none_bad(&t, "a stranger may do none of %lu things to an env (HOSTILE 11)", sizeof(calls) / sizeof(calls[0]));
	returns(set(pt1, 90, theirs << 12 | RO), -FH_EPERM, "not even their common parent maps one's frame for the other");
	returns(set(frame_find(0, FH_PT2, a->env), 90, other << 12 | LINK), FH_OP_DONE, "a table it may link across, on its own authority");
	returns(sys_pt_set(fh_what(FH_OP_CLEAR, 0, frame_find(0, FH_PT2, a->env), 90, 1), 0, 0).rax, FH_OP_DONE, "and unlink");

	struct fh_thread_args args = {.fields = FH_SET_ROOT, .root = b->root};
	returns(raw_write(a, &args), -FH_EPERM, "no thread gets another env's root");
	args = (struct fh_thread_args){.fields = FH_SET_UPCALL, .upcall = theirs};
	returns(raw_write(a, &args), -FH_EPERM, "or its frames as upcall frame");
	args = (struct fh_thread_args){.fields = FH_SET_BATCH, .batch = theirs};
	returns(raw_write(a, &args), -FH_EPERM, "or batch frame");
}

int main(int argc, char **argv)
{
	struct raw a, b;

	if (argc > 1)
		return child(argv[1], argv[2]);
	tap_begin();
	if (raw_new(&a, 64) < 0 || raw_new(&b, 64) < 0)
		panic("no children");
	check_quota(&a);
	check_freeze(&a);
	check_nesting();
	check_death();
	check_parent_and_child(&a);
	check_siblings(&a, &b);
	ok(raw_end(&a) == 0 && raw_end(&b) == 0, "both children are buried");
	check_spawn();
	return tap_end();
}
