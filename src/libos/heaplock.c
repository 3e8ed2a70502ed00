/*
 * heaplock.c - what an allocator is called under: one mutex, doorbell upcalls held back inside it. Page faults inside are
 * fine (they take other locks); calling malloc from a handler that interrupted malloc is not, and ends the program with a
 * sentence.
 */
#include "heap.h"
#include "start.h"
#include "sync.h"
#include "thread.h"
#include "upcall.h"

static struct mutex heap_mutex;
static uint64_t heap_holder; /* name of the thread in the allocator */

uint64_t heap_enter(const struct allocator *a)
{
	if (a->threads)
		return upcalls_mask();
	uint64_t me = thread_self_name();
	if (heap_holder == me)
		panic("malloc called by a handler that interrupted malloc");
	uint64_t mask = upcalls_mask();
	mutex_lock(&heap_mutex);
	heap_holder = me;
	return mask;
}

void heap_leave(const struct allocator *a, uint64_t mask)
{
	if (!a->threads) {
		heap_holder = 0;
		mutex_unlock(&heap_mutex);
	}
	upcalls_restore(mask);
}

void heap_fork(enum heap_fork step)
{
	struct allocator *a = malloc_default;

	if (step == HEAP_FORK_BEFORE)
		mutex_lock(&heap_mutex);
	if (a->threads && a->fork)
		a->fork(a, step);
	if (step == HEAP_FORK_CHILD)
		heap_mutex.word = 0; /* whoever waits for it waits in the parent */
	if (step == HEAP_FORK_PARENT)
		mutex_unlock(&heap_mutex);
}
