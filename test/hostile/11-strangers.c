/* 11: what belongs to a stranger, without a grant; and what a read-only grant shows, made writable. */
#include "hostile.h"

static void canary(struct tally *t)
{
	const struct stage *s = STAGE;
	pfn_t victims[CANARY_PAGES + 6], n = 0;

	for (unsigned i = 0; i < CANARY_PAGES; i++)
		victims[n++] = s->page[i];
	victims[n++] = s->root, victims[n++] = s->pt1, victims[n++] = fh_name_pfn(s->env), victims[n++] = fh_name_pfn(s->thread);
	victims[n++] = s->runner_root, victims[n++] = s->runner_page;
	for (unsigned i = 0; i < n; i++) {
		pfn_t f = victims[i];
		want(t, set(pt1, 9, f << 12 | RO), -FH_EPERM, "frame %u mapped", i);
		want(t, set(pt2, 9, f << 12 | LINK), f == s->pt1 ? -FH_EPERM : -FH_EBUSY, "frame %u linked", i);
		want(t, sys_frame_free(f, 1), -FH_EPERM, "frame %u freed", i);
		want(t, sys_frame_retype(f, FH_PT1), -FH_EPERM, "frame %u retyped", i);
		want(t, sys_frame_grant(f, env_self_name()), -FH_EPERM, "frame %u granted", i);
		want(t, sys_frame_grant(f, 0), -FH_EPERM, "frame %u withdrawn", i);
		want(t, sys_frame_take(f, 1), -FH_EPERM, "frame %u taken", i);
		want(t, set(f, 3, data << 12 | RW), type(f) >= FH_PT1 && type(f) <= FH_PT4 ? -FH_EPERM : -FH_EINVAL,
		     "frame %u written to", i);
		either(t, sys_tlb_flush(f, FH_TLB_ALL, 0, 0), -FH_EPERM, -FH_EINVAL, "root %u flushed", i);
	}
	const uint64_t envs[] = {s->env, s->runner_env, info->root_env}, threads[] = {s->thread, s->runner_thread, info->root_thread};
	for (unsigned i = 0; i < 3; i++) {
		for (uint64_t o = 0; o < FH_ENV_AUDIT; o++)
			want(t, sys_env_ctl(envs[i], o, 1, 0), -FH_EPERM, "env_ctl %lu of env %u", o, i);
		want(t, sys_frame_alloc(free_frame(), 1, envs[i], 0), -FH_EPERM, "a frame for env %u", i);
		want(t, sys_thread_ctl(threads[i], FH_THREAD_STOP, 0), -FH_EPERM, "thread %u stopped", i);
		want(t, sys_thread_ctl(threads[i], FH_THREAD_START, 0), -FH_EPERM, "thread %u started", i);
		want(t, sys_thread_write(threads[i], 0), -FH_EPERM, "thread %u written", i);
		want(t, sys_thread_switch(threads[i], 1, 0, 1), -FH_EPERM, "thread %u rung", i);
		want(t, sys_cpu_slice(info->cpu_pfn[0], 255, threads[i]), -FH_EPERM, "slices of thread %u", i);
	}
	want(t, sys_machine_halt(0), -FH_EPERM, "the machine halted");
	want(t, sys_console_read(0, 8, 0), -FH_EPERM, "the console read");
}

void attack(void)
{
	struct tally t = {0};

	canary(&t);
	none_bad(&t, "a stranger's frames, tables, threads and envs: EPERM by every call");
	/* A window, shown read-only: its tenant is a child env that knows nothing but its name. */
	struct raw *v = victim(64);
	pfn_t window = table_new(FH_PT1), v_pt2 = table_of(v, FH_PT2);
	t.bad = 0;
	set(window, 0, data << 12 | RO);
	want(&t, frame_grant(window, v->env_name), 0, "granted");
#define BY(o, table, index, e) raw_call(v, FH_SYS_pt_set, fh_what(o, 0, table, index, 1), e, 0, 0)
	want(&t, BY(FH_OP_SET, v_pt2, 100, window << 12 | LINK), FH_OP_DONE, "linked");
	want(&t, BY(FH_OP_PROTECT, window, 0, FH_W | FH_NX), -FH_EPERM, "the tenant PROTECTs the window's entry");
	want(&t, BY(FH_OP_SET, window, 1, data << 12 | RW), -FH_EPERM, "the tenant SETs in the window");
	want(&t, BY(FH_OP_SET, table_of(v, FH_PT1), 300, data << 12 | RO), -FH_EPERM, "the tenant maps the page in its own table");
	want(&t, BY(FH_OP_NARROW, v_pt2, 100, 0), FH_OP_DONE, "it narrows its link");
	want(&t, BY(FH_OP_PROTECT, v_pt2, 100, FH_W), FH_OP_DONE, "it widens its link again: its own slot");
	struct fh_regs regs = raw_regs(v, 0);
	regs.rdi = 100 * PLAN_LARGE;
	want(&t, vector_of(v, "\x48\x8b\x07\x0f\x0b", 5, &regs), 6, "it reads");
	want(&t, vector_of(v, "\x48\x89\x07\x0f\x0b", 5, &regs), 14, "it writes");
	none_bad(&t, "what is shown read-only stays so, at the leaf and by the link above: EPERM, and a write faults");
	want(&t, frame_grant(window, 0), 0, "withdrawn");
	clear(window, 0);
	frame_put_typed(window);
	victim_end(v, &t);
}
