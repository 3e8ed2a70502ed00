/* 40: an address space in the place of another, with nothing flushed by us: the same root frame, the same thread, new pages. */
#include "hostile.h"

static pfn_t tables[3], page[2];

/* rdi: an address; rsi: what is read there. */
static const char look[] = "\x48\x8b\x37\x0f\x0b";

/* A root whose page at 1 GiB is page[k]: the same frames are its tables each time. */
static void build(struct tally *t, pfn_t root, struct raw *r, unsigned k)
{
	const volatile pte_t *ours = window_slot(0, 4);

	want(t, retype(root, FH_PT4), 0, "a root");
	for (unsigned i = 0; i < 3; i++)
		want(t, retype(tables[i], FH_PT1 + i), 0, "a table of level %u", i + 1);
	set(root, 300, tables[2] << 12 | LINK), set(tables[2], 0, tables[1] << 12 | LINK), set(tables[1], 0, tables[0] << 12 | LINK);
	set(tables[0], 0, page[k] << 12 | RO);
	for (unsigned i = 0; i < FH_WINDOW_SLOT; i++)
		if (ours[i] & FH_P)
			set(root, i, ours[i] & ~(FH_A | FH_D));
	struct fh_thread_args a = {.fields = FH_SET_ROOT, .root = root};
	want(t, raw_write(r, &a), 0, "the thread's new root");
}

static void raze(struct tally *t, pfn_t root, struct raw *r)
{
	struct fh_thread_args a = {.fields = FH_SET_ROOT, .root = pt4};
	struct fh_op *b = batch_here();

	want(t, raw_write(r, &a), 0, "the thread's old root");
	b[0] = (struct fh_op){fh_what(FH_OP_CLEAR, 0, root, 0, FH_KERNEL_SLOT), 0};
	update(b, 1);
	for (unsigned i = 0; i < 2; i++)
		clear(tables[i + 1], 0);
	clear(tables[0], 0);
	for (unsigned i = 0; i < 3; i++)
		want(t, retype(tables[i], FH_DATA), 0, "a table gone");
	int64_t e;
	for (uint64_t end = cpu_tsc() + ms(60000); (e = retype(root, FH_DATA)) < 0 && cpu_tsc() < end;)
		relax();
	want(t, e, 0, "a root gone");
}

void attack(void)
{
	struct tally t = {0}, wrong = {0};
	struct raw r;
	pfn_t root = data_new(1, 1);
	const va_t va = 0xffff000000000000ul | 300ul << 39;
	const unsigned rounds = 120;

	if (raw_here(&r) < 0)
		panic("no thread");
	for (unsigned i = 0; i < 3; i++)
		tables[i] = data_new(1, 1);
	for (unsigned i = 0; i < 2; i++) {
		page[i] = data_new(1, 1);
		set(pt1, i, page[i] << 12 | RW);
		*at(i) = 0x1000 + i;
		clear(pt1, i);
	}
	raw_code(&r, look, sizeof(look) - 1);
	cpus_begin();
	for (unsigned i = 0; i < rounds; i++) {
		build(&t, root, &r, i % 2);
		struct fh_thread_args a = {.fields = FH_SET_REGS, .regs = raw_regs(&r, 0)};
		a.regs.rdi = va;
		raw_write(&r, &a);
		cpu_place(r.name, (i / 3) % info->ncpus); /* some times there, then elsewhere */
		unsigned state = raw_resume(&r, 1000);
		if (state != FH_FAULTED || r.view->regs.vector != 6 || r.view->regs.rsi != 0x1000 + i % 2)
			count_bad(&wrong, "round %u on CPU %lu: state %u, vector %lu, read %#lx", i, r.upcall->cpu, state,
			          r.view->regs.vector, r.view->regs.rsi);
		cpu_leave(r.name);
		raze(&t, root, &r);
	}
	cpus_end();
	none_bad(&wrong,
	         "a new address space in the old one's root and table frames, on all CPUs in turn: %u times, each sees its own page",
	         rounds);
	none_bad(&t, "each old one went");
	for (unsigned i = 0; i < 3; i++)
		frame_put(tables[i], 1);
	frame_put(page[0], 1), frame_put(page[1], 1), frame_put(root, 1);
	raw_end(&r);
}
