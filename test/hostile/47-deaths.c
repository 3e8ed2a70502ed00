/* 47: an owner that dies in the middle of a batch, a granter that dies while its window is mapped, names of the dead. */
#include "documented.h"
#include "hostile.h"

/* r12: what; r13: entry; again and again. */
static const unsigned char loop[] = {
    0xb8, FH_SYS_pt_set, 0, 0, 0, 0x4c, 0x89, 0xe7, 0x4c, 0x89, 0xee, 0x31, 0xd2, 0x0f, 0x05, 0x4d, 0x87, 0xf4, 0xeb, 0xec,
};

static volatile pfn_t target;
static volatile uint64_t filled;
static volatile bool stop;
static struct tally wrong;

static void fill(void *arg)
{
	unsigned first = 64 + 100 * ((unsigned)(uintptr_t)arg % 4);
	struct fh_op *b = batch_here();

	while (!stop) {
		pfn_t table = target, f = frames_first.next(&frames_first, 16, 1, 0);
		b[0] = (struct fh_op){fh_what(FH_OP_CLAIM, 0, table, first, 16), f << 12 | RW};
		b[1] = (struct fh_op){fh_what(FH_OP_UNMAP_FREE, 0, table, first, 16), 0};
		for (unsigned i = 0; table && i < 2; i++) {
			int64_t r = sys_pt_update((va_t)(b + i) - (va_t)thread_self()->batch, 1).rax;
			if (!documented(FH_SYS_pt_update, r))
				count_bad(&wrong, "operation %u: %ld", i, r);
		}
		__atomic_fetch_add(&filled, table != 0, __ATOMIC_RELAXED);
		for (unsigned i = 0; i < (info->ncpus > 1 ? 5000 : 1); i++)
			relax();
	}
}

void attack(void)
{
	struct tally t = {0};
	struct raw *b = victim(200);
	pfn_t b_pt2 = table_of(b, FH_PT2);
	const unsigned rounds = 10;

	/* Each granter dies while its tenant links, reads and unlinks on another CPU. */
	for (unsigned i = 0; i < rounds; i++) {
		struct raw *a = victim(100);
		pfn_t window = frame_get_typed(&frames_first, a->env, FH_PT1);
		set(window, 0, (a->frames + RAW_DATA) << 12 | RO);
		want(&t, raw_call(a, FH_SYS_frame_grant, window, b->env_name, 0, 0), 0, "round %u: granted", i);
		raw_code(b, loop, sizeof(loop));
		struct fh_thread_args args = {.fields = FH_SET_REGS, .regs = raw_regs(b, 0)};
		args.regs.r12 = fh_what(FH_OP_SET, 0, b_pt2, 77, 1), args.regs.r13 = window << 12 | LINK;
		args.regs.r14 = i % 2 ? args.regs.r12 : fh_what(FH_OP_READ, 0, b_pt2, 77, 1);
		want(&t, raw_write(b, &args), 0, "round %u: the tenant", i);
		cpus_begin();
		cpu_place(b->name, info->ncpus - 1);
		want(&t, sys_thread_ctl(b->name, FH_THREAD_START, 0), 0, "round %u: started", i);
		for (unsigned k = 0; k < (info->ncpus > 1 ? 300 : 2); k++)
			relax();
		const uint64_t name = a->env_name, thread = a->name;
		const pfn_t env = a->env;
		victim_end(a, &t); /* now */
		want(&t, fh_link_parent(frame_record(window)->link) == 0, 1, "round %u: the dead one's window linked", i);
		thread_stop(b->name, 0);
		cpu_leave(b->name);
		cpus_end();
		want(&t, b->view->state, FH_STOPPED, "round %u: the tenant lives", i);
		/* The dead one's name, and another in its frame. */
		want(&t, sys_frame_grant(data, name), -FH_ESRCH, "round %u: a grant to the dead", i);
		want(&t, sys_env_ctl(name, FH_ENV_QUOTA, 1, 0), -FH_ESRCH, "round %u: quota for the dead", i);
		want(&t, sys_thread_ctl(thread, FH_THREAD_START, 0), -FH_ESRCH, "round %u: a dead thread started", i);
		want(&t, sys_thread_switch(thread, 1, 0, 1), -FH_ESRCH, "round %u: a dead thread rung", i);
		int64_t r;
		while ((r = sys_frame_alloc(env, 1, 0, 0)) == -FH_EAGAIN)
			thread_sleep(1);
		if (r != 1)
			continue; /* the canary has it */
		want(&t, retype(env, FH_ENV), 0, "round %u: an env in the same frame", i);
		want(&t, sys_frame_grant(data, name), -FH_ESRCH, "round %u: a grant to the one before", i);
		want(&t, sys_env_ctl(name, FH_ENV_QUOTA, 1, 0), -FH_ESRCH, "round %u: quota for the one before", i);
		frame_put_typed(env);
	}
	none_bad(&t,
	         "%u granters die while their tenant works with their window; the dead and who comes after have other names: ESRCH",
	         rounds);
	victim_end(b, &t);

	/* The owner of a table dies while its parent fills that, by batches, from other CPUs. */
	t.bad = 0;
	crew_begin(fill);
	for (unsigned i = 0; i < 4; i++) {
		struct raw *a = victim(300);
		target = table_of(a, FH_PT1);
		for (uint64_t from = filled, end = cpu_tsc() + ms(60000); filled < from + 3 && cpu_tsc() < end;)
			relax();
		victim_end(a, &t);
	}
	stop = true;
	crew_end();
	none_bad(&wrong, "%lu batches into the tables of envs that are being buried: done, or refused as docs/abi.md says", filled);
	none_bad(&t, "and each env is buried, whole");
}
