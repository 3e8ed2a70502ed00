/*
 * grants.c - two strangers share a window and pass a page on, a third looks on; a parent asks a child for frames, and
 * takes them (DESIGN 5, 7; HOSTILE 11, 18, 22, 29, 32, 47).
 */
#include <string.h>

#include "raw.h"
#include "tap.h"

#define RW (FH_P | FH_W | FH_U | FH_NX)
#define RO (FH_P | FH_U | FH_NX)
#define LINK (FH_P | FH_W | FH_U)

static struct raw a, b, c; /* owner, tenant, stranger: children of this env, and siblings */
static pfn_t window, page[2], b_pt2, c_pt2;
static char *seen[2]; /* a's pages, mapped here */

#define SLOT 9u
static const va_t window_va = (RAW_BASE & ~(PLAN_GIB - 1)) + SLOT * PLAN_LARGE;

static int64_t op(struct raw *r, unsigned code, pfn_t table, unsigned index, pte_t e)
{
	return raw_call(r, FH_SYS_pt_set, fh_what(code, FH_FLUSH_LOCAL, table, index, 1), e, 0, 0);
}
static int64_t set(struct raw *r, pfn_t table, unsigned index, pte_t e) { return op(r, FH_OP_SET, table, index, e); }
static int64_t grant(struct raw *r, pfn_t f, uint64_t env) { return raw_call(r, FH_SYS_frame_grant, f, env, 0, 0); }
static int64_t take(struct raw *r, pfn_t f) { return raw_call(r, FH_SYS_frame_take, f, 1, 0, 0); }
static pfn_t owner(pfn_t f) { return fh_owner(frame_record(f)->state); }

/* What r may do at va, and what it reads there. */
static unsigned rights(struct raw *r, va_t va, uint64_t *value)
{
	struct fh_regs regs = raw_regs(r, 0);

	regs.rbx = va;
	raw_code(r, "\x4c\x8b\x3b\x4c\x89\x3b", 6); /* mov r15, [rbx]; mov [rbx], r15 */
	unsigned state = raw_run(r, &regs, RAW_PATIENCE);
	*value = r->view->regs.r15;
	if (state == FH_STOPPED)
		return RIGHT_R | RIGHT_W;
	return state == FH_FAULTED && r->view->regs.rip == raw_va(r, RAW_CODE) + 3 ? RIGHT_R : 0;
}

/* ---- A window ---- */

static void make_window(void)
{
	window = frame_get(&frames_first, 1, 1, a.env, 0);
	for (unsigned i = 0; i < 2; i++) {
		page[i] = frame_get(&frames_first, 1, 1, a.env, 0);
		seen[i] = scratch_map(page[i], 1, RIGHT_R | RIGHT_W);
		memcpy(seen[i], &(uint64_t){0x1000 + i}, 8);
	}
	b_pt2 = frame_find(0, FH_PT2, b.env), c_pt2 = frame_find(0, FH_PT2, c.env);
	is(raw_call(&a, FH_SYS_frame_retype, window, FH_PT1, 0, 0), 0, "an env makes a table of one of its frames");
	is(set(&a, window, 0, page[0] << 12 | RO), FH_OP_DONE, "and maps a page in it, read-only");
	is(set(&a, window, 1, page[1] << 12 | RW), FH_OP_DONE, "and another, writable");
}

static void check_window(void)
{
	uint64_t value;

	make_window();
	is(set(&b, b_pt2, SLOT, window << 12 | LINK), -FH_EPERM, "a stranger can't link it (HOSTILE 11)");
	is(grant(&b, window, b.env_name), -FH_EPERM, "nor grant it to itself");
	is(grant(&a, window, b.env), -FH_EPERM, "it is granted by the tenant's whole name only (HOSTILE 22)");
	is(grant(&a, window, b.env_name), 0, "its owner grants it");
	is((int64_t)frame_record(window)->tenant, (int64_t)b.env_name, "its record, readable by all, says to whom");
	is(grant(&a, window, c.env_name), -FH_EBUSY, "to one at a time");
	is(set(&c, c_pt2, SLOT, window << 12 | LINK), -FH_EPERM, "another still can't link it");
	is(set(&b, b_pt2, SLOT, window << 12 | LINK), FH_OP_DONE, "the tenant links it into its tree");
	is(set(&b, b_pt2, SLOT + 1, window << 12 | LINK), -FH_EBUSY, "once (HOSTILE 20)");
	is(rights(&b, window_va, &value), RIGHT_R, "it reads the first page there, and its write faults");
	is((int64_t)value, 0x1000, "what it reads is the owner's");
	memcpy(seen[0], &(uint64_t){0x2000}, 8);
	rights(&b, window_va, &value);
	is((int64_t)value, 0x2000, "and what the owner writes it reads");
	is(rights(&b, window_va + FH_PAGE, &value), RIGHT_R | RIGHT_W, "it writes to the second page");
	is(op(&b, FH_OP_NARROW, b_pt2, SLOT, FH_NX), FH_OP_DONE, "the tenant narrows its link");
	is(rights(&b, window_va + FH_PAGE, &value), RIGHT_R, "then it reads only");
	is(op(&b, FH_OP_PROTECT, b_pt2, SLOT, FH_W), FH_OP_DONE, "and widens it again");
	is(rights(&b, window_va + FH_PAGE, &value), RIGHT_R | RIGHT_W, "to what the owner lets it");
	is(set(&b, window, 0, page[0] << 12 | RW), -FH_EPERM, "in the window it changes nothing (HOSTILE 17)");
	is(op(&b, FH_OP_PROTECT, window, 0, FH_W), -FH_EPERM, "not a right");
	is(op(&b, FH_OP_READ, window, 0, 0), -FH_EPERM, "and reads no entry");
	is(grant(&b, window, c.env_name), -FH_EPERM, "nor does it grant it on");
}

static void check_withdrawal(void)
{
	uint64_t value;

	is(op(&a, FH_OP_CLEAR, window, 1, 0), FH_OP_DONE, "the owner takes one page out of the window");
	is(raw_call(&a, FH_SYS_frame_sync, page[1], 1, 0, 0), 1, "waits until no CPU has it in its TLB");
	is(rights(&b, window_va + FH_PAGE, &value), 0, "and the tenant has it no more");
	is(rights(&b, window_va, &value), RIGHT_R, "but the other");
	is(raw_call(&a, FH_SYS_frame_retype, window, FH_DATA, 0, 0), -FH_EBUSY, "a table that is linked isn't made anything else (HOSTILE 29)");
	is(raw_call(&b, FH_SYS_frame_grant, window, 0, 0, 0), -FH_EPERM, "the tenant withdraws nothing");
	is(grant(&a, window, 0), 0, "the owner withdraws the window");
	is(rights(&b, window_va, &value), 0, "and the tenant has nothing of it");
	is((int64_t)(frame_record(window)->link >> 16), 0, "its record names no slot");
	is((int64_t)frame_record(b_pt2)->link & 1023, 1, "and the tenant's table has an entry less");
	is(set(&b, b_pt2, SLOT, window << 12 | LINK), -FH_EPERM, "it can't be linked again");
	is(grant(&a, window, 0), 0, "withdrawing again is no error");
	is(grant(&a, window, c.env_name), 0, "it is granted to another");
	is(set(&c, c_pt2, SLOT, window << 12 | LINK), FH_OP_DONE, "who links it");
	is(rights(&c, window_va, &value), RIGHT_R, "and reads");
	returns(sys_frame_grant(window, 0), 0, "their parent may withdraw it too");
	is(rights(&c, window_va, &value), 0, "with the same effect");
	is(op(&a, FH_OP_CLEAR, window, 0, 0), FH_OP_DONE, "the owner clears what is left");
	is(raw_call(&a, FH_SYS_frame_retype, window, FH_DATA, 0, 0), 0, "and the table is memory again");
}

/* ---- A page passes on ---- */

static void check_take(void)
{
	uint64_t value, of_a = (uint64_t)frame_owned(a.env), of_b = (uint64_t)frame_owned(b.env);
	pfn_t a_pt1 = frame_find(0, FH_PT1, a.env), b_pt1 = frame_find(0, FH_PT1, b.env), p = page[1];
	const va_t va = (RAW_BASE & ~(PLAN_LARGE - 1)) + 100 * FH_PAGE;

	memcpy(seen[1], &(uint64_t){0xca11}, 8);
	is(set(&a, a_pt1, 100, p << 12 | RW), FH_OP_DONE, "an env has a page mapped");
	is(take(&b, p), -FH_EPERM, "a stranger can't take it (HOSTILE 11)");
	is(grant(&a, p, b.env_name), 0, "it is granted");
	is(take(&c, p), -FH_EPERM, "another can't take it either");
	is(set(&b, b_pt1, 100, p << 12 | RO), -FH_EPERM, "nor does its tenant map it, before it is its own");
	scratch_put((va_t)seen[1], 1);
	is(take(&b, p), -FH_EBUSY, "which it can't be while its owner has it mapped (HOSTILE 18)");
	is(op(&a, FH_OP_CLEAR, a_pt1, 100, 0), FH_OP_DONE, "the owner unmaps it");
	is(take(&b, p), 1, "the tenant takes it");
	is((int64_t)owner(p), (int64_t)b.env, "it is the owner now");
	is((int64_t)frame_owned(a.env), (int64_t)of_a - 1, "the old one owns one frame fewer");
	is((int64_t)frame_owned(b.env), (int64_t)of_b + 1, "the new one more");
	is(raw_call(&a, FH_SYS_frame_free, p, 1, 0, 0), -FH_EPERM, "the old one can't free it");
	is(set(&a, a_pt1, 100, p << 12 | RO), -FH_EPERM, "nor map it");
	is(set(&b, b_pt1, 100, p << 12 | RW), FH_OP_DONE, "the new one maps it");
	is(rights(&b, va, &value), RIGHT_R | RIGHT_W, "reads and writes it");
	is((int64_t)value, 0xca11, "and what was in it");
	is(op(&b, FH_OP_UNMAP_FREE, b_pt1, 100, 0), FH_OP_DONE, "and frees it");
	is(grant(&a, page[0], b.env_name), 0, "a page is granted");
	is(grant(&a, page[0], 0), 0, "and withdrawn");
	is(take(&b, page[0]), -FH_EPERM, "then it isn't taken");
	is(raw_call(&b, FH_SYS_frame_take, info->cpu_pfn[0], 1, 0, 0), -FH_EPERM, "a CPU is root's to grant");
	is(grant(&a, info->cpu_pfn[0], a.env_name), -FH_EPERM, "and not anybody's");
}

/* ---- An env that shares dies ---- */

static void check_deaths(void)
{
	pfn_t table = frame_get_typed(&frames_first, a.env, FH_PT1);
	uint64_t value;

	returns(sys_pt_set(fh_what(FH_OP_SET, 0, table, 0, 1), page[0] << 12 | RO, 0).rax, FH_OP_DONE, "there is another window");
	is(grant(&a, table, b.env_name), 0, "it is granted");
	is(set(&b, b_pt2, SLOT, table << 12 | LINK), FH_OP_DONE, "and linked");
	is(grant(&a, table, 0) == 0 && grant(&a, table, c.env_name) == 0, 1, "it changes hands");
	is(set(&c, c_pt2, SLOT, table << 12 | LINK), FH_OP_DONE, "and is linked there");
	scratch_put((va_t)seen[0], 1);
	returns(raw_end(&c), 0, "the tenant dies with the window in its tree");
	is((int64_t)owner(page[0]), (int64_t)a.env, "what was in it stays the owner's");
	is((int64_t)(frame_record(table)->link >> 16), 0, "then it is linked nowhere");
	is(grant(&a, table, 0) == 0 && grant(&a, table, b.env_name) == 0, 1, "its grant, to nobody who lives, is withdrawn and made anew");
	is(set(&b, b_pt2, SLOT, table << 12 | LINK), FH_OP_DONE, "and linked");
	is(rights(&b, window_va, &value), RIGHT_R, "and read");
	returns(raw_end(&a), 0, "the owner dies, and its parent takes the window back before it buries it (HOSTILE 47)");
	is(rights(&b, window_va, &value), 0, "the tenant lives, and has nothing of its any more");
	returns(raw_end(&b), 0, "and is buried");
}

/* ---- Revocation ---- */

static volatile uint64_t rung;
static void on_revoke(uint64_t bits) { rung |= bits; }

/* The child of check_revocation: it holds frames, and gives back as many as it is asked for. */
static int hoarder(void)
{
	struct fh_env e;
	pfn_t held[20];

	for (unsigned i = 0; i < 20; i++)
		held[i] = frame_get(&frames_first, 1, 1, 0, 0);
	on_bell(FH_BELL_REVOKE, on_revoke);
	if (sys_env_ctl(0, FH_ENV_LISTENER, thread_self()->name, 0) < 0 || sys_env_ctl(0, FH_ENV_REVOKE, 1, 0) != -FH_EPERM)
		return 2;
	for (unsigned i = 0; i < 5000 && !rung; i++)
		thread_sleep(1);
	if (rung != FH_BELL_REVOKE || env_look(env_self(), &e) < 0)
		return 3;
	unsigned n = (unsigned)e.revoke_frames;
	if (e.revoke_seq != 1 || n > 20 || cpu_tsc() > e.revoke_deadline)
		return 4;
	for (unsigned i = 0; i < n; i++)
		frame_put(held[i], 1);
	return 100 + (int)n;
}

static void check_revocation(void)
{
	struct env *child = NULL;
	struct module m;
	char *argv[] = {"grants", "hoarder", NULL};
	struct fh_env e = {0};

	if (!ok(module_named("grants", &m) == 0 && spawn(&child, m.data, m.bytes, argv, &(struct spawn_options){.quota = 400}) == 0,
	        "a child is spawned, and hoards frames"))
		return;
	for (unsigned i = 0; i < 2000 && e.listener == 0; i++) {
		thread_sleep(1);
		env_look(child->pfn, &e);
	}
	is((int64_t)e.listener, (int64_t)child->thread_name, "its first thread listens for requests");
	returns(sys_thread_switch(child->thread_name, FH_BELL_REVOKE, 0, 1), -FH_EINVAL, "that bell is the kernel's to ring");
	returns(sys_env_ctl(child->name, FH_ENV_REVOKE, 12, cpu_tsc() + 20000 * info->tsc_khz), 0, "its parent asks for twelve frames");
	is(env_wait(child), ENV_EXITED, "it is told in an upcall");
	is(env_status(child), 112, "and gives them back");
	returns(env_reap(&child, NULL), 0, "it is buried");
}

static void check_repossession(void)
{
	struct raw r;
	struct fh_env e;
	struct tally t = {0};

	if (raw_new(&r, 400) < 0)
		panic("no child");
	returns(sys_env_ctl(r.env_name, FH_ENV_REVOKE, 300, 0), 0, "a child that doesn't listen is asked for 300 frames");
	env_look(r.env, &e);
	ok(e.revoke_frames == 300 && e.revoke_deadline == 0 && e.revoke_seq == 1 && e.listener == 0, "the request is in its ENV frame");
	uint64_t before = e.repossessed;
	is((int64_t)before, 0, "nothing has been taken from it");
	pfn_t first = frame_get(&frames_first, 300, 1, r.env, 0);
	for (unsigned i = 0; first && i < 300; i++)
		if (sys_frame_free(first + i, 1) != 1)
			count_bad(&t, "frame %u not freed", i);
	none_bad(&t, "its parent takes 300 (the abort protocol)");
	env_look(r.env, &e);
	is((int64_t)e.repossessed, 300, "the vector counts them");
	unsigned lost = 0;
	for (uint64_t s = 0; s < e.repossessed; s++) {
		uint64_t entry = e.repossession[s % FH_REPOSSESSIONS];
		if (entry >> 32 != s)
			lost++;
		else if ((entry & FH_PFN_MASK) != first + s)
			count_bad(&t, "entry %lu is %#lx", s, entry);
	}
	none_bad(&t, "names the last 256, in order");
	is(lost, 300 - FH_REPOSSESSIONS, "and lets its reader see that the others are lost");
	pfn_t f = frame_get(&frames_first, 1, 1, r.env, 0);
	returns(sys_frame_grant(f, env_self_name()), 0, "a parent grants itself its child's frame");
	returns(sys_frame_take(f, 1), 1, "and takes it");
	env_look(r.env, &e);
	is((int64_t)e.repossession[300 % FH_REPOSSESSIONS], (int64_t)(f | 300ul << 32), "that is in the vector too");
	returns(frame_put(f, 1), 0, "it is its own now");
	is(raw_call(&r, FH_SYS_env_ctl, 0, FH_ENV_LISTENER, r.name, 0), 0, "the child listens now");
	is(raw_call(&r, FH_SYS_env_ctl, 0, FH_ENV_LISTENER, info->root_thread, 0), -FH_EPERM, "a stranger's thread doesn't listen for it");
	is(raw_call(&r, FH_SYS_env_ctl, 0, FH_ENV_LISTENER, fh_name(r.env, 1), 0), -FH_ESRCH, "and what is no thread neither");
	is(raw_call(&r, FH_SYS_env_ctl, env_self_name(), FH_ENV_REVOKE, 1, 0), -FH_EPERM, "it asks nothing of its parent");
	returns(sys_env_ctl(r.env_name, FH_ENV_REVOKE, 1, 0), 0, "it is asked again");
	is((int64_t)(r.view->bells & FH_BELL_REVOKE), (int64_t)FH_BELL_REVOKE, "and rung: the bell waits until it has a handler");
	returns(sys_env_ctl(r.env_name, FH_ENV_LISTENER, 0, 0), 0, "its parent may silence it");
	returns(raw_end(&r), 0, "it is buried");
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "hoarder") == 0)
		return hoarder();
	tap_begin();
	if (raw_new(&a, 64) < 0 || raw_new(&b, 64) < 0 || raw_new(&c, 64) < 0)
		panic("no children");
	check_window();
	check_withdrawal();
	check_take();
	check_deaths();
	check_revocation();
	check_repossession();
	return tap_end();
}
