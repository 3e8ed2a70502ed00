/* 14: a frame that another CPU still writes to, by a translation that is gone from the tables, becomes a table. */
#include "hostile.h"

#define ROUNDS (info->ncpus > 1 ? 60u : 12u)

void attack(void)
{
	struct tally t = {0}, bytes = {0};

	writer_begin();
	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned k = FH_PT1 + i % 6; /* ENV and THREAD, too */
		if (set(pt1, 0, data << 12 | RW) < 0 || !writer_go(VA))
			panic("round %u: nobody writes", i);
		op(FH_OP_CLEAR, 0, pt1, 0, 0, 0); /* no flush */
		want(&t, retype(data, k), 0, "round %u: type %u", i, k);
		const uint64_t *entries = scratch_map(data, 1, RIGHT_R);
		watch(entries);
		for (unsigned w = 0; w < 512; w++)
			if (entries[w] == MARK)
				count_bad(&bytes, "round %u: word %u of a frame of type %u is the writer's", i, w, k);
		if (!writer_ends(60000))
			count_bad(&t, "round %u: the writer goes on", i);
		scratch_put((va_t)entries, 1);
		want(&t, retype(data, FH_DATA), 0, "round %u: DATA again", i);
	}
	writer_end();
	/* And on this CPU, by our own translation: a tick between two threads would flush it. */
	touch_begin();
	for (unsigned i = 0; i < 50; i++) {
		set(pt1, 0, data << 12 | RW);
		*at(0) = MARK;
		op(FH_OP_CLEAR, 0, pt1, 0, 0, 0);
		want(&t, retype(data, FH_PT1 + i % 6), 0, "try %u: type %u", i, FH_PT1 + i % 6);
		if (writes(at(0)))
			count_bad(&bytes, "try %u: written to as type %u, by this CPU", i, FH_PT1 + i % 6);
		want(&t, retype(data, FH_DATA), 0, "try %u: DATA again", i);
	}
	touch_end();
	none_bad(&bytes, "a frame still writable on another CPU never becomes a table, ENV or THREAD: %u times", ROUNDS);
	none_bad(&t, "each time the writer ended by a fault");
}
