/*
 * thread.c - making and ending threads of this env.
 *
 * Order of birth: place (addresses), frames, THREAD frame, stack region, thread_write, CPU slot, start. Death is done by
 * the joiner, in the opposite order, after the thread has stopped itself.
 */
#include "thread.h"

#include <errno.h>

#include "env.h"
#include "machine.h"
#include "meta.h"
#include "mm.h"
#include "spacewalk.h"
#include "start.h"
#include "syscall.h"
#include "upcall.h"

#define STOP_MS 10000u /* a CPU that takes no interrupt for so long is dead */

struct thread thread_main;
extern const char thread_entry[];

static struct {
	struct lock lock;
	unsigned count;                    /* threads, the first not counted */
	uint64_t places[THREAD_MAX / 64];  /* places in use but for 0, one bit each */
} threads;

unsigned thread_count(void) { return threads.count + 1; }

/* At the start and in a fork's child: the first thread is the only one. */
void thread_reset(void)
{
	threads.lock.holder = 0;
	threads.count = 0;
	for (unsigned i = 0; i < THREAD_MAX / 64; i++)
		threads.places[i] = 0;
}

/* Take a free place; 0: none left. */
static va_t place_get(void)
{
	va_t place = 0;

	lock_take(&threads.lock);
	for (unsigned i = 1; i < THREAD_MAX && !place; i++) {
		if (!(threads.places[i / 64] >> i % 64 & 1)) {
			threads.places[i / 64] |= 1ul << i % 64;
			threads.count++;
			place = THREADS_VA + i * THREAD_PLACE;
		}
	}
	lock_give(&threads.lock);
	return place;
}

static void place_put(va_t place)
{
	uint64_t i = (place - THREADS_VA) / THREAD_PLACE;

	lock_take(&threads.lock);
	threads.places[i / 64] &= ~(1ul << i % 64);
	threads.count--;
	lock_give(&threads.lock);
}

/* Map what belongs into the place, make the THREAD frame. 0 or -errno; thread_free cleans up either way. */
static int thread_frames(struct thread *t)
{
	struct space *s = t->space;
	int r;

	if ((r = space_fill(s, t->place + THREAD_UPCALL, 2, RIGHT_R | RIGHT_W)) < 0)
		return r;
	if ((r = space_fill(s, t->place + THREAD_STACKS, (THREAD_PLACE - THREAD_STACKS) / FH_PAGE, RIGHT_R | RIGHT_W)) < 0)
		return r;
	pfn_t pfn = frame_get_typed(s->frames, 0, FH_THREAD);
	if (!pfn)
		return -ENOMEM;
	if ((r = space_map(s, t->place + THREAD_VIEW, pfn, 1, RIGHT_R)) < 0) {
		frame_put_typed(pfn);
		return r;
	}
	t->view = (const volatile struct fh_thread *)(t->place + THREAD_VIEW);
	t->name = fh_name(pfn, t->view->serial);
	t->upcall = (struct fh_upcall *)(t->place + THREAD_UPCALL);
	t->batch = (struct fh_op *)(t->place + THREAD_BATCH);
	upcall_prepare(t->upcall, (va_t)t->upcall, t->place + THREAD_PLACE);
	t->upcall->libos[UPCALL_LIBOS_THREAD] = (uint64_t)t;
	t->upcall->libos[UPCALL_LIBOS_ROOT] = s->root;
	t->upcall->libos[UPCALL_LIBOS_SPACE] = (uint64_t)s;
	return 0;
}

static int thread_stack(struct thread *t)
{
	int64_t top = mm_stack(t->space, THREAD_STACK_BYTES, "[stack]");

	if (mm_failed(top))
		return (int)top;
	t->stack_hi = (va_t)top;
	t->stack_lo = t->stack_hi - THREAD_STACK_BYTES;
	return 0;
}

/* Describe the new thread to the kernel. */
static int thread_describe(struct thread *t)
{
	uint64_t offset, size;
	struct fh_thread_args *a = batch_area(&offset, &size);

	*a = (struct fh_thread_args){
	    .fields = FH_SET_ALL,
	    .regs = {.rip = (uint64_t)thread_entry, .rsp = t->stack_hi, .rdi = (uint64_t)t, .rflags = 2},
	    .fs_base = (uint64_t)t->tcb,
	    .gs_base = (uint64_t)t->upcall,
	    .root = t->space->root,
	    .upcall = fh_pte_pfn(*window_slot((va_t)t->upcall, 1)),
	    .batch = fh_pte_pfn(*window_slot((va_t)t->batch, 1)),
	};
	return (int)sys_thread_write(t->name, offset);
}

/* Give back all that a thread which is stopped, or was never started, has. */
static void thread_free(struct thread *t)
{
	pfn_t pfn = fh_name_pfn(t->name);

	if (pfn) {
		slot_take(pfn);
		space_unmap(t->space, t->place + THREAD_VIEW, 1);
		frame_put_typed(pfn);
	}
	space_drop(t->space, t->place, THREAD_PLACE / FH_PAGE);
	if (t->stack_hi) {
		space_lock(t->space);
		region_cut(t->space, t->stack_lo, t->stack_hi);
		space_drop(t->space, t->stack_lo, (t->stack_hi - t->stack_lo) / FH_PAGE);
		space_unlock(t->space);
	}
	place_put(t->place);
	tls_free(t->tcb);
	meta_free(t, sizeof(*t));
}

struct thread *thread_new(void (*run)(void *), void *arg, struct space *space)
{
	struct thread *t = meta_alloc(sizeof(*t));
	int r;

	if (!t)
		return NULL;
	t->space = space ? space : space_current();
	t->run = run;
	t->arg = arg;
	if (!(t->tcb = tls_new()) || !(t->place = place_get())) {
		tls_free(t->tcb);
		meta_free(t, sizeof(*t));
		return NULL;
	}
	if ((r = thread_frames(t)) == 0 && (r = thread_stack(t)) == 0 && (r = thread_describe(t)) == 0 &&
	    (r = slot_give(t->name, 1)) > 0)
		r = (int)sys_thread_ctl(t->name, FH_THREAD_START, 0);
	if (r < 0) {
		thread_free(t);
		return NULL;
	}
	return t;
}

_Noreturn void thread_begin(struct thread *t);

_Noreturn void thread_begin(struct thread *t)
{
	t->run(t->arg);
	thread_exit(0);
}

_Noreturn void thread_exit(int status)
{
	struct thread *t = thread_self();

	if (t == &thread_main)
		exit(status);
	t->status = status;
	/* Either we see the joiner's name, or the joiner sees done: both write first, then read (sequentially consistent). */
	__atomic_store_n(&t->done, 1, __ATOMIC_SEQ_CST);
	uint64_t joiner = __atomic_load_n(&t->joiner, __ATOMIC_SEQ_CST);
	if (joiner)
		sys_thread_switch(joiner, 1ul << BELL_WAKE, 0, 1); /* ring only: a deadline in the past */
	for (;;)
		sys_thread_ctl(0, FH_THREAD_STOP, (uint64_t)status);
}

int thread_stop(uint64_t thread, uint64_t status)
{
	int64_t r;

	/* It stops when its CPU is interrupted; or it sleeps before, and then only another call stops it. */
	for (unsigned tries = 0; (r = sys_thread_ctl(thread, FH_THREAD_STOP, status)) == -EBUSY && tries < STOP_MS; tries++)
		thread_sleep(1);
	return (int)r;
}

int thread_join(struct thread *t)
{
	__atomic_store_n(&t->joiner, thread_self_name(), __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&t->done, __ATOMIC_SEQ_CST))
		sys_thread_switch(0, 0, 1ul << BELL_WAKE, 0);
	while (t->view->state != FH_STOPPED) {
		cpu_pause();
		sys_thread_switch(t->name, 0, 0, 0); /* it has only its last call to make */
	}
	int status = t->status;
	thread_free(t);
	return status;
}
