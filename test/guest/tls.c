/* tls.c - `__thread` variables: each thread its own, from the first instruction of its function to the last. */
#include <string.h>

#include "cpus.h"
#include "tap.h"

#define THREADS 8u
#define ROUNDS 200u

static __thread int counter = 42;                                   /* .tdata */
static __thread char page[5000];                                    /* .tbss, more than a page */
static __thread uint64_t aligned __attribute__((aligned(1024))) = 7; /* more than the kit's records are aligned to */
static __thread const char *text = "as it was";

static uint64_t fs_word(void)
{
	uint64_t value;
	__asm__ volatile("movq %%fs:0, %0" : "=r"(value));
	return value;
}

/* As the linker laid them out, nobody has touched them. */
static bool fresh(void)
{
	bool zero = true;

	for (unsigned i = 0; i < sizeof(page); i++)
		zero &= page[i] == 0;
	return zero && counter == 42 && aligned == 7 && strcmp(text, "as it was") == 0 && (uintptr_t)&aligned % 1024 == 0 &&
	       fs_word() == (uint64_t)thread_self()->tcb;
}

static struct {
	bool fresh, kept;
	int *at;
} seen[THREADS];

static void use(void *arg)
{
	uintptr_t me = (uintptr_t)arg;
	bool kept = true;

	seen[me].fresh = fresh();
	seen[me].at = &counter;
	for (unsigned i = 0; i < ROUNDS; i++) {
		counter = (int)(me * 1000 + i);
		aligned = me;
		memset(page, (int)me + 1, sizeof(page));
		text = (const char *)arg;
		thread_yield();
		kept &= counter == (int)(me * 1000 + i) && aligned == me && text == arg && page[0] == (char)(me + 1) &&
		        page[sizeof(page) - 1] == (char)(me + 1);
	}
	seen[me].kept = kept;
}

static void check_threads(void)
{
	struct thread *t[THREADS];
	struct tally old = {0}, lost = {0}, same = {0};

	for (unsigned i = 0; i < THREADS; i++)
		t[i] = thread_start(use, i);
	thread_join_all(t, THREADS);
	for (unsigned i = 0; i < THREADS; i++) {
		if (!seen[i].fresh)
			count_bad(&old, "thread %u", i);
		if (!seen[i].kept)
			count_bad(&lost, "thread %u", i);
		for (unsigned j = 0; j < i; j++)
			if (seen[i].at == seen[j].at || seen[i].at == &counter)
				count_bad(&same, "threads %u and %u", i, j);
	}
	none_bad(&old, "each of %u threads begins with what the program text says, aligned as it says", THREADS);
	none_bad(&lost, "and keeps what it writes, whatever the others write");
	none_bad(&same, "at addresses of its own");
	memset(seen, 0, sizeof(seen));
	t[0] = thread_start(use, 0);
	thread_join(t[0]);
	ok(seen[0].fresh, "a thread that gets the memory of one that has ended finds nothing of it");
	ok(fresh(), "the first thread's are untouched by all that");
}

/* ---- Handlers ---- */

static int at_fault, at_bell;

static enum answer on_fault(struct fh_context *c)
{
	(void)c;
	at_fault = counter++;
	c->regs.rip += 2; /* the ud2 */
	return FAULT_DONE;
}

static void on_ring(uint64_t bits)
{
	(void)bits;
	at_bell = counter++;
}

static int expected;
static bool handlers_right;

static void handled(void *arg)
{
	counter = (int)(uintptr_t)arg;
	expected = counter;
	__asm__ volatile("ud2" : : : "memory");
	handlers_right = at_fault == expected && counter == expected + 1;
}

static void check_handlers(void)
{
	on_upcall(6, on_fault);
	on_bell(1ul << BELL_USER, on_ring);
	counter = 100;
	__asm__ volatile("ud2" : : : "memory");
	ok(at_fault == 100 && counter == 101, "a fault's handler has the variables of the thread that faulted");
	sys_thread_switch(thread_self_name(), 1ul << BELL_USER, 0, 0);
	for (unsigned i = 0; i < 1000 && !at_bell; i++)
		thread_sleep(1);
	ok(at_bell == 101 && counter == 102, "so has a doorbell's");
	struct thread *t = thread_start(handled, 777);
	thread_join(t);
	ok(handlers_right && counter == 102, "in a second thread, too: its own, not the first one's");
	on_bell(1ul << BELL_USER, NULL);
	on_upcall(6, NULL);
	counter = 42;
}

/* ---- Forks ---- */

static void in_child(void)
{
	int bad = 0;

	bad |= (counter != 1234 || page[4999] != 'p') << 0;
	bad |= (fs_word() != (uint64_t)thread_self()->tcb) << 1;
	counter = 4321;
	page[4999] = 'c';
	memset(seen, 0, sizeof(seen));
	struct thread *t = thread_new(use, NULL, NULL);
	if (t)
		thread_join(t);
	bad |= (!t || !seen[0].fresh || !seen[0].kept || counter != 4321) << 2;
	exit(bad);
}

static void check_fork(void)
{
	struct env *child;

	counter = 1234;
	page[4999] = 'p';
	int r = env_fork(&child);
	if (r == 0)
		in_child();
	if (!ok(r > 0, "the program forks"))
		return;
	is(env_wait(child), ENV_EXITED, "the child ends");
	is(env_status(child), 0, "with its parent's values at first, in a copy that is its own, and fresh ones for its new thread");
	ok(counter == 1234 && page[4999] == 'p', "and the parent's are as before");
	env_reap(&child, NULL);
	counter = 42;
	page[4999] = 0;

	static struct space second; /* not on the stack, which the copy write-protects */
	memset(seen, 0, sizeof(seen));
	r = space_fork(&second, space_current());
	struct thread *t = r == 0 ? thread_new(use, NULL, &second) : NULL;
	if (t)
		thread_join(t);
	ok(t && seen[0].fresh && seen[0].kept, "a thread in a second address space has its own, too");
	ok(fresh(), "which are not the first space's");
	if (r == 0)
		space_free(&second);
}

int main(void)
{
	for (unsigned i = 0; i < 2; i++) { /* the kit's records grow now, not later */
		struct thread *t[THREADS];
		for (unsigned k = 0; k < THREADS; k++)
			t[k] = thread_start(use, k);
		thread_join_all(t, THREADS);
	}
	tap_begin();
	ok(fresh(), "the first thread has them before main: values, zeroes, alignment; FS:0 points to itself");
	check_threads();
	check_handlers();
	check_fork();
	return tap_end();
}
