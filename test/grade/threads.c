/* threads.c - workloads of several threads (work.h), looked at after each round. */
#include <stdio.h>

#include "grader.h"
#include "work.h"

#define THREADS 4u

static uint64_t runner_cost[WORKS];
static struct work_step expected[LANES][WORK_SLOTS];
static struct caller c;

/* What a round leaves in the slots. */
static void replay(unsigned number, unsigned round)
{
	const struct work *w = &works[number];

	for (unsigned lane = 0; lane < THREADS; lane++) {
		unsigned array = work_array(w, round, lane, THREADS);
		uint64_t state = work_seed(number, round, array);
		for (unsigned i = 0; i < w->steps; i++) {
			struct work_step s = work_next(w, &state, i);
			expected[array][s.slot] = s;
		}
	}
}

static bool look(const struct work *w)
{
	const volatile struct slot(*slots)[WORK_SLOTS] = (void *)subject_memory(channel->slots, sizeof(struct slot) * LANES * WORK_SLOTS);

	if (!slots)
		return fail("%s: the runner's slots are gone", c.what);
	blocks_reset(THREADS * WORK_SLOTS);
	c.live = c.pages = 0;
	for (unsigned i = 0; i < THREADS; i++)
		if (channel->lane[i].bad)
			return fail("%s: thread %u found %lu blocks overwritten: two threads were given the same memory?", c.what, i,
			            channel->lane[i].bad);
	for (unsigned a = 0; a < THREADS; a++) {
		for (unsigned s = 0; s < w->slots; s++) {
			const struct work_step *e = &expected[a][s];
			uint64_t p = slots[a][s].p;
			if (!e->bytes)
				continue;
			if (!p)
				return fail("%s: malloc(%lu) returned NULL, with %lu frames held", c.what, e->bytes, subject_held());
			struct block *other = blocks_touching(p, p + e->bytes);
			if (other)
				return fail("%s: %#lx is given out twice: %lu bytes to slot %u of thread %u, %lu bytes to slot %u of thread %u", c.what, p,
				            e->bytes, s, a, other->bytes, blocks_id(other) % WORK_SLOTS, blocks_id(other) / WORK_SLOTS);
			if (p % 16)
				return fail("%s: a block at %#lx is not aligned to 16", c.what, p);
			blocks_add(a * WORK_SLOTS + s, p, e->bytes);
			c.live += e->bytes;
			c.pages += block_pages(e->bytes);
			const volatile char *m = subject_memory(p, e->bytes);
			size_t at = m ? pattern_wrong(m, e->bytes, e->bytes, e->key) : 0;
			if (at != e->bytes)
				return fail("%s: block %#lx of thread %u, %lu bytes, is overwritten at byte %lu", c.what, p, a, e->bytes, at);
		}
	}
	return true;
}

/* How many blocks share a cache line with one of another thread. */
static unsigned shared_lines(void)
{
	unsigned n = 0;

	for (uint32_t id = 0; id < blocks_ids(); id++) {
		const struct block *b = blocks_get(id);
		for (uint32_t other = 0; b && other < blocks_ids(); other++) {
			const struct block *o = blocks_get(other);
			if (o && other / WORK_SLOTS != id / WORK_SLOTS && o->lo / 64 <= (b->hi - 1) / 64 && (o->hi - 1) / 64 >= b->lo / 64) {
				n++;
				break;
			}
		}
	}
	return n;
}

static bool end(uint64_t *left)
{
	for (uint32_t id = 0; id < blocks_ids(); id++) {
		struct block *b = blocks_get(id);
		if (b && !subject_call(id % THREADS, LANE_FREE, b->lo, 0, 0, NULL, NULL))
			return fail("%s: free(%#lx) by another thread", c.what, b->lo);
	}
	blocks_reset(0);
	return check_end(&c, left);
}

static bool run(unsigned number, uint64_t *instructions, unsigned *shared, uint64_t *left)
{
	const struct work *w = &works[number];

	for (unsigned i = 0; i < THREADS; i++)
		for (unsigned s = 0; s < WORK_SLOTS; s++)
			expected[i][s] = (struct work_step){0};
	for (unsigned round = 0; round < w->rounds; round++) {
		snprintf(c.what, sizeof(c.what), "workload %s, %u threads, round %u", w->name, THREADS, round + 1);
		if (!subject_round(number, round, instructions))
			return fail("%s: %s%s", c.what, trouble,
			            w->stepped ? " (the threads take turns at every few instructions: is something not under a lock?)" : "");
		replay(number, round);
		if (!look(w) || !check_heap(&c))
			return false;
		count_held(&c);
		c.most = c.live > c.most ? c.live : c.most;
		c.pages_most = c.pages > c.pages_most ? c.pages : c.pages_most;
		if (!check_held(&c, TRACE_QUOTA))
			return false;
	}
	*shared = shared_lines();
	snprintf(c.what, sizeof(c.what), "workload %s", w->name);
	return end(left);
}

/* With the program that does nothing. */
void threads_calibrate(unsigned number)
{
	for (unsigned round = 0; round < works[number].rounds; round++)
		if (!subject_round(number, round, &runner_cost[number]))
			panic("calibration: %s", trouble);
}

void threads_run(unsigned number)
{
	const struct work *w = &works[number];
	uint64_t instructions = 0, left = 0;
	unsigned shared = 0;

	c = (struct caller){.lane = 0};
	bool good = subject_start(graded, TRACE_QUOTA, THREADS) && run(number, &instructions, &shared, &left);
	subject_end();
	if (!good)
		say("wrong %s %s", w->name, trouble);
	say("work %s ok=%d ops=%u instructions=%lu shared=%u left=%lu", w->name, good, 2 * w->steps * w->rounds * THREADS,
	    instructions > runner_cost[number] ? instructions - runner_cost[number] : 0, shared, left);
}
