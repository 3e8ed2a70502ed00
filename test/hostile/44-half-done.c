/* 44: a long operation refused, or its env stopped, in the middle: nothing is left that nobody owns (299, 310). */
#include "hostile.h"

/* r12: operations; r13: its batch page; r14: their first words; claims 512 pages, frees them, again. */
static const unsigned char loop[] = {
    0x49, 0x8b, 0x06, 0x49, 0x89, 0x45, 0x00,       /* mov rax, [r14]; mov [r13], rax */
    0x49, 0x8b, 0x46, 0x08, 0x49, 0x89, 0x45, 0x08, /* entry */
    0x49, 0x8b, 0x46, 0x10, 0x49, 0x89, 0x45, 0x10, /* the second operation */
    0x49, 0xc7, 0x45, 0x18, 0, 0, 0, 0,             /* mov qword [r13+24], 0 */
    0xb8, FH_SYS_pt_update, 0, 0, 0, 0x31, 0xff, 0xbe, 2, 0, 0, 0, 0x0f, 0x05,
    0xeb, 0xd1,
};

/* A frame that is not quiet, and the slice's flushes spent on nothing: whoever has to wait is refused, and must put back all that
 * it has begun. The other CPUs idle, or so many flushes would take longer than a slice. */
static void put_off(void)
{
	static const char *const what[] = {"DATA to PT1", "PT1 to DATA", "a claim"};
	struct tally t = {0};
	unsigned refused = 0, tries = 0;

	for (unsigned kind = 0; kind < 3; kind++) {
		refused = 0;
		for (uint64_t end = cpu_tsc() + ms(60000); refused < 10 && !t.bad && cpu_tsc() < end; tries++) {
			pfn_t f = kind == 1 ? table_new(FH_PT1) : data_new(1, 1);
			kind == 1 ? set(pt2, 51, f << 12 | LINK) : set(pt1, 41, f << 12 | RW);
			while (sys_tlb_flush(0, FH_TLB_ALL, 0, 0) == 0)
				;
			sys_pt_set(fh_what(kind == 2 ? FH_OP_UNMAP_FREE : FH_OP_CLEAR, 0, kind == 1 ? pt2 : pt1, kind == 1 ? 51 : 41, 1), 0, 0);
			uint64_t account = env_view()->account, before = state(f);
			int64_t r = kind == 2 ? sys_frame_alloc(f, 1, 0, 0) : sys_frame_retype(f, kind ? FH_DATA : FH_PT1);
			if (r == -FH_EAGAIN) {
				refused++;
				want(&t, (int64_t)env_view()->account, (int64_t)account, "the account, %s refused", what[kind]);
				for (uint64_t till = cpu_tsc() + ms(10000); kind == 2 && type(f) == FH_BUSY && cpu_tsc() < till;) /* the canary's, on its way */
					thread_sleep(1);
				if (state(f) != before && (kind != 2 || type(f) == FH_BUSY))
					count_bad(&t, "%s refused: state %#lx, was %#lx", what[kind], state(f), before);
			} else if (r < 0 && !(kind == 2 && r == -FH_EBUSY))
				count_bad(&t, "%s: %ld", what[kind], r);
			if (kind != 2 || r == 1) {
				if (type(f) == FH_PT1)
					frame_put_typed(f);
				else
					frame_put(f, 1);
			}
			clear(pt1, 41);
		}
		if (!refused && !t.bad)
			count_bad(&t, "%s: never refused", what[kind]);
	}
	none_bad(&t, "retyping and claiming what isn't quiet, with no flush left: EAGAIN, and record and account are as before (%u tries)", tries);
}

void attack(void)
{
	if (info->ncpus > 1) /* one CPU alone flushes whenever it likes */
		put_off();
	struct tally t = {0};
	struct fh_op *b = batch_here();
	pfn_t pair = data_new(2, 2);

	/* Refused at its second slot: the first is done, and the operation says so. */
	frame_put(pair + 1, 1);
	for (unsigned i = 0; i < 200; i++) {
		b[0] = (struct fh_op){fh_what(FH_OP_SET, 0, pt1, 40, 2), pair << 12 | RW};
		want(&t, update(b, 1), -FH_EPERM, "the second frame is FREE");
		want(&t, fh_what_index(b[0].what) == 41 && fh_what_count(b[0].what) == 1 && fh_pte_pfn(b[0].entry) == pair + 1, 1,
		     "advanced to it");
		want(&t, (int64_t)refs(pair), 1, "the first is mapped");
		want(&t, update(b, 1), -FH_EPERM, "from there it is refused again");
		clear(pt1, 40);
	}
	none_bad(&t, "a run refused in the middle stands advanced to there, what it has done is in the table: 200 times");
	frame_put(pair, 1);

	/* Stopped and buried at any moment of claims and frees. */
	t.bad = 0;
	const unsigned rounds = info->ncpus > 1 ? 40 : 15;
	uint64_t most = 0;
	for (unsigned i = 0; i < rounds; i++) {
		struct raw *v = victim(700);
		pfn_t v_pt1 = frame_get_typed(&frames_first, v->env, FH_PT1);
		struct fh_op *words = (struct fh_op *)v->page[RAW_DATA];
		set(table_of(v, FH_PT2), 50, v_pt1 << 12 | LINK);
		words[0] = (struct fh_op){fh_what(FH_OP_CLAIM, 0, v_pt1, 0, 512), frames_first.next(&frames_first, 512, 1, 0) << 12 | RW};
		words[1] = (struct fh_op){fh_what(FH_OP_UNMAP_FREE, 0, v_pt1, 0, 512), 0};
		raw_code(v, loop, sizeof(loop));
		struct fh_thread_args a = {.fields = FH_SET_REGS, .regs = raw_regs(v, 0)};
		a.regs.r13 = raw_va(v, RAW_BATCH), a.regs.r14 = raw_va(v, RAW_DATA);
		raw_write(v, &a);
		cpus_begin();
		cpu_place(v->name, info->ncpus - 1);
		sys_thread_ctl(v->name, FH_THREAD_START, 0);
		for (uint64_t end = cpu_tsc() + ms(60000); frame_owned(v->env) < 40 && cpu_tsc() < end;)
			relax(); /* it has begun */
		for (unsigned k = 0; k < (info->ncpus > 1 ? 100 + i * 37 : 1 + i % 4); k++)
			relax();
		sys_env_ctl(v->env_name, FH_ENV_FREEZE, 0, 0);
		thread_stop(v->name, 0);
		uint64_t owned = (uint64_t)frame_owned(v->env);
		most = owned > most ? owned : most;
		cpu_leave(v->name);
		cpus_end();
		for (pfn_t f = frame_find(0, FH_BUSY, 0); f; f = frame_find(f, FH_BUSY, 0))
			if (owner(f) == v->env)
				count_bad(&t, "round %u: frame %#lx is left BUSY", i, f);
		victim_end(v, &t);
	}
	none_bad(&t,
	         "an env frozen and stopped in the middle of claiming and freeing 512 frames, on CPU %u: %u times buried, no frame "
	         "left (it owned up to %lu)",
	         info->ncpus - 1, rounds, most);
	ok(most > 20, "it had begun");
}
