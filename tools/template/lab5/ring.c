/*
 * ring.c - assignment 5: a message ring between two envs. docs/lab/5-sharing.md says what to do, test/lab/lib/lab5.h what
 * each function promises. Test it with `make lab N=5`.
 *
 * Who writes what? The sender writes messages and how many it has sent; the receiver how many it has taken. Each of the two
 * shows the other a window (share.h) of its own pages, read-only.
 */
#include <string.h>

#include "lab5.h"

struct ring {
	uint64_t other;       /* name of the env on the other side */
	struct window window; /* ours, with the pages at `mine` */
	va_t mine, theirs;    /* theirs: where their window is linked; 0: not yet */
};

/*
 * Part 1: getting in touch.
 *
 * mm_map with MM_SHARED | MM_EAGER, window_new, window_show, window_grant. The other side finds it with granted_next and links
 * it with window_link. Who grants back, and when is that noticed?
 */
struct ring *ring_offer(uint64_t receiver)
{
	(void)receiver; /* your code here */
	return NULL;
}

struct ring *ring_join(uint64_t sender)
{
	(void)sender; /* your code here */
	return NULL;
}

/*
 * Part 2: messages.
 *
 * Write the message first, then say that it is there: __atomic_store_n(..., __ATOMIC_RELEASE), __atomic_load_n(...,
 * __ATOMIC_ACQUIRE). What the other side has written may change while you look at it: read it once, then check it.
 *
 * Part 4: the other side may take its window away at any time. Then a read of it is a page fault, which the region_fault given
 * to window_link answers: let it note that they are gone, and put some page there (space_fill), so that the read can end.
 */
int ring_send(struct ring *r, const void *message, size_t n)
{
	(void)r, (void)message, (void)n; /* your code here */
	return -FH_ENOSYS;
}

int ring_receive(struct ring *r, void *message)
{
	(void)r, (void)message; /* your code here */
	return -FH_ENOSYS;
}

/* Part 3: page_give, page_take, page_recall (share.h); the message is the frame's number. */
int ring_send_page(struct ring *r, va_t va)
{
	(void)r, (void)va; /* your code here */
	return -FH_ENOSYS;
}

int ring_receive_page(struct ring *r, va_t va)
{
	(void)r, (void)va; /* your code here */
	return -FH_ENOSYS;
}

void ring_close(struct ring *r)
{
	(void)r; /* your code here */
}
