/* 26: counts that overflow: quota, depth, references of one frame by many entries (249). */
#include "hostile.h"

static uint64_t quota(void) { return fh_quota(env_view()->account); }

void attack(void)
{
	struct tally t = {0};
	struct raw *v = victim(200);
	static const uint64_t amounts[] = {FH_ACCOUNT_MAX, FH_ACCOUNT_MAX + 1, 1ul << 31, 1ul << 32,
	                                   1ul << 62,      1ul << 63,          ~0ul >> 1, (1ul << 33) + 1};
	const uint64_t before = quota();

	for (unsigned i = 0; i < 8; i++) {
		either(&t, sys_env_ctl(v->env_name, FH_ENV_QUOTA, amounts[i], 0), -FH_EDQUOT, -FH_EINVAL,
		       "a child given %#lx frames of quota", amounts[i]);
		either(&t, sys_env_ctl(v->env_name, FH_ENV_QUOTA, -amounts[i], 0), -FH_EDQUOT, -FH_EINVAL, "%#lx taken from a child",
		       amounts[i]);
		either(&t, raw_call(v, FH_SYS_env_ctl, 0, FH_ENV_QUOTA, -amounts[i], 0), -FH_EDQUOT, -FH_EINVAL,
		       "%#lx given back by a child", amounts[i]);
		want(&t, raw_call(v, FH_SYS_env_ctl, 0, FH_ENV_QUOTA, 1, 0), -FH_EPERM, "quota for itself");
		want(&t, sys_env_ctl(0, FH_ENV_QUOTA, amounts[i] & ~(1ul << 63), 0), -FH_EPERM, "quota for ourselves");
	}
	want(&t, (int64_t)quota(), (int64_t)before, "quota afterwards");
	none_bad(&t, "quota is neither made nor wrapped: EDQUOT, EINVAL, EPERM");

	/* More than a child may own, by every call that claims. */
	t.bad = 0;
	unsigned got = 0;
	int64_t r;
	pfn_t f, first = 0, v_pt1 = table_of(v, FH_PT1);
	while ((f = free_frame()) && (r = sys_frame_alloc(f, 1, v->env_name, 0)) != -FH_EDQUOT && got < 300)
		got += r == 1, first = r == 1 && !first ? f : first;
	want(&t, sys_frame_alloc(free_frame(), 1, v->env_name, 0), -FH_EDQUOT, "one more");
	want(&t, op(FH_OP_CLAIM, 0, v_pt1, 300, free_frame() << 12 | RW, 0), -FH_EDQUOT, "one more by CLAIM");
	want(&t, op(FH_OP_LINK_NEW, 0, table_of(v, FH_PT2), 300, free_frame() << 12 | LINK, 0), -FH_EDQUOT, "one more by LINK_NEW");
	want(&t, frame_grant(data, v->env_name), 0, "one is granted");
	want(&t, raw_call(v, FH_SYS_frame_take, data, 1, 0, 0), -FH_EDQUOT, "one more by frame_take");
	want(&t, frame_grant(data, 0), 0, "withdrawn");
	want(&t, frame_owned(v->env), 200, "frames it owns, of 200");
	none_bad(&t, "an env owns its quota and not one frame more, by any call: EDQUOT (invariant 9)");

	t.bad = 0;
	pfn_t line[FH_ENV_DEPTH + 2] = {env_self()};
	unsigned deep = 0;
	while (deep < FH_ENV_DEPTH + 1) {
		pfn_t e = frame_get(&frames_first, 1, 1, line[deep], 0);
		if (!e)
			panic("no frame for env %u", deep);
		if ((r = retype(e, FH_ENV)) < 0) {
			want(&t, r, -FH_ENOSPC, "the env that is one too deep");
			frame_put(e, 1);
			break;
		}
		line[++deep] = e;
		if (sys_env_ctl(e, FH_ENV_QUOTA, 2 * (FH_ENV_DEPTH - deep), 0) < 0)
			panic("no quota for env %u", deep);
	}
	want(&t, deep, FH_ENV_DEPTH - (int64_t)env_view()->depth, "envs below us");
	while (deep > 0)
		frame_put_typed(line[deep--]);
	none_bad(&t, "a line of envs ends at depth %u: ENOSPC", FH_ENV_DEPTH);

	t.bad = 0; /* refs: 24 bits, more than our quota of tables can hold; the host tests reach the end (test/unit) */
	struct fh_op *b = batch_here();
	for (unsigned i = 0; i < 512; i++)
		want(&t, set(pt1, i, data << 12 | RW), FH_OP_DONE, "entry %u", i);
	want(&t, (int64_t)refs(data), 512, "references");
	b[0] = (struct fh_op){fh_what(FH_OP_UNMAP_FREE, FH_FLUSH_LOCAL, pt1, 0, 511), 0};
	want(&t, update(b, 1), 0, "511 unmapped");
	want(&t, (int64_t)refs(data), 1, "references then");
	clear(pt1, 511);
	none_bad(&t, "512 entries name one frame: each is counted, the last one left holds it");
	victim_end(v, &t);
}
