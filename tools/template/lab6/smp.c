/*
 * smp.c - assignment 6: several CPUs. docs/lab/6-smp.md says what to do, test/lab/lib/lab6.h what each function promises.
 * Test it with `make lab N=6`, on one CPU and on four.
 */
#include "lab6.h"

/*
 * Part 1: mutex and condition.
 *
 * sys_thread_switch(0, 0, BELL, 0) sleeps until BELL rings; sys_thread_switch(name, BELL, 0, 1) rings it for another thread and
 * comes back at once (a deadline in the past). thread_self_name() is the caller. A bell that rings before the sleep isn't lost:
 * the sleep then ends at once. But it may also be one from before: look at a word of your own.
 */
#define BELL (1ul << (BELL_USER + 3))

void my_lock(struct my_mutex *m)
{
	(void)m; /* your code here */
}

void my_unlock(struct my_mutex *m)
{
	(void)m; /* your code here */
}

void my_wait(struct my_condition *c, struct my_mutex *m)
{
	(void)c, (void)m; /* your code here */
}

void my_signal(struct my_condition *c)
{
	(void)c; /* your code here */
}

void my_broadcast(struct my_condition *c)
{
	(void)c; /* your code here */
}

/*
 * Part 2: frames at hand.
 *
 * upcall_word(UPCALL_OFFSET(cpu)) is the CPU that runs the caller: it may be another one a moment later. frame_get and
 * frame_put (frames.h) are the way to the machine's memory: take and give several at a time.
 */
pfn_t cache_get(void)
{
	return 0; /* your code here */
}

void cache_put(pfn_t pfn)
{
	(void)pfn; /* your code here */
}

void cache_drain(void)
{
	/* your code here */
}

/*
 * Part 3: pages.
 *
 * FH_OP_CLAIM maps a FREE frame, zeroed; FH_OP_UNMAP_FREE unmaps and frees. Neither has to flush other CPUs, if you choose a
 * frame that is quiet (frame_is_quiet), and an address that is: one that no CPU can have in its TLB any more. When is that?
 * ((const volatile struct fh_clock *)info->clock_va)->clock, frame_epoch(); design.md 4.
 */
int pages_start(va_t base)
{
	(void)base; /* your code here: space_table makes the page table */
	return -FH_ENOSYS;
}

void *page_get(void)
{
	return NULL; /* your code here */
}

void page_put(void *page)
{
	(void)page; /* your code here */
}
