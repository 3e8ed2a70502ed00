/* test.c - assignment 5: sharing by grants. The two sides are children of the test's env, strangers to each other. */
#include <string.h>

#include "grader.h"
#include "lab5.h"
#include "spacewalk.h"

/* Seen by both sides and the test. */
static volatile struct meet {
	uint64_t name[2]; /* of the sender, of the receiver */
	uint64_t go;      /* the names are there */
	uint64_t step;    /* how far the test is */
	uint64_t calls, messages;
} *meet;
enum { SENDER, RECEIVER };

static void (*part[2])(struct ring *);
static uint64_t deadline;

static bool in_time(void) { return cpu_tsc() < deadline; }

/* Both sides spin, as if each had a CPU; now and then the other is let in, unseen. */
static void pause_a_bit(void)
{
	static unsigned spins;

	cpu_pause();
	if (++spins % 1000 == 0)
		grader_native(FH_SYS_thread_switch, 0, 0, 0, 0);
}

static void begin_part(void)
{
	deadline = cpu_tsc() + grader_patience * info->tsc_khz;
	expect(grader_await(&meet->go, 1), "the test didn't begin");
}

static void sender_main(void)
{
	begin_part();
	struct ring *r = ring_offer(meet->name[RECEIVER]);
	expect(r != NULL, "ring_offer returned NULL");
	part[SENDER](r);
}

static void receiver_main(void)
{
	begin_part();
	struct ring *r = ring_join(meet->name[SENDER]);
	expect(r != NULL, "ring_join returned NULL: nothing granted to env %#lx by env %#lx could be linked", env_self(),
	       fh_name_pfn(meet->name[SENDER]));
	part[RECEIVER](r);
}

static void pair(void (*sender)(struct ring *), void (*receiver)(struct ring *))
{
	struct env *child[2];

	if (!meet)
		meet = (struct meet *)mm_map(0, FH_PAGE, RIGHT_R | RIGHT_W, MM_SHARED | MM_EAGER);
	*meet = (struct meet){.go = 0};
	part[SENDER] = sender;
	part[RECEIVER] = receiver;
	child[SENDER] = grader_fork(sender_main);
	child[RECEIVER] = grader_fork(receiver_main);
	meet->name[SENDER] = child[SENDER]->name;
	meet->name[RECEIVER] = child[RECEIVER]->name;
	__atomic_store_n(&meet->go, 1, __ATOMIC_SEQ_CST);
	grader_join(child, 2);
}

/* The other side is as far as that. */
static void until(uint64_t step) { expect(grader_await(&meet->step, step), "the other side doesn't come"); }
static void reached(uint64_t step)
{
	for (uint64_t now = meet->step; now < step;) /* the other side may be further on already */
		if (__atomic_compare_exchange_n(&meet->step, &now, step, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			break;
}

/* Message i: its length and bytes follow from i. */
static size_t message(uint64_t i, char *bytes)
{
	size_t n = i % 7 == 0 ? RING_MESSAGE : i % 5 == 0 ? 1 : 8 + i * 37 % 200;

	for (size_t k = 0; k < n; k++)
		bytes[k] = (char)(i * 31 + k);
	return n;
}

static void send_message(struct ring *r, uint64_t i)
{
	char bytes[RING_MESSAGE];
	size_t n = message(i, bytes);
	int sent;

	while ((sent = ring_send(r, bytes, n)) == 0) {
		expect(in_time(), "message %lu: send returned 0 (no room, or not joined) for %lu seconds, though the receiver takes what comes", i,
		       grader_patience / 1000);
		pause_a_bit();
	}
	expect(sent == 1, "message %lu: send returned %s, should return 1", i, result_text(sent));
}

static void receive_message(struct ring *r, uint64_t i)
{
	struct {
		char bytes[RING_MESSAGE], canary[8];
	} got;
	char want[RING_MESSAGE];
	size_t n = message(i, want);
	int r1;

	memcpy(got.canary, "unharmed", 8);
	while ((r1 = ring_receive(r, got.bytes)) == 0) {
		expect(in_time(), "message %lu doesn't arrive: receive has returned 0 for %lu seconds", i, grader_patience / 1000);
		pause_a_bit();
	}
	expect(r1 > 0, "message %lu: receive returned %s", i, result_text(r1));
	expect((size_t)r1 == n, "message %lu has %lu bytes, receive returned %d: lost, doubled, or cut?", i, n, r1);
	for (size_t k = 0; k < n; k++)
		expect(got.bytes[k] == want[k], "byte %lu of message %lu is %#x, should be %#x", k, i, (unsigned char)got.bytes[k], (unsigned char)want[k]);
	expect(memcmp(got.canary, "unharmed", 8) == 0, "receive has written behind the message");
}

/* ---- In order ---- */

#define MESSAGES 3000u

static void send_many(struct ring *r)
{
	for (uint64_t i = 0; i < MESSAGES; i++)
		send_message(r, i);
	until(1);
}

static void receive_many(struct ring *r)
{
	for (uint64_t i = 0; i < MESSAGES; i++)
		receive_message(r, i);
	char none[RING_MESSAGE];
	int n = ring_receive(r, none);
	expect(n == 0, "all %u messages are taken, and receive returned %s", MESSAGES, result_text(n));
	reached(1);
}

static void test_order(void) { pair(send_many, receive_many); }

/* ---- Full and empty ---- */

static uint64_t fill(struct ring *r, uint64_t i)
{
	char bytes[RING_MESSAGE];
	uint64_t first = i;
	int sent;

	while ((sent = ring_send(r, bytes, message(i, bytes))) == 1 && i - first < 100000)
		i++;
	expect(sent == 0, "nobody takes messages: send number %lu returned %s, should return 0 in the end", i - first, result_text(sent));
	expect(i - first >= RING_ROOM, "nobody takes messages: only %lu fit, RING_ROOM is %u", i - first, RING_ROOM);
	return i;
}

static void send_full(struct ring *r)
{
	uint64_t i = 1;

	send_message(r, 0);
	until(1);
	for (uint64_t step = 1; step <= 5; step += 2) {
		i = fill(r, i);
		meet->messages = i;
		reached(step + 1);
		until(step + 2);
	}
	char none = 0, big[RING_MESSAGE + 1] = {0};
	expect_result(ring_send(r, &none, 0), -FH_EINVAL, "send of 0 bytes");
	expect_result(ring_send(r, big, sizeof(big)), -FH_EINVAL, "send of RING_MESSAGE + 1 bytes");
	reached(8);
}

static void receive_full(struct ring *r)
{
	uint64_t i = 1;

	receive_message(r, 0);
	reached(1);
	for (uint64_t step = 2; step <= 6; step += 2) {
		until(step);
		while (i < meet->messages)
			receive_message(r, i++);
		char none[RING_MESSAGE];
		int n = ring_receive(r, none);
		expect(n == 0, "the ring was full and all is taken: receive returned %s, should return 0", result_text(n));
		reached(step + 1);
	}
	until(8);
}

static void test_full(void) { pair(send_full, receive_full); }

/* ---- Rights ---- */

/* What we show to others, and what is linked here of others: nothing may be writable. */
static void check_rights(const char *who)
{
	unsigned windows = 0, tables = 0;

	for (pfn_t p = frame_find(0, FH_PT1, env_self()); p; p = frame_find(p, FH_PT1, env_self())) {
		if (!frame_record(p)->tenant)
			continue;
		const volatile pte_t *t = scratch_map(p, 1, RIGHT_R);
		for (unsigned i = 0; t && i < WINDOW_PAGES; i++)
			expect(!(t[i] & FH_W), "page %u of the window that the %s shows may be written to by the other side, if it wants: %s", i, who,
			       entry_text(t[i]));
		scratch_put((va_t)t, 1);
		tables++;
	}
	expect(tables > 0, "the %s has granted no window", who);
	for (struct region *r = region_after(space_current(), layout_mmap.lo); r; r = region_after(space_current(), r->hi)) {
		struct leaf leaf;
		pfn_t table = window_table(r->base);
		if (!table || fh_owner(frame_record(table)->state) == env_self() || r->lo >= layout_mmap.hi)
			continue;
		windows++;
		bool linked_w = *window_slot(r->base, 2) & FH_W;
		for (va_t at = r->base; space_next(space_current(), at, r->end, &leaf); at = leaf.va + FH_PAGE)
			expect(!(leaf.pte & FH_W) || !linked_w, "the %s can write to what the other side shows, at %#lx: %s", who, leaf.va, entry_text(leaf.pte));
	}
	expect(windows > 0, "the %s has linked no window of the other side's", who);
}

static void send_rights(struct ring *r)
{
	send_message(r, 0);
	until(1);
	check_rights("sender");
	reached(2);
	until(3);
}

static void receive_rights(struct ring *r)
{
	receive_message(r, 0);
	reached(1);
	until(2);
	check_rights("receiver");
	reached(3);
}

static void test_rights(void) { pair(send_rights, receive_rights); }

/* ---- No system calls ---- */

#define WARM 100u
#define FEW 8u /* a page that is touched for the first time, say */
static unsigned calls;
static uint64_t last_call, last_rip;

static bool count_call(struct fh_context *c)
{
	calls++;
	last_call = c->regs.rax;
	last_rip = c->regs.rip;
	return true;
}

static void quietly(void (*one)(struct ring *, uint64_t), struct ring *r, const char *what)
{
	char command[128];

	for (uint64_t i = 0; i < WARM; i++)
		one(r, i);
	calls = 0;
	grader_trap(count_call);
	for (uint64_t i = WARM; i < MESSAGES; i++)
		one(r, i);
	grader_trap_end();
	expect(calls <= FEW, "both sides run, %u messages: the %s made %u system calls, the last one %s,\n"
	       "at rip %#lx: %s", MESSAGES - WARM, what, calls, grader_call_name(last_call), last_rip,
	       upcall_where(last_rip, command, sizeof(command)));
}

static void send_quietly(struct ring *r)
{
	quietly(send_message, r, "sender");
	until(1);
}

static void receive_quietly(struct ring *r)
{
	quietly(receive_message, r, "receiver");
	reached(1);
}

static void test_calls(void) { pair(send_quietly, receive_quietly); }

/* ---- Pages ---- */

#define PAGES 40u

static char *some_pages(unsigned n, unsigned flags)
{
	int64_t va = mm_map(0, n * FH_PAGE, RIGHT_R | RIGHT_W, flags);

	expect(!mm_failed(va), "no addresses");
	return (char *)va;
}

static void send_pages(struct ring *r)
{
	char *p = some_pages(PAGES + 1, MM_EAGER);
	int sent;

	send_message(r, 0);
	until(1);
	for (unsigned i = 0; i < PAGES; i++)
		memset(p + i * FH_PAGE, 'a' + (int)i, FH_PAGE);
	uint64_t owned = (uint64_t)frame_owned(0);
	for (unsigned i = 0; i < PAGES; i++) {
		while ((sent = ring_send_page(r, (va_t)p + i * FH_PAGE)) == 0) {
			expect(in_time(), "page %u: send_page returns 0, though the receiver takes what comes", i);
			expect(space_get(space_current(), (va_t)p + i * FH_PAGE) & FH_P, "send_page returned 0 (no room), but the page isn't here any more");
			expect(p[i * FH_PAGE] == (char)('a' + i), "send_page returned 0 (no room), and what was in the page is lost");
			reached(2); /* the ring has been full */
			pause_a_bit();
		}
		expect(sent == 1, "page %u: send_page returned %s, should return 1", i, result_text(sent));
		expect(!(space_get(space_current(), (va_t)p + i * FH_PAGE) & FH_P), "page %u is sent, and is still mapped here: %s", i,
		       entry_text(space_get(space_current(), (va_t)p + i * FH_PAGE)));
	}
	until(3);
	owned -= (uint64_t)frame_owned(0);
	expect(owned == PAGES, "%u pages were sent and taken: this env owns %ld frames less", PAGES, (int64_t)owned);
}

static void receive_pages(struct ring *r)
{
	char *p = some_pages(PAGES, 0);
	int n;

	receive_message(r, 0);
	p[0] = 0; /* a page table */
	mm_unmap((va_t)p, FH_PAGE);
	mm_map((va_t)p, FH_PAGE, RIGHT_R | RIGHT_W, MM_FIXED);
	uint64_t owned = (uint64_t)frame_owned(0);
	reached(1);
	until(2);
	for (unsigned i = 0; i < PAGES; i++) {
		while ((n = ring_receive_page(r, (va_t)p + i * FH_PAGE)) == 0) {
			expect(in_time(), "page %u doesn't come: receive_page returns 0", i);
			pause_a_bit();
		}
		expect(n == 1, "page %u: receive_page returned %s, should return 1", i, result_text(n));
		pfn_t pfn = fh_pte_pfn(space_get(space_current(), (va_t)p + i * FH_PAGE));
		expect(fh_owner(frame_record(pfn)->state) == env_self(), "page %u: frame %#lx is mapped, but belongs to env %#lx, not to the receiver", i, pfn,
		       fh_owner(frame_record(pfn)->state));
		for (unsigned k = 0; k < FH_PAGE; k++)
			expect(p[i * FH_PAGE + k] == (char)('a' + i), "byte %u of page %u is %#x, should be %#x", k, i, (unsigned char)p[i * FH_PAGE + k], 'a' + i);
		p[i * FH_PAGE] = 1;
	}
	owned = (uint64_t)frame_owned(0) - owned;
	expect(owned == PAGES, "%u pages were received: this env owns %ld frames more", PAGES, (int64_t)owned);
	reached(3);
}

static void test_pages(void) { pair(send_pages, receive_pages); }

/* ---- The other side goes ---- */

static void must_be_told(struct ring *r, bool sender, const char *how)
{
	char bytes[RING_MESSAGE] = {0};
	int n;

	while ((n = sender ? ring_send(r, bytes, 100) : ring_receive(r, bytes)) >= 0) {
		expect(in_time(), "the %s: %s still returns %d", how, sender ? "send" : "receive", n);
		thread_sleep(1);
	}
	expect(n == -FH_ECANCELED, "the %s: %s returned %s, should return -ECANCELED", how, sender ? "send" : "receive", result_text(n));
	n = sender ? ring_send(r, bytes, 100) : ring_receive(r, bytes);
	expect(n == -FH_ECANCELED, "the %s: %s returned -ECANCELED once, then %s", how, sender ? "send" : "receive", result_text(n));
	ring_close(r);
}

static void send_and_close(struct ring *r)
{
	for (uint64_t i = 0; i < 3; i++)
		send_message(r, i);
	until(1);
	ring_close(r);
	reached(2);
	until(3);
}

static void send_and_die(struct ring *r)
{
	for (uint64_t i = 0; i < 3; i++)
		send_message(r, i);
	until(1);
}

static void receive_to_end(struct ring *r)
{
	for (uint64_t i = 0; i < 3; i++)
		receive_message(r, i);
	reached(1);
	must_be_told(r, false, "sender has closed the ring, or died");
	reached(3);
}

static void send_to_end(struct ring *r)
{
	for (uint64_t i = 0; i < 3; i++)
		send_message(r, i);
	until(2);
	must_be_told(r, true, "receiver has closed the ring");
	reached(3);
}

static void receive_and_close(struct ring *r)
{
	for (uint64_t i = 0; i < 3; i++)
		receive_message(r, i);
	ring_close(r);
	reached(2);
	until(3);
}

static void test_gone(void)
{
	pair(send_and_close, receive_to_end);
	pair(send_to_end, receive_and_close);
	pair(send_and_die, receive_to_end);
}

/* ---- Lies ---- */

/* Fill with one byte all that this env shows to others. */
static void scribble(int byte)
{
	for (pfn_t p = frame_find(0, FH_PT1, env_self()); p; p = frame_find(p, FH_PT1, env_self())) {
		if (!frame_record(p)->tenant)
			continue;
		const volatile pte_t *t = scratch_map(p, 1, RIGHT_R);
		for (unsigned i = 0; t && i < WINDOW_PAGES; i++) {
			void *page = t[i] & FH_P ? scratch_map(fh_pte_pfn(t[i]), 1, RIGHT_R | RIGHT_W) : NULL;
			if (page) {
				memset(page, byte, FH_PAGE);
				scratch_put((va_t)page, 1);
			}
		}
		scratch_put((va_t)t, 1);
	}
}

static void send_lies(struct ring *r)
{
	static const int lies[] = {0xff, 0x7f, 0x01, 0x80, 0x40};

	for (uint64_t i = 0; i < 3; i++)
		send_message(r, i);
	for (unsigned k = 0; k < 5; k++) {
		until(2 * k + 1);
		scribble(lies[k]);
		reached(2 * k + 2);
	}
	until(11);
}

static void receive_lies(struct ring *r)
{
	struct {
		char before[64], bytes[RING_MESSAGE], after[64];
	} got;

	for (uint64_t i = 0; i < 3; i++)
		receive_message(r, i);
	for (unsigned k = 0; k < 5; k++) {
		reached(2 * k + 1);
		until(2 * k + 2);
		for (unsigned i = 0; i < 200; i++) {
			memset(&got, 'c', sizeof(got));
			int n = ring_receive(r, got.bytes);
			expect(n <= (int)RING_MESSAGE, "the sender has filled its pages with rubbish: receive returned %d, more than RING_MESSAGE", n);
			for (unsigned c = 0; c < 64; c++)
				expect(got.before[c] == 'c' && got.after[c] == 'c', "the sender has filled its pages with rubbish: receive has written outside of the\n"
				       "buffer, by a length that it did not check, or read twice");
			if (n < 0)
				break;
		}
	}
	reached(11);
}

static void test_lies(void) { pair(send_lies, receive_lies); }

static const struct lab_test tests[] = {
    {25, "messages arrive whole, and in order", test_order},
    {10, "a full ring says so, and loses nothing", test_full},
    {15, "neither side can write to what the other shows", test_rights},
    {15, "no system call when both run", test_calls},
    {15, "pages are passed on with what is in them, and stay when the ring is full", test_pages},
    {10, "when the other side closes the ring, or dies, there is an error and no crash", test_gone},
    {10, "a sender that writes rubbish into its pages does no harm to the receiver", test_lies},
};
const struct lab lab = {.title = "Lab 5: sharing by grants", .tests = tests, .ntests = sizeof(tests) / sizeof(tests[0])};
