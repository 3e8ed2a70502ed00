/* 41: two CPUs on one slot; an update against the table's end; a link against the withdrawal of its grant; give against map. */
#include "hostile.h"

static volatile unsigned kind;
static volatile uint64_t done;
static pfn_t f, g, table;
static struct tally shared;

static bool expected(int64_t r)
{
	return r >= 0 || r == -FH_EBUSY || r == -FH_EEXIST || r == -FH_ENOENT || r == -FH_EPERM || r == -FH_EAGAIN ||
	       r == -FH_EINVAL || r == -FH_ENOTEMPTY || r == -FH_EACCES;
}

static void rush(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;

	for (unsigned i = 0; i < 1500; i++) {
		unsigned n = i * 5 + me * 3 + i / 11;
		int64_t r = 0;
#define SLOT(o, t, e) sys_pt_set(fh_what(o, 0, t, 33, 1), e, 0).rax
		switch (kind * 8 + n % 8) {
		case 0: r = SLOT(FH_OP_SET, pt1, f << 12 | RW); break; /* one slot, all operations */
		case 1: r = SLOT(FH_OP_CLEAR, pt1, 0); break;
		case 2: r = SLOT(FH_OP_CLAIM, pt1, free_frame() << 12 | RW); break;
		case 3: r = SLOT(FH_OP_UNMAP_FREE, pt1, 0); break;
		case 4: r = SLOT(FH_OP_PROTECT, pt1, FH_NX); break;
		case 5: r = SLOT(FH_OP_NARROW, pt1, FH_NX); break;
		case 6: r = SLOT(FH_OP_HARVEST, pt1, 0); break;
		case 7: r = SLOT(FH_OP_SET, pt1, g << 12 | RO); break;
		case 8: case 9: r = sys_pt_set(fh_what(FH_OP_SET, 0, table, me, 1), f << 12 | RW, 0).rax; break; /* a table's end */
		case 10: r = sys_pt_set(fh_what(FH_OP_CLEAR, 0, table, me, 1), 0, 0).rax; break;
		case 11: r = sys_frame_retype(table, FH_DATA); break;
		case 12: r = sys_frame_retype(table, FH_PT1 + i % 2); break;
		case 13: r = SLOT(FH_OP_SET, pt2, table << 12 | LINK); break;
		case 14: r = SLOT(FH_OP_UNLINK_FREE, pt2, 0); break;
		case 15: r = sys_frame_alloc(table, 1, 0, 0); break;
		case 16:
		case 17: r = sys_pt_set(fh_what(FH_OP_SET, 0, pt1, 40 + me, 1), f << 12 | RW, 0).rax; break; /* give against map */
		case 18: r = sys_pt_set(fh_what(FH_OP_CLEAR, 0, pt1, 40 + me, 1), 0, 0).rax; break;
		case 19: r = sys_frame_grant(f, STAGE->env); break;
		case 20: r = sys_frame_grant(f, 0); break;
		case 21: r = sys_frame_free(f, 1); break;
		case 22: r = sys_frame_alloc(f, 1, 0, 0); break;
		default: r = sys_frame_retype(f, i % 2 ? FH_THREAD : FH_DATA); break;
		}
		if (!expected(r))
			count_bad(&shared, "kind %u, call %u: %ld", kind, n % 8, r);
		__atomic_fetch_add(&done, r >= 0, __ATOMIC_RELAXED);
	}
}

/* A frame of ours in whatever state it was left. */
static void settle(pfn_t x)
{
	if (owner(x) != env_self())
		return;
	frame_grant(x, 0);
	if (type(x) >= FH_PT1 && type(x) <= FH_PT4) {
		struct fh_op *b = batch_here();
		b[0] = (struct fh_op){fh_what(FH_OP_CLEAR, 0, x, 0, 64), 0};
		update(b, 1);
	}
	if (type(x) == FH_DATA)
		frame_put(x, 1);
	else
		frame_put_typed(x);
}

static void windows(void)
{
	struct tally t = {0};
	struct raw *v = victim(100);
	pfn_t window = table_new(FH_PT1), v_pt2 = table_of(v, FH_PT2);
	unsigned linked = 0;

	/* The tenant links it, again and again, on another CPU, while the grant is made and withdrawn here. */
	static const unsigned char loop[] = {
	    0xb8, FH_SYS_pt_set, 0, 0, 0, 0x4c, 0x89, 0xe7, 0x4c, 0x89, 0xee, 0x31, 0xd2, 0x0f, 0x05, /* pt_set(r12, r13, 0) */
	    0x49, 0xff, 0x07, 0xeb, 0xec,                                                             /* inc qword [r15], again */
	};
	raw_code(v, loop, sizeof(loop));
	struct fh_thread_args a = {.fields = FH_SET_REGS, .regs = raw_regs(v, 0)};
	a.regs.r12 = fh_what(FH_OP_SET, 0, v_pt2, 77, 1), a.regs.r13 = window << 12 | LINK;
	a.regs.r15 = raw_va(v, RAW_DATA);
	volatile uint64_t *tried = (volatile uint64_t *)v->page[RAW_DATA];
	want(&t, raw_write(v, &a), 0, "the tenant");
	cpus_begin();
	cpu_place(v->name, info->ncpus - 1);
	want(&t, sys_thread_ctl(v->name, FH_THREAD_START, 0), 0, "started");
	const unsigned rounds = info->ncpus > 1 ? 400 : 30;
	for (unsigned i = 0; i < rounds; i++) {
		int64_t r = frame_grant(window, v->env_name);
		if (r < 0) {
			want(&t, r, 0, "round %u: granted", i);
			break;
		}
		for (uint64_t end = cpu_tsc() + ms(60000); i % 16 == 0 && !(frame_record(window)->link >> 16) && cpu_tsc() < end;)
			relax(); /* now it runs */
		for (unsigned k = info->ncpus > 1 ? i % 16 : i % 3; k > 0; k--)
			relax();
		linked += frame_record(window)->link >> 16 != 0;
		want(&t, frame_grant(window, 0), 0, "round %u: withdrawn", i);
		/* The tenant may be in the middle of it, between its looks at the grant: it finds out, and takes the link back. */
		for (uint64_t from = *tried, end = cpu_tsc() + ms(60000); *tried < from + 2 && cpu_tsc() < end;)
			relax();
		if (frame_record(window)->link >> 16)
			count_bad(&t, "round %u: still linked: %#lx", i, frame_record(window)->link);
	}
	thread_stop(v->name, 0);
	cpu_leave(v->name);
	cpus_end();
	want(&t, (int64_t)refs(window), 0, "references of the window");
	want(&t, v->view->state == FH_STOPPED, 1, "the tenant lives");
	none_bad(&t, "a window granted and withdrawn %u times while its tenant links it (seen linked %u times): never linked after",
	         rounds, linked);
	frame_put_typed(window);
	victim_end(v, &t);
}

void attack(void)
{
	static const char *const what[] = {"eight operations on one slot", "entries and links of a table against its end",
	                                   "one frame granted, freed, claimed, retyped against its being mapped"};

	for (kind = 0; kind < 3; kind++) {
		f = data_new(1, 1), g = data_new(1, 1), table = table_new(FH_PT1);
		done = 0, shared.bad = 0;
		crew(rush);
		for (unsigned i = 0; i < 64; i++)
			clear(pt1, i);
		op(FH_OP_CLEAR, FH_FLUSH_ALL, pt2, 33, 0, 0);
		settle(f), settle(g), settle(table);
		for (pfn_t x = frame_find(0, FH_DATA, env_self()); x; x = frame_find(x, FH_DATA, env_self()))
			if (refs(x) == 0 && x != data) /* claimed into the slot, and replaced there by another */
				frame_put(x, 1);
		none_bad(&shared, "%s, %u CPUs at once: %lu succeed, the others are refused", what[kind], info->ncpus, done);
	}
	windows();
}
