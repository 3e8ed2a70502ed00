/* share.c - a window between two envs: read-only for one, and the other's to take back. */
#include "demo.h"

#define PAGES 4u
#define ITEMS 50000ul
#define SLOTS 256u

enum { PRODUCER, CONSUMER };

/* Page 0 of the producer's window. The consumer has one, too, whose first word says how many it has had. */
struct belt {
	volatile uint64_t made;
	volatile uint64_t item[SLOTS];
};

static uint64_t item(uint64_t n) { return n * n + 1; }

/* No call is made while the other keeps up. */
static void make(struct belt *belt, const volatile uint64_t *had)
{
	for (uint64_t n = 0; n < ITEMS; n++) {
		while (n - *had >= SLOTS)
			thread_yield();
		belt->item[n % SLOTS] = item(n);
		sibling[PRODUCER].cpu = (unsigned)upcall_word(UPCALL_OFFSET(cpu));
		belt->made = n + 1;
	}
}

static uint64_t use(const struct belt *belt, volatile uint64_t *had)
{
	uint64_t wrong = 0;

	for (uint64_t n = 0; n < ITEMS; n++) {
		while (belt->made == n)
			thread_yield();
		wrong += belt->item[n % SLOTS] != item(n);
		*had = n + 1;
	}
	return wrong;
}

static int produce(void)
{
	char *page = (char *)mm_map(0, PAGES * FH_PAGE, RIGHT_R | RIGHT_W, MM_EAGER);
	struct window w;

	page[2 * FH_PAGE] = '2';
	page[3 * FH_PAGE] = '3';
	const volatile void *theirs = exchange(&w, (va_t)page, PAGES, RIGHT_R, CONSUMER);
	if (!theirs)
		return 1;
	make((struct belt *)page, theirs);
	ring_wait();
	printf("  producer: taking page 2 back\n");
	if (window_hide(&w, 2, 1) < 0)
		return 1;
	hand_over(CONSUMER);
	printf("  producer: and now the whole window\n");
	if (window_withdraw(&w) < 0)
		return 1;
	ring(CONSUMER);
	return page[2 * FH_PAGE] != '2' || window_unlink((va_t)theirs) < 0 || window_free(&w) < 0; /* the pages are as they were */
}

static int consume(void)
{
	volatile uint64_t *had = (uint64_t *)mm_map(0, FH_PAGE, RIGHT_R | RIGHT_W, MM_EAGER);
	struct window w;
	int bad = 0;

	volatile char *page = exchange(&w, (va_t)had, 1, RIGHT_R, PRODUCER);
	if (!page)
		return 1;
	uint64_t wrong = use((const struct belt *)page, had);
	unsigned there = sibling[PRODUCER].cpu, here = (unsigned)upcall_word(UPCALL_OFFSET(cpu));
	bad += check(!wrong && (info->ncpus == 1 || there != here),
	             "%lu items through one page, producer on CPU %u, consumer on CPU %u", ITEMS, there, here);
	bool wrote = try_write(page, 'x');
	bad += check(!wrote && missed.error & FAULT_WRITE && missed.error & FAULT_PRESENT,
	             "the consumer's write faults: error %#lx at %#lx", missed.error, missed.address);
	bad += check(try_read(page + 2 * FH_PAGE) == '2', "it reads page 2");
	hand_over(PRODUCER);
	int byte = try_read(page + 2 * FH_PAGE);
	bad += check(byte == -1 && missed.address == (va_t)page + 2 * FH_PAGE,
	             "page 2 is gone from under it: fault at %#lx", missed.address);
	bad += check(try_read(page + 3 * FH_PAGE) == '3', "page 3 is not");
	hand_over(PRODUCER);
	byte = try_read(page + 3 * FH_PAGE);
	bad += check(byte == -1, "the window is gone: fault at %#lx; its handler goes on", missed.address);
	return bad + check(window_unlink((va_t)page) == 0, "the address is free again");
}

static int run(unsigned i) { return i == PRODUCER ? produce() : consume(); }

int demo_share(void)
{
	if (!siblings_start(2, run))
		return 1;
	for (unsigned i = PRODUCER; i <= CONSUMER; i++)
		sibling_pin(i, i % info->ncpus);
	siblings_go();
	return siblings_end();
}
