/* 38: A and D that a CPU sets while an operation changes the entry: none is lost. */
#include "hostile.h"

static volatile bool stop;

static void write_on(void *arg)
{
	volatile uint64_t *word = at(5) + (uintptr_t)arg;

	while (!stop) {
		*word = *word + 1;
		relax();
	}
}

static uint64_t sum(void)
{
	uint64_t n = 0;

	for (unsigned i = 1; i < crew_size(); i++)
		n += ((volatile uint64_t *)VA)[6 * 512 + i]; /* by an alias of its own: this page's D is not what is looked at */
	return n;
}

void attack(void)
{
	struct tally t = {0};
	uint64_t dirty = 0;

	set(pt1, 5, data << 12 | RW);
	set(pt1, 6, data << 12 | RO);
	crew_begin(write_on);
	op(FH_OP_HARVEST, FH_FLUSH_ALL, pt1, 5, 0, 0);
	for (unsigned i = 0; i < 60; i++) {
		uint64_t from = sum();
		while (sum() < from + (info->ncpus > 1 ? 4 : 1)) /* written since the last flush */
			relax();
		pte_t seen = 0;
		for (unsigned k = 0; k < 4; k++) { /* changes that keep A and D, while they are being set */
			op(k % 2 ? FH_OP_PROTECT : FH_OP_NARROW, 0, pt1, 5, FH_W | FH_NX | (uint64_t)k << 52, 0);
			seen |= old;
		}
		op(FH_OP_HARVEST, FH_FLUSH_ALL, pt1, 5, 0, 0);
		dirty += old & FH_D ? 1 : 0;
		if (!(old & FH_D) || !(old & FH_A))
			count_bad(&t, "round %u: written to, and HARVEST returns %#lx, the four before it %#lx", i, old, seen);
	}
	stop = true;
	crew_end();
	clear(pt1, 5), clear(pt1, 6);
	none_bad(&t,
	         "a page that other CPUs write to, its entry changed by PROTECT, NARROW and HARVEST meanwhile: %lu times dirty, "
	         "never missed",
	         dirty);
}
