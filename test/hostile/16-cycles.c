/* 16: writable self-maps, chains and cycles; counts that a second go forgets (182, 185, 240, 309). */
#include "hostile.h"

#define SELF_SLOT 300u

void attack(void)
{
	struct tally t = {0};
	pfn_t fresh = table_new(FH_PT4), other = table_new(FH_PT4);
	static const uint64_t more[] = {FH_W, FH_W | FH_NX, 0};
	static volatile char *const self = (char *)(0xffff000000000000ul | (uint64_t)SELF_SLOT << 39 | (uint64_t)SELF_SLOT << 30 |
	                                            (uint64_t)SELF_SLOT << 21 | (uint64_t)SELF_SLOT << 12);

	for (unsigned i = 0; i < 3; i++) {
		want(&t, set(pt4, SELF_SLOT, pt4 << 12 | FH_P | FH_U | more[i]), -FH_EACCES, "a self-map with %#lx", more[i]);
		want(&t, set(fresh, SELF_SLOT, fresh << 12 | FH_P | FH_U | more[i]), -FH_EACCES, "a fresh one's with %#lx", more[i]);
	}
	for (unsigned n = 0; n < 100; n++) {
		want(&t, set(pt4, SELF_SLOT, pt4 << 12 | RO), FH_OP_DONE, "a self-map");
		for (unsigned i = 0; i < 3; i++)
			want(&t, op(FH_OP_PROTECT, 0, pt4, SELF_SLOT, more[i], 0), -FH_EACCES, "PROTECT with %#lx", more[i]);
		want(&t, op(FH_OP_NARROW, 0, pt4, SELF_SLOT, FH_W, 0), FH_OP_DONE, "NARROW with W");
		touch_begin();
		want(&t, reads(self) && !writes(self), 1, "read, not written");
		touch_end();
		want(&t, set(pt4, SELF_SLOT, pt4 << 12 | RO), FH_OP_DONE, "set over itself");
		want(&t, op(FH_OP_UNMAP_FREE, 0, pt4, SELF_SLOT, 0, 0), -FH_EINVAL, "unmapped like a page");
		want(&t, op(FH_OP_UNLINK_FREE, 0, pt4, SELF_SLOT, 0, 0), -FH_EINVAL, "unlinked like a table");
		clear(pt4, SELF_SLOT);
	}
	want(&t, set(pt4, SELF_SLOT, fresh << 12 | RO), -FH_EBUSY, "another PT4 in a PT4");
	want(&t, set(fresh, 1, other << 12 | RO), -FH_EBUSY, "a chain of PT4s");
	want(&t, set(pt3, 1, pt3 << 12 | RO), -FH_EBUSY, "a PT3 in itself");
	want(&t, set(pt2, 1, pt2 << 12 | RO), -FH_EBUSY, "a PT2 in itself");
	want(&t, set(pt2, 1, pt3 << 12 | LINK), -FH_EBUSY, "a PT3 under a PT2");
	want(&t, set(pt1, 1, pt1 << 12 | RW), -FH_EACCES, "a PT1 in itself, writable");
	none_bad(&t, "a PT4 names itself read-only and NX only; no other table itself, no cycle, and nothing writable comes of it");

	t.bad = 0;
	for (unsigned i = 0; i < 8; i++)
		want(&t, set(fresh, 100 + i, fresh << 12 | RO), FH_OP_DONE, "self-map %u of a root that nobody runs", i);
	want(&t, (int64_t)fh_count(frame_record(fresh)->link), 0, "entries counted");
	want(&t, (int64_t)refs(fresh), 0, "references counted");
	want(&t, set(fresh, 1, pt3 << 12 | LINK), FH_OP_DONE, "a link in it");
	want(&t, retype(fresh, FH_DATA), -FH_ENOTEMPTY, "retyped with a link");
	want(&t, set(fresh, 1, fresh << 12 | RO), FH_OP_DONE, "a self-map over the link");
	want(&t, (int64_t)fh_count(frame_record(fresh)->link), 0, "entries counted after that");
	want(&t, set(fresh, 1, pt3 << 12 | LINK), FH_OP_DONE, "and the link over the self-map");
	want(&t, set(fresh, 1, 0), FH_OP_DONE, "and nothing over that");
	/* a batch run in pieces, again and again over the same slots */
	struct fh_op *b = batch_here();
	for (unsigned n = 0; n < 50; n++) {
		b[0] = (struct fh_op){fh_what(FH_OP_SET, 0, pt1, 0, 512), 0};
		b[1] = (struct fh_op){fh_what(FH_OP_READ, 0, pt1, 0, 512), 0};
		want(&t, update(b, 2), 0, "a batch in pieces");
	}
	want(&t, (int64_t)fh_count(frame_record(pt1)->link), 0, "entries of a table, after 50 batches that empty it");
	none_bad(&t, "self-maps aren't counted, links are, and what replaces what doesn't matter");
	want(&t, retype(fresh, FH_DATA), 0, "a PT4 with self-maps only is empty");
	frame_put(fresh, 1);
	frame_put_typed(other);
}
