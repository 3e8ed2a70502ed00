/*
 * runner.c - the program that is graded: an allocator, and threads that call it as the grader says. It is the student's as
 * a whole: whatever the allocator does to it, the grader's books are elsewhere (job.h).
 */
#include "kit.h"

#include "job.h"
#include "work.h"

#define TRAP_FLAG 0x100ul
#define STACK_TOUCHED (32 * 1024ul) /* so much of its stack costs an allocator nothing */
#define STEPS_MOST 40     /* instructions between two switches */
#define STEPS_ALL 2000    /* so many of each call; the rest of a long one is the kit's, most likely */

static struct channel *const channel = (struct channel *)CHANNEL_VA;
static struct slot slots[LANES][WORK_SLOTS];

/* One byte of each page, without changing it: a program uses what it asks for. */
static void touch(uint64_t p, size_t n)
{
	if (!p)
		return;
	for (size_t i = 0; i < n; i += FH_PAGE)
		__asm__ volatile("orb $0, (%0)" : : "r"(p + i) : "memory", "cc");
	if (n)
		__asm__ volatile("orb $0, (%0)" : : "r"(p + n - 1) : "memory", "cc");
}

/* ---- Threads that take turns at instructions: a race that needs two threads in the same few lines comes up ---- */

static uint64_t lot = 1;
static unsigned left[LANES], steps[LANES];

static unsigned my_lane(void)
{
	unsigned i = 0;

	while (i < channel->lanes && channel->lane[i].thread != thread_self_name())
		i++;
	return i;
}

static enum answer step(struct fh_context *c)
{
	unsigned i = my_lane();

	if (i >= LANES || ++steps[i] == STEPS_ALL) {
		c->regs.rflags &= ~TRAP_FLAG;
	} else if (left[i]-- == 0) {
		left[i] = (unsigned)(work_random(&lot) % STEPS_MOST);
		sys_thread_switch(channel->lane[(i + 1 + left[i] % (channel->lanes - 1)) % channel->lanes].thread, 0, 0, 0);
	}
	return FAULT_DONE;
}

/* The lea: below rsp lies the red zone. */
#define FLAGS(how, value) \
	__asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; " how " %0, (%%rsp); popfq; lea 128(%%rsp), %%rsp" : : "i"(value) : "memory", "cc")

static void stepping(bool on)
{
	steps[my_lane()] = 0;
	if (on)
		FLAGS("orq", TRAP_FLAG);
	else
		FLAGS("andq", ~TRAP_FLAG);
}

/* ---- Workloads ---- */

static void work(struct lane *l, unsigned number, unsigned round)
{
	const struct work *w = &works[number];
	unsigned array = work_array(w, round, (unsigned)(l - channel->lane), (unsigned)channel->lanes);
	uint64_t state = work_seed(number, round, array);

	for (unsigned i = 0; i < w->steps; i++) {
		struct work_step s = work_next(w, &state, i);
		struct slot *at = &slots[array][s.slot];
		if (at->p && pattern_wrong((char *)at->p, at->bytes, at->bytes, at->key) != at->bytes)
			l->bad++;
		stepping(w->stepped);
		free((void *)at->p);
		char *p = malloc(s.bytes);
		stepping(false);
		for (unsigned k = 0; p && k < w->writes; k++)
			pattern_fill(p, s.bytes, s.key);
		*at = (struct slot){(uint64_t)p, s.bytes, s.key};
	}
}

/* ---- One call at a time ---- */

static void serve(struct lane *l)
{
	switch (l->op) {
	case LANE_ALLOC:
		l->result = (uint64_t)(l->align ? aligned_alloc(l->align, l->n) : malloc(l->n));
		touch(l->result, l->n);
		break;
	case LANE_FREE:
		free((void *)l->p);
		break;
	case LANE_REALLOC:
		l->result = (uint64_t)realloc((void *)l->p, l->n);
		touch(l->result, l->n);
		break;
	case LANE_SIZE:
		l->result = malloc_usable_size((void *)l->p);
		break;
	case LANE_CHECK:
		l->result = (uint64_t)malloc_check();
		break;
	case LANE_TRIM:
		l->result = malloc_trim();
		break;
	case LANE_WORK:
		work(l, (unsigned)l->p, (unsigned)l->n);
		break;
	}
	l->done = 1;
}

static void lane_run(void *arg)
{
	struct lane *l = arg;
	unsigned i = (unsigned)(l - channel->lane);

	cpu_touch_stack(STACK_TOUCHED);
	__atomic_store_n(&l->thread, thread_self_name(), __ATOMIC_SEQ_CST);
	for (uint64_t give = LANE_BELL(i);; give = LANE_BELL(i)) {
		uint64_t to = channel->grader;
		while (sys_thread_switch(to, give, LANE_GO, 0) != LANE_GO)
			to = give = 0;
		serve(l);
	}
}

int main(void)
{
	on_upcall(1, step);
	channel->slots = (uint64_t)slots;
	for (unsigned i = 1; i < channel->lanes; i++)
		if (!thread_new(lane_run, &channel->lane[i], NULL))
			panic("no thread");
	lane_run(&channel->lane[0]);
	return 0;
}
