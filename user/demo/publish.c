/* publish.c - one set of frames, published read-only to many tenants, a window each. */
#include "demo.h"

#define PAGES 8u
#define TENANTS 3u /* children 1 to 3; child 0 is the publisher */

static int publish(void)
{
	char *page = (char *)mm_map(0, PAGES * FH_PAGE, RIGHT_R | RIGHT_W, MM_EAGER);
	struct window w[TENANTS];
	uint64_t frames = frames_now();
	int bad = 0;

	memset(page, 'p', PAGES * FH_PAGE);
	for (unsigned i = 0; i < TENANTS; i++)
		if (window_new(&w[i]) < 0 || window_show(&w[i], 0, (va_t)page, PAGES, RIGHT_R) < 0 ||
		    window_grant(&w[i], sibling[1 + i].env) < 0)
			return check(false, "a window");
	bad += check(frames_now() - frames == TENANTS, "%u tenants of %u pages: a page table each, %lu frames", TENANTS, PAGES,
	             frames_now() - frames);
	for (unsigned i = 0; i < TENANTS; i++, ring_wait())
		ring(1 + i);
	page[FH_PAGE] = 'q';
	window_withdraw(&w[1]);
	for (unsigned i = 0; i < TENANTS; i++, ring_wait())
		ring(1 + i);
	for (unsigned i = 0; i < TENANTS; i++)
		bad += window_free(&w[i]) < 0;
	return bad;
}

static int subscribe(unsigned me)
{
	unsigned wrong = 0;
	int bad = 0;

	ring_wait();
	int64_t at = window_link(granted_next(0, FH_PT1, fh_name_pfn(sibling[0].env)), RIGHT_R, miss, NULL);
	if (mm_failed(at))
		return check(false, "tenant %u: window_link: %s", me, error_name((int)at));
	volatile char *page = (volatile char *)at;
	for (unsigned i = 0; i < PAGES; i++)
		wrong += try_read(page + i * FH_PAGE) != 'p';
	bad += check(!wrong && !try_write(page, 'x'), "tenant %u reads %u pages at %p, and may not write", me, PAGES, (void *)page);
	ring(0);
	ring_wait();
	int byte = try_read(page + FH_PAGE);
	if (me == 2)
		bad += check(byte == -1, "tenant 2 has been shown out");
	else
		bad += check(byte == 'q', "tenant %u sees what the publisher has changed: '%c'", me, byte);
	window_unlink(at);
	ring(0);
	return bad;
}

static int run(unsigned i) { return i == 0 ? publish() : subscribe(i); }

int demo_publish(void)
{
	if (!siblings_start(1 + TENANTS, run))
		return 1;
	siblings_go();
	return siblings_end();
}
