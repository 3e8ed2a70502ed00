/* share.c - a window between two envs: read-only for one, and the other's to take back. */
#include "demo.h"

#define PAGES 4u
#define WORDS (FH_PAGE / sizeof(uint64_t))
#define ROUNDS 50u

enum { PRODUCER, CONSUMER };

static uint64_t item(uint64_t n) { return n * n + 1; }

/* Page 0 carries the goods, the others are for what comes after. */
static int produce(void)
{
	volatile uint64_t *page = (uint64_t *)mm_map(0, PAGES * FH_PAGE, RIGHT_R | RIGHT_W, MM_EAGER);
	struct window w;

	for (unsigned i = 0; i < PAGES; i++)
		page[i * WORDS] = '0' + i;
	if (window_new(&w) < 0 || window_show(&w, 0, (va_t)page, PAGES, RIGHT_R) < 0 ||
	    window_grant(&w, sibling[CONSUMER].env) < 0)
		return 1;
	for (uint64_t round = 0; round < ROUNDS; round++) {
		for (uint64_t i = 0; i < WORDS; i++)
			page[i] = item(round * WORDS + i);
		hand_over(CONSUMER);
	}
	printf("  producer: taking page 2 back\n");
	if (window_hide(&w, 2, 1) < 0)
		return 1;
	hand_over(CONSUMER);
	printf("  producer: and now the whole window\n");
	if (window_withdraw(&w) < 0)
		return 1;
	ring(CONSUMER);
	return page[2 * WORDS] != '2' || window_free(&w) < 0; /* the pages themselves are as they were */
}

static int consume(void)
{
	uint64_t wrong = 0;
	int bad = 0;

	ring_wait();
	int64_t at = window_link(granted_next(0, FH_PT1, fh_name_pfn(sibling[PRODUCER].env)), RIGHT_R, miss, NULL);
	if (mm_failed(at))
		return check(false, "window_link: %s", error_name((int)at));
	const volatile uint64_t *goods = (const volatile uint64_t *)at;
	volatile char *page = (volatile char *)at;
	for (uint64_t round = 0; round < ROUNDS; round++) {
		for (uint64_t i = 0; i < WORDS; i++)
			wrong += goods[i] != item(round * WORDS + i);
		if (round < ROUNDS - 1)
			hand_over(PRODUCER);
	}
	bad += check(!wrong, "%lu words through one page, producer on CPU %u, consumer on CPU %u", ROUNDS * WORDS,
	             sibling[PRODUCER].cpu, (unsigned)upcall_word(UPCALL_OFFSET(cpu)));
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

int demo_share(void) { return siblings_start(2, run) ? siblings_end() : 1; }
