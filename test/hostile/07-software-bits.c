/* 07: bits that neither CPU nor kernel look at, protection keys among them: all combinations, in every kind of entry. */
#include "hostile.h"

void attack(void)
{
	struct tally t = {0};
	volatile uint64_t *p = at(5);

	for (unsigned i = 0; i < 1u << 10; i++) { /* AVL 9-11, and 7 above; the keys apart */
		pte_t avl = (uint64_t)(i & 7) << 9 | (uint64_t)(i >> 3) << 52;
		want(&t, set(pt1, 5, data << 12 | RW | avl), FH_OP_DONE, "AVL %#lx", avl);
		*p = i;
		want(&t, (int64_t)(*window_slot((va_t)p, 1) & FH_AVL), (int64_t)avl, "AVL as they stand");
		want(&t, op(FH_OP_PROTECT, 0, pt1, 5, FH_W | FH_NX | (FH_AVL & ~avl), 0), FH_OP_DONE, "PROTECT");
		want(&t, (int64_t)(*window_slot((va_t)p, 1) & FH_AVL), (int64_t)(FH_AVL & ~avl), "AVL after PROTECT");
		want(&t, *p == i, 1, "the page is there");
		clear(pt1, 5);
	}
	none_bad(&t, "1024 combinations of software bits are kept as given, and give and take no right");
	t.bad = 0;
	touch_begin();
	for (uint64_t key = 0; key < 16; key++) {
		want(&t, set(pt1, 5, data << 12 | RW | key << 59), FH_OP_DONE, "key %lu", key);
		want(&t, reads(p) && writes(p), 1, "a page with key %lu is touched", key);
		want(&t, set(pt2, 70, pt1 << 12 | LINK | key << 59), FH_OP_DONE, "a link with key %lu", key);
		clear(pt2, 70);
		clear(pt1, 5);
	}
	touch_end();
	none_bad(&t, "16 protection keys lock nobody out");
}
