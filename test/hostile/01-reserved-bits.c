/* 01: each bit of an entry flipped, at each level: reserved bits, a pfn past the machine's or the table's end; NX is honoured. */
#include "hostile.h"

/* The good entry differs from a refused one in this bit. */
static bool bad_bit(unsigned level, unsigned bit)
{
	if (bit == 2 || bit == 8) /* U, G */
		return true;
	if (bit == 3 || bit == 4 || bit == 7) /* cache bits of RAM, PAT or PS */
		return true;
	return bit >= 39 && bit < 52 && level > 0; /* no pfn has so many bits */
}

static void flip(struct tally *t, pfn_t table, unsigned level, pte_t good)
{
	for (unsigned bit = 0; bit < 64; bit++) {
		int64_t r = op(FH_OP_SET, 0, table, 77, good ^ 1ul << bit, 0);
		bool names = bit >= 12 && bit < 39; /* another frame, of somebody else's or of another type */
		if (bit == 0)
			want(t, r, -FH_EINVAL, "level %u without P: it names a frame", level);
		else if (bad_bit(level, bit))
			want(t, r, -FH_EINVAL, "level %u, bit %u flipped", level, bit);
		else if (!names)
			want(t, r, FH_OP_DONE, "level %u, bit %u, which is free", level, bit);
		else if (r >= 0 && owner(fh_pte_pfn(good ^ 1ul << bit)) != env_self())
			count_bad(t, "level %u, bit %u: a frame that isn't ours", level, bit);
		if (r >= 0)
			clear(table, 77);
	}
}

void attack(void)
{
	struct tally t = {0};
	static const uint64_t past[] = {0, 1, 511, 512, 1ul << 20};

	flip(&t, pt1, 1, data << 12 | RW);
	flip(&t, pt2, 2, pt1 << 12 | LINK);
	flip(&t, pt3, 3, pt2 << 12 | LINK);
	flip(&t, pt4, 4, pt3 << 12 | LINK);
	none_bad(&t, "each of 64 bits flipped in a good entry, at four levels: EINVAL where it must not be set");
	t.bad = 0;
	for (unsigned i = 0; i < 5; i++) {
		pte_t e = (info->nframes + past[i]) << 12;
		want(&t, set(pt1, 78, e | RW), -FH_EINVAL, "a leaf to frame nframes + %lu", past[i]);
		want(&t, set(pt2, 78, e | LINK), -FH_EINVAL, "a link to frame nframes + %lu", past[i]);
		want(&t, op(FH_OP_CLAIM, 0, pt1, 78, e | RW, 0), -FH_EINVAL, "a claim of frame nframes + %lu", past[i]);
		want(&t, op(FH_OP_LINK_NEW, 0, pt2, 78, e | LINK, 0), -FH_EINVAL, "a new table in frame nframes + %lu", past[i]);
	}
	want(&t, set(pt1, 78, FH_PFN_FIELD | RW), -FH_EINVAL, "the last pfn there can be");
	none_bad(&t, "frames past the table are EINVAL for leaves, links, claims and new tables");
	touch_begin();
	want(&t, set(pt1, 0, data << 12 | RW), FH_OP_DONE, "a page");
	*(volatile char *)at(0) = TOUCH_RET;
	ok(t.bad == 0 && rights_at((char *)at(0)) == (RIGHT_R | RIGHT_W), "NX holds on every CPU: what has it set doesn't run");
	touch_end();
	clear(pt1, 0);
}
