/* 32: a table used again as memory while another CPU may still walk through it (286): its new words lead to the canary. */
#include "hostile.h"

#define ROUNDS (info->ncpus > 1 ? 60u : 12u)

static const volatile struct fh_clock *clock_page(void) { return (const volatile struct fh_clock *)info->clock_va; }

void attack(void)
{
	struct tally t = {0};
	const va_t va = VA + 100 * PLAN_LARGE;

	writer_begin();
	for (unsigned i = 0; i < ROUNDS; i++) {
		pfn_t table = table_new(FH_PT1);
		op(FH_OP_SET, 0, table, 0, data << 12 | RW, 0);
		op(FH_OP_SET, 0, pt2, 100, table << 12 | LINK, 0);
		if (!writer_go(va))
			panic("round %u: nobody writes", i);
		uint64_t then = clock_page()->clock;
		/* Unlinked, emptied, DATA, full of entries for the canary's frame: and never a flush of ours. */
		if (i % 2)
			op(FH_OP_CLEAR, 0, pt2, 100, 0, 0), op(FH_OP_CLEAR, 0, table, 0, 0, 0);
		else
			op(FH_OP_CLEAR, 0, table, 0, 0, 0), op(FH_OP_CLEAR, 0, pt2, 100, 0, 0);
		want(&t, retype(table, FH_DATA), 0, "round %u: a table is DATA", i);
		for (unsigned c = 0; c < info->ncpus; c++) /* no simulator keeps what it has walked through: but all had to flush */
			if (clock_page()->cpu[c].epoch <= then)
				count_bad(&t, "round %u: reused before CPU %u has flushed: epoch %lu, clock %lu", i, c,
				          clock_page()->cpu[c].epoch, then);
		uint64_t *forged = scratch_map(table, 1, RIGHT_R | RIGHT_W);
		for (unsigned k = 0; k < 512; k++)
			forged[k] = STAGE->page[i % CANARY_PAGES] << 12 | RW;
		watch(forged);
		if (!writer_ends(60000))
			count_bad(&t, "round %u: the writer goes on", i);
		for (unsigned k = 0; k < 512; k++)
			if ((forged[k] & ~(FH_A | FH_D)) != (STAGE->page[i % CANARY_PAGES] << 12 | RW) || (forged[k] & FH_A))
				count_bad(&t, "round %u: word %u was used as an entry: %#lx", i, k, forged[k]);
		scratch_put((va_t)forged, 1);
		want(&t, frame_put(table, 1), 0, "round %u: freed", i);
	}
	writer_end();
	none_bad(&t,
	         "a table that another CPU walks is unlinked and filled with entries for the canary's memory: %u times, none is used",
	         ROUNDS);
}
