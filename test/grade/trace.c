/* trace.c - a trace, one operation after the other. */
#include <stdio.h>

#include "grader.h"
#include "work.h"

#define LOOKS 8u /* at all blocks, about so many in a trace */

static const struct trace_op *ops_of(const struct job_trace *t) { return (const void *)((const char *)job + t->at); }

/* Does a look at all blocks come before operation i? By lot; the next operation, which the program can't know, has a part. */
static bool look_now(const struct job_trace *t, uint32_t i)
{
	const struct trace_op *op = &ops_of(t)[i];
	uint64_t lot = i ^ (uint64_t)op->op << 20 ^ (uint64_t)op->id << 24 ^ op->bytes << 40;

	return work_random(&lot) % (t->nops / LOOKS + 1) == 0;
}

static bool operation(struct caller *c, const struct trace_op *op)
{
	switch (op->op) {
	case TRACE_FREE:
		return op->id == TRACE_NULL ? subject_call(c->lane, LANE_FREE, 0, 0, 0, NULL, &c->spent) : check_free(c, op->id);
	case TRACE_ALLOC:
		if (!check_alloc(c, op->id, op->bytes, 0))
			return false;
		break;
	default:
		if (!check_realloc(c, op->id, op->bytes))
			return false;
	}
	struct block *b = blocks_get(op->id);
	if (b && b->bytes == op->bytes)
		return true;
	return fail("%s: %s(%lu) returned NULL, with %lu bytes in use, %lu frames held and a quota of %lu", c->what,
	            op->op == TRACE_ALLOC ? "malloc" : "realloc", op->bytes, c->live, subject_held(), TRACE_QUOTA);
}

static bool run(const struct job_trace *t, struct caller *c, unsigned lanes, uint32_t *done, uint64_t *left)
{
	for (*done = 0; *done < t->nops; ++*done) {
		snprintf(c->what, sizeof(c->what), "trace %s, operation %u", t->name, *done + 1);
		c->lane = *done % lanes;
		if ((look_now(t, *done) && (!check_all(c) || !check_heap(c))) || !operation(c, &ops_of(t)[*done]))
			return false;
	}
	snprintf(c->what, sizeof(c->what), "trace %s", t->name);
	if (!check_all(c) || !check_end(c, left) || !check_held(c, TRACE_QUOTA))
		return false;
	return subject_threads() == lanes || fail("trace %s: the program has made threads of its own: its time can't be told", t->name);
}

void trace_run(const struct job_trace *t, unsigned lanes)
{
	struct caller c = {.held = 0};
	uint32_t done = 0;
	uint64_t left = 0;

	blocks_reset(t->ids);
	bool good = subject_start(graded, TRACE_QUOTA, lanes);
	if (!good)
		snprintf(c.what, sizeof(c.what), "trace %s", t->name);
	else
		good = run(t, &c, lanes, &done, &left);
	subject_end();
	if (!good)
		say("wrong %s %s", t->name, trouble);
	struct spent s = subject_spent(&c.spent);
	say("trace %s ok=%d ops=%u of=%u instructions=%lu live=%lu held=%lu left=%lu upcalls=%lu calls=%lu flushes=%lu", t->name, good,
	    done, t->nops, s.instructions, c.most, c.held, left, s.upcalls, s.calls, s.flushes);
}
