/* hostile.c - see hostile.h. */
#include "hostile.h"

#include <stdio.h>
#include <string.h>

pfn_t pt4, pt3, pt2, pt1, data;
pte_t old;

/* ---- Calls ---- */

int64_t op(unsigned opcode, uint64_t flags, pfn_t table, unsigned index, pte_t e, va_t va)
{
	struct sys_result r;

	while ((r = sys_pt_set(fh_what(opcode, flags, table, index, 1), e, va)).rax == -FH_EAGAIN)
		thread_sleep(1);
	old = r.rdx;
	return r.rax;
}

/* The part of the batch frame for handlers within handlers (batch.h): nobody prints from there. */
#define BATCH_OFF (FH_PAGE * 3 / 4)
struct fh_op *batch_here(void) { return (struct fh_op *)((va_t)thread_self()->batch + BATCH_OFF); }

unsigned updated;
int64_t update(struct fh_op *ops, unsigned n)
{
	uint64_t off = (va_t)ops - (va_t)thread_self()->batch;
	int64_t r = 0;

	updated = 0;
	while (updated < n && (r == 0 || r == -FH_EAGAIN)) {
		if (r)
			thread_sleep(1);
		struct sys_result s = sys_pt_update(off + updated * sizeof(*ops), n - updated);
		updated += (unsigned)s.rdx;
		r = s.rax;
	}
	return r;
}

int64_t retype(pfn_t f, unsigned type)
{
	int64_t r;

	while ((r = sys_frame_retype(f, type)) == -FH_EAGAIN)
		thread_sleep(1);
	return r;
}

pfn_t table_new(unsigned type)
{
	pfn_t t = frame_get_typed(&frames_first, 0, type);

	if (!t)
		panic("no frame of type %u", type);
	return t;
}

pfn_t data_new(size_t n, size_t align)
{
	pfn_t f = frame_get(n > 1 ? &frames_large : &frames_first, n, align, 0, 0);

	if (!f)
		panic("no run of %lu frames", n);
	return f;
}

pfn_t free_frame(void) { return frames_first.next(&frames_first, 1, 1, 0); }

/* ---- What came of it ---- */

static bool matches(struct tally *t, bool good, int64_t got, int64_t wanted, const char *format, va_list args)
{
	char text[160];

	if (!good) {
		vsnprintf(text, sizeof(text), format, args);
		count_bad(t, "%s: got %ld (%s), wanted %ld (%s)", text, got, got < 0 && got > -4096 ? error_name((int)got) : "no error",
		          wanted, wanted < 0 ? error_name((int)wanted) : "no error");
	}
	return good;
}

bool want(struct tally *t, int64_t got, int64_t wanted, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	bool good = matches(t, got == wanted, got, wanted, format, args);
	va_end(args);
	return good;
}

bool either(struct tally *t, int64_t got, int64_t one, int64_t other, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	bool good = matches(t, got == one || got == other, got, one, format, args);
	va_end(args);
	return good;
}

/* ---- The attacker's own books: this corner's tables and frame, what it owns and may own ---- */

struct books {
	struct fh_frame record[5];
	uint64_t owned, quota;
};

static struct books books(void)
{
	const pfn_t watched[] = {pt1, pt2, pt3, pt4, data};
	struct books b;

	space_trim(space_current(), layout_mmap.lo, VA);
	space_trim(space_current(), VA + PLAN_GIB, layout_stack.lo);
	for (unsigned i = 0; i < 5; i++)
		b.record[i] = *(const struct fh_frame *)frame_record(watched[i]);
	b.owned = frames_owned() - kit_pages();
	b.quota = fh_quota(env_view()->account);
	return b;
}

static void nothing_changed(const struct books *was)
{
	struct tally t = {0};
	struct books now = books();

	for (unsigned i = 0; i < 5; i++) {
		const struct fh_frame *a = &was->record[i], *b = &now.record[i];
		bool root = i == 3; /* a CPU that has it loaded, or lets go of it, is a reference more or less */
		if ((root ? fh_type(a->state) != fh_type(b->state) || fh_owner(a->state) != fh_owner(b->state) : a->state != b->state) ||
		    a->link != b->link || (a->tenant != b->tenant && fh_type(a->state) != FH_FREE))
			count_bad(&t, "record %u: state %#lx was %#lx, link %#lx was %#lx, tenant %#lx was %#lx", i, b->state, a->state,
			          b->link, a->link, b->tenant, a->tenant);
	}
	want(&t, (int64_t)now.owned, (int64_t)was->owned, "frames owned");
	want(&t, (int64_t)now.quota, (int64_t)was->quota, "quota");
	none_bad(&t, "the attacker's own books are as before: references, links, types, tenants, frames, quota");
}

/* ---- Victims ---- */

struct raw *victim(uint64_t quota)
{
	struct raw *r = malloc(sizeof(*r));
	int e = r ? raw_new(r, quota) : -FH_EDQUOT;

	if (e < 0)
		panic("no child env: %s", error_name(e));
	return r;
}

void victim_end(struct raw *r, struct tally *t)
{
	int e = raw_end(r);

	if (e < 0)
		count_bad(t, "a child env can't be buried: %s", error_name(e));
	free(r);
}

pfn_t table_of(const struct raw *r, unsigned type) { return frame_find(0, type, r->env); }

unsigned vector_of(struct raw *r, const void *bytes, size_t n, const struct fh_regs *regs)
{
	struct fh_regs fresh = raw_regs(r, 0);

	raw_code(r, bytes, n);
	return raw_run(r, regs ? regs : &fresh, 50) == FH_FAULTED ? (unsigned)r->view->regs.vector : 256;
}

/* ---- Several CPUs ---- */

static struct thread *hands[FH_MAX_CPUS + 1];
static void (*task)(void *);
static volatile unsigned missing; /* hands that have not begun */

unsigned crew_size(void) { return info->ncpus > 1 ? info->ncpus : 2; }

void relax(void)
{
	if (info->ncpus > 1)
		cpu_pause();
	else
		thread_yield();
}

/* All begin at once. */
static void hand(void *arg)
{
	__atomic_fetch_sub(&missing, 1, __ATOMIC_SEQ_CST);
	while (missing)
		relax();
	task(arg);
}

static void begin(void (*f)(void *), unsigned from)
{
	cpus_begin();
	task = f;
	missing = crew_size() - from;
	for (uintptr_t i = from; i < crew_size(); i++)
		hands[i] = thread_on(info->ncpus > 1 ? (unsigned)i : 0, hand, (void *)i);
}

static void end(unsigned from)
{
	for (unsigned i = from; i < crew_size(); i++)
		thread_off(hands[i]);
	cpus_end();
}

void crew_begin(void (*f)(void *))
{
	begin(f, 1);
	while (missing)
		thread_yield();
}

void crew_end(void) { end(1); }

void crew(void (*f)(void *))
{
	begin(f, 0);
	end(0);
}

pfn_t root_clone(void)
{
	pfn_t root = table_new(FH_PT4);
	const volatile pte_t *ours = window_slot(0, 4);

	for (unsigned i = 0; i < FH_KERNEL_SLOT; i++)
		if ((ours[i] & FH_P) && op(FH_OP_SET, 0, root, i, i == FH_WINDOW_SLOT ? root << 12 | RO : ours[i] & ~(FH_A | FH_D), 0) < 0)
			panic("no second root");
	return root;
}

void root_end(pfn_t root, struct tally *t)
{
	struct fh_op *b = batch_here();

	b[0] = (struct fh_op){fh_what(FH_OP_CLEAR, 0, root, 0, FH_KERNEL_SLOT), 0};
	want(t, update(b, 1), 0, "a root emptied");
	want(t, frame_put_typed(root), 0, "a root freed");
}

/* ---- The writer ---- */

/* rdi: target, rax: MARK, rsi: how often. */
__asm__(".pushsection .text.writer,\"ax\"\n"
        ".globl writer_loop, writer_out\n"
        "writer_loop:\n"
        "	mov %rax, (%rdi)\n"
        "	incq (%rsi)\n"
        "	jmp writer_loop\n"
        "writer_out:\n"
        "	ret\n"
        ".popsection\n");
extern const char writer_loop[], writer_out[];

static volatile uint64_t round_begun, round_ended, written, target, leave;
static struct thread *writer;

static enum answer on_fault(struct fh_context *c)
{
	if (c->regs.rip != (uint64_t)writer_loop)
		return FAULT_NEXT;
	c->regs.rip = (uint64_t)writer_out;
	return FAULT_DONE;
}

static void write_main(void *arg)
{
	(void)arg;
	for (uint64_t round = 1;; round++) {
		while (round_begun != round && !leave)
			relax();
		if (leave)
			return;
		__asm__ volatile("call writer_loop" : : "D"(target), "S"(&written), "a"(MARK) : "memory", "cc");
		round_ended = round;
	}
}

void writer_begin(void)
{
	cpus_begin();
	on_upcall(14, on_fault);
	leave = 0;
	round_begun = round_ended = 0;
	writer = thread_on(info->ncpus > 1 ? 1 : 0, write_main, NULL);
}

void writer_end(void)
{
	leave = 1;
	thread_off(writer);
	on_upcall(14, NULL);
	cpus_end();
}

bool writer_go(va_t va)
{
	uint64_t from = written;

	target = va;
	round_begun = round_begun + 1;
	for (uint64_t end = cpu_tsc() + ms(60000); written == from && cpu_tsc() < end;)
		relax();
	return written != from;
}

bool writer_ended(void) { return round_ended == round_begun; }

bool writer_ends(unsigned n)
{
	for (uint64_t end = cpu_tsc() + ms(n); !writer_ended() && cpu_tsc() < end;)
		thread_yield();
	return writer_ended();
}

uint64_t watch(const volatile uint64_t *word)
{
	uint64_t seen = 0, end = cpu_tsc() + ms(100);

	while (!writer_ended() && cpu_tsc() < end) {
		seen |= *word;
		if (info->ncpus == 1)
			thread_yield();
	}
	for (unsigned i = 0; i < 3000; i++)
		seen |= *word;
	return seen;
}

/* ---- From beginning to end ---- */

int main(int argc, char **argv)
{
	static char prefix[48];
	struct raw r;

	snprintf(prefix, sizeof(prefix), "hostile %s at %u CPU%s: ", argc > 1 ? argv[1] : "?", info->ncpus,
	         info->ncpus == 1 ? "" : "s");
	tap_for((struct tap_lines *)COUNT_VA, prefix);
	pt1 = space_table(space_current(), VA, 1);
	pt2 = space_table(space_current(), VA, 2);
	pt3 = space_table(space_current(), VA, 3);
	pt4 = space_current()->root;
	data = data_new(1, 1);
	free(malloc(64)); /* what the kit makes once and keeps */
	cpu_touch_stack(16 * FH_PAGE);
	if (raw_new(&r, 64) < 0 || raw_end(&r) < 0)
		panic("no child env");
	struct books before = books();
	attack();
	nothing_changed(&before);
	return 0;
}
