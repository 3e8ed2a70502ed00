/* 52: a number too wide for its field, which would name something else when cut. */
#include "hostile.h"

/* Every argument of a call that would be good, with each bit above its width: never the good one's effect. */
static void wide(struct tally *t, uint64_t number, const uint64_t good[4], unsigned which, unsigned from, const char *what)
{
	for (unsigned bit = from; bit < 64; bit++) {
		uint64_t a[4] = {good[0], good[1], good[2], good[3]};
		a[which] |= 1ul << bit;
		if (a[which] == good[which])
			continue;
		int64_t r = sys_call4(number, a[0], a[1], a[2], a[3]).rax;
		if (r >= 0)
			count_bad(t, "%s with bit %u: %ld", what, bit, r);
	}
}

void attack(void)
{
	struct tally t = {0};
	struct raw *v = victim(64);
	pfn_t f = data_new(1, 1), root = table_new(FH_PT4), free_one = free_frame();
#define WIDE(call, which, from, what, ...) wide(&t, FH_SYS_##call, (const uint64_t[4]){__VA_ARGS__}, which, from, what)

	WIDE(frame_alloc, 0, 16, "frame_alloc's pfn", free_one, 1, 0, 0);
	WIDE(frame_alloc, 1, 20, "frame_alloc's n", free_one, 1, 0, 0);
	WIDE(frame_alloc, 3, 1, "frame_alloc's flags", free_one, 1, 0, 0);
	WIDE(frame_alloc, 2, 27, "frame_alloc's env, its serial", free_one, 1, v->env, 0);
	WIDE(frame_free, 0, 16, "frame_free's pfn", f, 1, 0, 0);
	WIDE(frame_free, 1, 20, "frame_free's n", f, 1, 0, 0);
	WIDE(frame_retype, 0, 16, "frame_retype's pfn", f, FH_PT1, 0, 0);
	WIDE(frame_retype, 1, 4, "frame_retype's type", f, FH_PT1, 0, 0);
	WIDE(frame_grant, 0, 16, "frame_grant's pfn", f, v->env_name, 0, 0);
	WIDE(frame_grant, 1, 50, "frame_grant's env", f, v->env_name, 0, 0);
	WIDE(frame_take, 0, 16, "frame_take's pfn", f, 1, 0, 0);
	WIDE(frame_sync, 0, 16, "frame_sync's pfn", f, 1, 0, 0);
	WIDE(tlb_flush, 0, 16, "tlb_flush's root", pt4, FH_TLB_LOCAL, 0, 0);
	WIDE(tlb_flush, 1, 2, "tlb_flush's mode", pt4, FH_TLB_LOCAL, 0, 0);
	WIDE(env_ctl, 1, 3, "env_ctl's op", v->env_name, FH_ENV_FREEZE, 0, 0);
	WIDE(env_ctl, 2, 4, "env_ctl's index", v->env_name, FH_ENV_CALLER, 3, 0);
	WIDE(env_ctl, 2, 31, "env_ctl's quota", v->env_name, FH_ENV_QUOTA, 0, 0);
	WIDE(thread_ctl, 1, 2, "thread_ctl's op", v->name, FH_THREAD_STOP, 0, 0);
	WIDE(cpu_slice, 0, 16, "cpu_slice's CPU", info->cpu_pfn[0], 0, thread_main.name, 0);
	WIDE(cpu_slice, 1, 8, "cpu_slice's slot", info->cpu_pfn[0], 0, thread_main.name, 0);
	WIDE(thread_switch, 1, 56, "thread_switch's bits", v->name, 1, 0, 1);
	WIDE(thread_switch, 2, 56, "thread_switch's mask", 0, 0, 1, 1);
	WIDE(pt_update, 0, 12, "pt_update's offset", 0, 1, 0, 0);
	WIDE(pt_update, 1, 8, "pt_update's n", 0, 1, 0, 0);
	none_bad(&t, "24 arguments with each bit above their width: refused, never cut to something that is there");

	t.bad = 0;
	const uint64_t good = fh_what(FH_OP_SET, 0, pt1, 9, 1);
	for (unsigned bit = 0; bit < 64; bit++) {
		uint64_t w = good ^ 1ul << bit;
		if (bit < 27 || (bit >= 32 && bit < 32 + 16))
			continue; /* another operation, count, index or frame */
		bool seen = bit >= 27 && bit < 30; /* where a batch keeps what it has seen: ignored */
		int64_t r = sys_pt_set(w, data << 12 | RW, 0).rax;
		if (seen ? r != FH_OP_DONE : r >= 0)
			count_bad(&t, "bit %u of the operation word: %ld", bit, r);
		clear(pt1, 9);
	}
	for (unsigned o = FH_NOPS; o < 16; o++)
		want(&t, sys_pt_set(fh_what(o, 0, pt1, 9, 1), 0, 0).rax, -FH_EINVAL, "operation %u", o);
	for (uint64_t bit = 27; bit < 52; bit++)
		want(&t, set(pt1, 9, data << 12 | RW | 1ul << (bit + 12 < 52 ? bit + 12 : 51)), -FH_EINVAL, "pfn bit %lu of an entry",
		     bit);
	none_bad(&t, "reserved bits of an operation, and pfn bits above 27 in an entry: EINVAL");

	t.bad = 0;
	want(&t, sys_frame_grant(f, 0), 0, "withdrawn");
	want(&t, (int64_t)state(f), (int64_t)(FH_DATA | (uint64_t)env_self() << 32), "the frame, after all that");
	want(&t, (int64_t)(v->view->state == FH_STOPPED), 1, "the thread, after all that");
	want(&t, type(root), FH_PT4, "the root");
	none_bad(&t, "and what they would have named is as it was");
	frame_put_typed(root);
	frame_put(f, 1);
	victim_end(v, &t);
}
