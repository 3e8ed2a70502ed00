/* 51: bytes and registers of the last owner, by every way a frame or a thread is had. */
#include <string.h>

#include "hostile.h"

static bool zero(pfn_t f)
{
	const uint64_t *w = scratch_map(f, 1, RIGHT_R);
	uint64_t sum = 0;

	for (unsigned i = 0; w && i < 512; i++)
		sum |= w[i];
	scratch_put((va_t)w, 1);
	return w && sum == 0;
}

static void fill(pfn_t f)
{
	uint64_t *w = scratch_map(f, 1, RIGHT_R | RIGHT_W);

	for (unsigned i = 0; i < 512; i++)
		w[i] = MARK + i;
	scratch_put((va_t)w, 1);
}

static int64_t claim(pfn_t f, uint64_t env, uint64_t flags)
{
	int64_t r;

	while ((r = sys_frame_alloc(f, 1, env, flags)) == -FH_EAGAIN)
		thread_sleep(1);
	return r;
}

void attack(void)
{
	struct tally t = {0};
	struct raw *a = victim(200), *b = victim(200);

	for (unsigned i = 0; i < 60; i++) {
		pfn_t f = frame_get(&frames_first, 1, 1, a->env, 0);
		fill(f);
		want(&t, sys_frame_free(f, 1), 1, "freed by a");
		pfn_t b_pt1 = table_of(b, FH_PT1);
		switch (i % 6) {
		case 0: want(&t, claim(f, b->env_name, 0), 1, "claimed for b"); break;
		case 1: want(&t, claim(f, b->env_name, FH_ALLOC_KEEP), 1, "claimed for b, KEEP"); break;
		case 2: want(&t, op(FH_OP_CLAIM, FH_KEEP, b_pt1, 300, f << 12 | RW, 0), FH_OP_DONE, "mapped for b, KEEP"); break;
		case 3:
			want(&t, op(FH_OP_LINK_NEW, FH_KEEP, table_of(b, FH_PT2), 300, f << 12 | LINK, 0), FH_OP_DONE, "a table for b");
			break;
		case 4: /* claimed and given up in between, by KEEP, by who never saw zeroes */
			want(&t, claim(f, b->env_name, FH_ALLOC_KEEP), 1, "claimed for b, KEEP");
			want(&t, sys_frame_free(f, 1), 1, "freed");
			want(&t, claim(f, 0, FH_ALLOC_KEEP), 1, "claimed by us, KEEP");
			break;
		default: want(&t, claim(f, 0, FH_ALLOC_KEEP), 1, "claimed by the parent, KEEP");
		}
		if (!zero(f))
			count_bad(&t, "way %u: bytes of the last owner", i % 6);
		if (i % 6 == 2)
			op(FH_OP_UNMAP_FREE, 0, b_pt1, 300, 0, 0);
		else if (i % 6 == 3)
			op(FH_OP_UNLINK_FREE, 0, table_of(b, FH_PT2), 300, 0, 0);
		else
			sys_frame_free(f, 1);
	}
	/* The same frame number, another env in the same ENV frame: told by its serial. */
	for (unsigned i = 0; i < 10; i++) {
		struct raw *c = victim(100);
		pfn_t f = frame_get(&frames_first, 1, 1, c->env, 0), env = c->env;
		fill(f);
		sys_frame_free(f, 1);
		victim_end(c, &t);
		if (claim(env, 0, 0) != 1)
			continue;
		want(&t, retype(env, FH_ENV), 0, "another env in its frame");
		sys_env_ctl(env, FH_ENV_QUOTA, 10, 0);
		if (want(&t, claim(f, env, FH_ALLOC_KEEP), 1, "claimed for it, KEEP") && !zero(f))
			count_bad(&t, "an env in another's frame has its bytes");
		frame_put(f, 1);
		sys_env_ctl(env, FH_ENV_QUOTA, (uint64_t)-10l, 0);
		frame_put_typed(env);
	}
	for (unsigned k = FH_PT1; k <= FH_THREAD; k++) {
		pfn_t f = table_new(k);
		want(&t, retype(f, FH_DATA), 0, "DATA");
		if (!zero(f))
			count_bad(&t, "what was of type %u has its bytes", k);
		frame_put(f, 1);
	}
	none_bad(&t, "frames by frame_alloc, CLAIM, LINK_NEW, KEEP or not, retyped, of a dead env of the same number: zeroes");

	/* Registers: a thread that runs after another on the same CPU. */
	t.bad = 0;
	static const char spoil[] =
		"\x66\x48\x0f\x6e\xc0\x66\x48\x0f\x6e\xf8\x66\x4c\x0f\x6e\xf8\xdd\x04\x24\x0f\x31\x0f\x0b"; /* xmm0, 7, 15, st0 from rax */
	static const char look[] = "\x66\x48\x0f\x7e\xc0\x66\x48\x0f\x7e\xfb\x66\x4c\x0f\x7e\xf9\x0f\x0b"; /* to rax, rbx, rcx */
	for (unsigned i = 0; i < 50; i++) {
		struct fh_regs regs = raw_regs(a, 0);
		memset(&regs, 0x5a, 15 * 8);
		regs.rsp = raw_va(a, RAW_DATA);
		want(&t, vector_of(a, spoil, sizeof(spoil) - 1, &regs), 6, "one fills its registers");
		struct raw *c = i ? b : victim(64);
		want(&t, vector_of(c, look, sizeof(look) - 1, NULL), 6, "another looks");
		const volatile struct fh_regs *r = &c->view->regs;
		if (i == 0 && (r->rax || r->rbx || r->rcx))
			count_bad(&t, "xmm0 %#lx, xmm7 %#lx, xmm15 %#lx", r->rax, r->rbx, r->rcx);
		for (unsigned k = 0; k < 15; k++)
			if (((const volatile uint64_t *)r)[k] == 0x5a5a5a5a5a5a5a5a)
				count_bad(&t, "round %u: register %u is the other's", i, k);
		if (!i)
			victim_end(c, &t);
	}
	none_bad(&t, "general and vector registers of one env aren't another's");
	victim_end(a, &t), victim_end(b, &t);
}
