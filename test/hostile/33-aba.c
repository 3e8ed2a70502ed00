/* 33: types that change and change back while others look (401); an entry replaced by another, which needs a flush too (408). */
#include "hostile.h"

static pfn_t f;
static volatile bool stop;
static volatile uint64_t mapped, refused;
static struct tally shared;

static void map(void *arg)
{
	unsigned slot = 10 + (unsigned)(uintptr_t)arg;

	while (!stop) {
		int64_t r = sys_pt_set(fh_what(FH_OP_SET, 0, pt1, slot, 1), f << 12 | RW, 0).rax;
		__atomic_fetch_add(r >= 0 ? &mapped : &refused, 1, __ATOMIC_RELAXED);
		if (r >= 0) {
			for (unsigned i = 0; i < 8; i++)
				if (type(f) != FH_DATA || refs(f) == 0)
					count_bad(&shared, "mapped writable, and of state %#lx", state(f));
			if (info->ncpus == 1)
				thread_yield();
			sys_pt_set(fh_what(FH_OP_CLEAR, 0, pt1, slot, 1), 0, 0);
		} else if (r != -FH_EBUSY && r != -FH_EACCES)
			count_bad(&shared, "mapping: %ld", r);
		if (info->ncpus == 1)
			thread_yield();
	}
}

void attack(void)
{
	struct tally t = {0}, bytes = {0};
	uint64_t made = 0;

	f = data_new(1, 1);
	crew_begin(map);
	for (unsigned i = 0; i < 4000 || (made < 20 && i < 200000); i++) {
		int64_t r = sys_frame_retype(f, FH_PT1 + i % 4);
		if (r == -FH_EAGAIN || (info->ncpus == 1 && i % 50 == 0))
			thread_yield();
		if (r < 0)
			continue;
		made++;
		if (refs(f) || type(f) != FH_PT1 + i % 4)
			count_bad(&t, "a table of state %#lx", state(f));
		while ((r = sys_frame_retype(f, FH_DATA)) == -FH_EAGAIN)
			thread_yield();
		want(&t, r, 0, "DATA again");
	}
	stop = true;
	crew_end();
	for (unsigned i = 0; i < 64; i++)
		clear(pt1, i);
	none_bad(&shared, "CPUs map a frame that becomes a table and DATA again: %lu times mapped, %lu refused, never both", mapped,
	         refused);
	none_bad(&t, "%lu tables, none with a reference left", made);
	frame_put(f, 1);

	struct raw *v = victim(64);
	t.bad = 0;
	writer_begin();
	for (unsigned i = 0; i < (info->ncpus > 1 ? 40u : 8u); i++) {
		f = data_new(1, 1);
		op(FH_OP_SET, 0, pt1, 0, f << 12 | RW, 0);
		if (!writer_go(VA))
			panic("round %u: nobody writes", i);
		op(FH_OP_SET, 0, pt1, 0, data << 12 | (i % 2 ? RW : RO), 0); /* another frame in the slot, with and without W */
		frame_put(f, 1);
		int64_t r;
		while ((r = sys_frame_alloc(f, 1, v->env_name, 0)) == -FH_EAGAIN)
			thread_sleep(1);
		const uint64_t *word = scratch_map(f, 1, RIGHT_R);
		uint64_t seen = 0;
		for (unsigned k = 0; k < 20000; k++)
			seen |= word[k % 512];
		if (r != 1 || seen)
			count_bad(&bytes, "round %u: %ld, and %#lx arrives", i, r, seen);
		clear(pt1, 0);
		sys_tlb_flush(0, FH_TLB_ALL, 0, 0);
		if (!writer_ends(60000))
			count_bad(&t, "round %u: the writer goes on", i);
		scratch_put((va_t)word, 1);
		sys_frame_free(f, 1);
	}
	writer_end();
	none_bad(&bytes, "an entry replaced by another, not cleared: the old frame gets no byte once another env has it");
	victim_end(v, &t);
}
