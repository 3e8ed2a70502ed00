/* 29: freeing, retyping or giving away what is linked, loaded, pinned, sliced, granted. */
#include "hostile.h"

void attack(void)
{
	struct tally t = {0};
	struct raw *v = victim(200);
	pfn_t window = table_new(FH_PT1), f = data_new(1, 1);
	pfn_t me = fh_name_pfn(thread_self_name()), batch = frame_at(batch_here());
	const struct {
		const char *what;
		pfn_t f;
	} used[] = {
		{"the loaded root", pt4},
		{"a linked PT3", pt3},
		{"a linked PT2", pt2},
		{"a linked PT1", pt1},
		{"our THREAD", me},
		{"our ENV", env_self()},
		{"the batch frame", batch},
		{"a child's root", v->root},
		{"a child's ENV", v->env},
		{"a child's upcall frame", v->frames + RAW_UPCALL},
		{"a child's PT1", table_of(v, FH_PT1)},
		{"our stack's page", frame_at(&t)},
	};

	for (unsigned i = 0; i < sizeof(used) / sizeof(*used); i++) {
		int64_t none = used[i].f == env_self() ? -FH_EPERM : -FH_EBUSY;
		want(&t, sys_frame_free(used[i].f, 1), none, "%s, freed", used[i].what);
		for (unsigned k = FH_DATA; k <= FH_THREAD; k++) {
			int64_t r = sys_frame_retype(used[i].f, k);
			if (r != none && !(used[i].f == v->env && r == -FH_ENOTEMPTY))
				count_bad(&t, "%s, retyped to %u: %ld", used[i].what, k, r);
		}
		int64_t r = sys_frame_grant(used[i].f, v->env_name);
		if (r == 0) { /* it may be granted, but not taken */
			want(&t, raw_call(v, FH_SYS_frame_take, used[i].f, 1, 0, 0),
			     fh_type(state(used[i].f)) == FH_DATA ? -FH_EBUSY : -FH_EPERM, "%s, taken", used[i].what);
			frame_grant(used[i].f, 0);
		}
	}
	none_bad(&t, "what is loaded, linked, pinned, or lives is neither freed, retyped nor taken: EBUSY, ENOTEMPTY");

	t.bad = 0;
	set(window, 0, f << 12 | RW);
	want(&t, frame_grant(window, v->env_name), 0, "a window granted");
	want(&t, raw_call(v, FH_SYS_pt_set, fh_what(FH_OP_SET, 0, table_of(v, FH_PT2), 7, 1), window << 12 | LINK, 0, 0), FH_OP_DONE,
	     "linked");
	want(&t, sys_frame_retype(window, FH_DATA), -FH_EBUSY, "retyped while linked by its tenant");
	want(&t, sys_frame_free(window, 1), -FH_EBUSY, "freed while linked by its tenant");
	want(&t, sys_frame_free(f, 1), -FH_EBUSY, "a page freed that it shows");
	clear(window, 0);
	want(&t, sys_frame_retype(window, FH_DATA), -FH_EBUSY, "retyped, empty but linked");
	want(&t, frame_grant(window, 0), 0, "withdrawn");
	frame_put_typed(window);
	frame_put(f, 1);
	/* A thread in a CPU's slices: while it is ready or runs, its frame is a THREAD. */
	struct raw s;
	if (raw_here(&s) < 0)
		panic("no thread");
	raw_code(&s, "\xeb\xfe", 2); /* jmp to itself */
	struct fh_thread_args a = {.fields = FH_SET_REGS, .regs = raw_regs(&s, 0)};
	want(&t, raw_write(&s, &a), 0, "a thread");
	cpus_begin();
	cpu_place(s.name, info->ncpus - 1);
	want(&t, sys_thread_ctl(s.name, FH_THREAD_START, 0), 0, "started");
	for (unsigned i = 0; i < 3000; i++)
		want(&t, sys_frame_retype(s.thread, FH_DATA), -FH_EBUSY, "a THREAD in a slice, ready or running, retyped");
	thread_stop(s.name, 0);
	cpu_leave(s.name);
	cpus_end();
	raw_end(&s);
	none_bad(&t, "a window is freed when withdrawn, a thread's frame when it is stopped: EBUSY before");
	victim_end(v, &t);
}
