/* 31: a frame used again before all CPUs have forgotten where it was. */
#include "hostile.h"

static void reuse(struct raw *v, pfn_t table, unsigned index, size_t n, unsigned rounds)
{
	struct tally t = {0}, bytes = {0};
	const va_t va = n > 1 ? VA + index * PLAN_LARGE : VA + index * FH_PAGE;

	for (unsigned i = 0; i < rounds; i++) {
		pfn_t f = data_new(n, n);
		if (op(FH_OP_SET, 0, table, index, f << 12 | RW | (n > 1 ? FH_PS : 0), 0) < 0 || !writer_go(va))
			panic("round %u: nobody writes", i);
		if (i % 2) { /* unmapped and freed in one, or one after the other; never flushed by us */
			op(FH_OP_CLEAR, 0, table, index, 0, 0);
			want(&t, frame_put(f, n), 0, "round %u: freed", i);
		} else
			want(&t, op(FH_OP_UNMAP_FREE, 0, table, index, 0, 0), FH_OP_DONE, "round %u: unmapped", i);
		int64_t r;
		while ((r = sys_frame_alloc(f, 1, v->env_name, 0)) == -FH_EAGAIN)
			thread_sleep(1);
		if (!want(&t, r, 1, "round %u: claimed for another", i))
			continue;
		const uint64_t *word = scratch_map(f, 1, RIGHT_R);
		uint64_t seen = watch(word);
		if (seen)
			count_bad(&bytes, "round %u: %#lx in another's frame", i, seen);
		if (!writer_ends(60000))
			count_bad(&t, "round %u: the writer goes on", i);
		scratch_put((va_t)word, 1);
		want(&t, sys_frame_free(f, 1), 1, "round %u: freed again", i);
	}
	none_bad(&bytes, "a %s page that another CPU writes to is freed and claimed for another env: %u times, not a byte arrives",
	         n > 1 ? "2 MiB" : "4 KiB", rounds);
	none_bad(&t, "each time the writer ended by a fault");
}

void attack(void)
{
	struct tally t = {0};
	struct raw *v = victim(64);

	writer_begin();
	reuse(v, pt1, 0, 1, info->ncpus > 1 ? 40 : 10);
	reuse(v, pt2, 100, FH_LARGE_FRAMES, info->ncpus > 1 ? 12 : 4);
	writer_end();
	victim_end(v, &t);
}
