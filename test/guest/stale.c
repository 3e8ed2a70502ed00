/*
 * stale.c - no CPU reaches a frame by a translation that is gone: one writes in a loop, and nothing but the kernel makes it
 * forget, while another takes the page away and sees what becomes of the frame (invariants 3, 10; HOSTILE 14, 31, 32).
 *
 * Nothing here asks for a flush. A kernel that doesn't wait for one (a debug kernel with broken=flush) must fail this test:
 * test/boot/stale.py.
 */
#include <string.h>

#include "cpus.h"
#include "raw.h"
#include "tap.h"

#define RW (FH_P | FH_W | FH_U | FH_NX)
#define RO (FH_P | FH_U | FH_NX)
#define LINK (FH_P | FH_W | FH_U)
#define MARK 0x57a1e57a1e57a1e0ul /* not present, if it lands in a page table */
#define LOOKS 3000u               /* reads of a frame, at least, to see whether it changes */
#define WRITER_CPU 1u

/* rdi: target, rsi: counter, rdx: stop, rax: MARK. */
__asm__(".pushsection .text.writer,\"ax\"\n"
        ".globl writer_begin, writer_out, writer_end\n"
        "writer_begin:\n"
        "	mov %rax, (%rdi)\n"
        "	incq (%rsi)\n"
        "	cmpq $0, (%rdx)\n"
        "	je writer_begin\n"
        "writer_out:\n"
        "	ret\n"
        "writer_end:\n"
        /* rbx: a page; r12: all that stands in it. */
        ".globl look_begin, look_end\n"
        "look_begin:\n"
        "	xor %r12d, %r12d\n"
        "	mov $512, %ecx\n"
        "1:	or (%rbx), %r12\n"
        "	add $8, %rbx\n"
        "	loop 1b\n"
        "	ud2\n"
        "look_end:\n"
        ".popsection\n");
extern const char writer_begin[], writer_out[], writer_end[], look_begin[], look_end[];

static int64_t op(unsigned o, pfn_t table, unsigned index, pte_t e)
{
	int64_t r;

	while ((r = sys_pt_set(fh_what(o, 0, table, index, 1), e, 0).rax) == -FH_EAGAIN)
		thread_sleep(1);
	return r;
}

/* ---- A writer: a thread of this env, on another CPU ---- */

#define WORK_VA 0x600000000000ul
static volatile uint64_t go, out, writes, halt, landed; /* rounds begun and ended; writes; stop; the round that ended in a fault */

static enum answer on_fault(struct fh_context *c)
{
	if (c->regs.rip != (uint64_t)writer_begin)
		return FAULT_NEXT;
	c->regs.rip = (uint64_t)writer_out;
	landed = go;
	return FAULT_DONE;
}

static void writer(void *arg)
{
	(void)arg;
	for (uint64_t round = 1;; round++) {
		while (go != round && !halt)
			cpu_pause();
		if (halt)
			return;
		__asm__ volatile("call writer_begin" : : "D"(WORK_VA), "S"(&writes), "d"(&halt), "a"(MARK) : "memory", "cc");
		out = round;
	}
}

static bool begin_round(void)
{
	uint64_t before = writes;

	go = go + 1;
	return spin_change(&writes, before, 2000);
}

/* Look at a word of a page until the writer has come to its end, and a while longer: all that was seen there. */
static bool writer_ended(void) { return out == go; }
static uint64_t watch(const volatile uint64_t *word, bool (*ended)(void))
{
	uint64_t seen = 0, end = cpu_tsc() + 100 * info->tsc_khz;

	while (!ended() && cpu_tsc() < end)
		seen |= *word;
	for (unsigned i = 0; i < LOOKS; i++)
		seen |= *word;
	return seen;
}

/* The page is gone, the frame somebody else's: the writer has found out by a fault. */
static void end_round(struct tally *t)
{
	if (!spin_change(&out, go - 1, 2000) || landed != go)
		count_bad(t, "round %lu: the writer goes on, or ended without a fault", go);
}

/* ---- The frame becomes a child's ---- */

/* Frame f is claimed for the child, into its table. We watch it, then the child looks at it: all that was seen. */
static uint64_t child_looks(struct raw *child, pfn_t pt1, pfn_t f, struct tally *t)
{
	const unsigned index = 99;
	struct fh_regs regs = raw_regs(child, 0);
	int64_t r = op(FH_OP_CLAIM, pt1, index, f << 12 | RW);
	const volatile uint64_t *page = scratch_map(f, 1, RIGHT_R);

	if (r < 0 || !page)
		panic("the frame can't be claimed for the child: %s", error_name((int)r));
	uint64_t seen = watch(page, writer_ended);
	regs.rbx = page_down(RAW_BASE) + index * FH_PAGE;
	if (raw_run(child, &regs, RAW_PATIENCE) != FH_FAULTED || child->view->regs.vector != 6)
		count_bad(t, "the child can't read the frame: state %u, vector %lu", child->view->state, child->view->regs.vector);
	scratch_put((va_t)page, 1);
	op(FH_OP_UNMAP_FREE, pt1, index, 0);
	return seen | child->view->regs.r12;
}

/* Leaf of `level` in `table`. */
static void check_reuse(struct raw *child, unsigned level, unsigned rounds)
{
	const char *what = level == 2 ? "2 MiB" : "4 KiB";
	pfn_t table = space_table(space_current(), WORK_VA, level), pt1 = frame_find(0, FH_PT1, child->env);
	unsigned index = (WORK_VA >> (level == 2 ? 21 : 12)) & 511;
	struct tally t = {0}, bytes = {0};

	raw_code(child, look_begin, (size_t)(look_end - look_begin));
	for (unsigned i = 0; i < rounds; i++) {
		pfn_t f = level == 2 ? frame_get(&frames_large, 512, 512, 0, 0) : frame_get(&frames_first, 1, 1, 0, 0);
		if (!f || op(FH_OP_SET, table, index, f << 12 | RW | (level == 2 ? FH_PS : 0)) < 0 || !begin_round())
			panic("round %u: no page to write to, or nobody writes", i);
		op(FH_OP_UNMAP_FREE, table, index, 0);
		uint64_t seen = child_looks(child, pt1, f, &t);
		if (seen)
			count_bad(&bytes, "round %u: foreign bytes %#lx in the child's frame", i, seen);
		end_round(&t);
	}
	none_bad(&bytes, "written through a %s page, unmapped, freed, claimed for a child by another CPU: %u times, no foreign byte "
	         "(HOSTILE 31)", what, rounds);
	none_bad(&t, "each time the writer ended with a fault, and the child read the frame");
	space_trim(space_current(), WORK_VA, WORK_VA + PLAN_GIB);
}

/* The frame becomes a page table, which nobody writes to. */
static void check_retype(unsigned rounds)
{
	pfn_t table = space_table(space_current(), WORK_VA, 1), f = frame_get(&frames_first, 1, 1, 0, 0);
	struct tally t = {0}, bytes = {0};

	for (unsigned i = 0; i < rounds; i++) {
		int64_t r;
		if (op(FH_OP_SET, table, 0, f << 12 | RW) < 0 || !begin_round())
			panic("round %u: no page to write to, or nobody writes", i);
		op(FH_OP_CLEAR, table, 0, 0);
		while ((r = sys_frame_retype(f, FH_PT1)) == -FH_EAGAIN)
			thread_sleep(1);
		const volatile uint64_t *entries = scratch_map(f, 1, RIGHT_R);
		uint64_t seen = watch(entries, writer_ended);
		for (unsigned k = 0; k < 512; k++)
			seen |= entries[k];
		if (seen)
			count_bad(&bytes, "round %u: foreign bytes %#lx in a page table", i, seen);
		end_round(&t);
		if (r < 0)
			count_bad(&t, "round %u: no table: %s", i, error_name((int)r));
		scratch_put((va_t)entries, 1);
		if (frame_record(f)->state != (FH_PT1 | (uint64_t)env_self() << 32))
			count_bad(&t, "round %u: state %#lx", i, frame_record(f)->state);
		while ((r = sys_frame_retype(f, FH_DATA)) == -FH_EAGAIN)
			thread_sleep(1);
	}
	frame_put(f, 1);
	none_bad(&bytes, "a page that another CPU writes to becomes a page table: %u times, no foreign byte (HOSTILE 14)", rounds);
	none_bad(&t, "each time the writer ended with a fault, and the table was there");
}

/* ---- A window: the writer is the tenant ---- */

static const volatile struct fh_thread *tenant_view;
static bool tenant_ended(void) { return tenant_view->state == FH_FAULTED; }

enum taken { WITHDRAWN, CLEARED, NARROWED };
static const char *const taken[] = {"a window is withdrawn", "a page is cleared in a window, and synced",
                                    "a page is made read-only in a window, and synced"};

static int64_t sync_frame(pfn_t f)
{
	int64_t r;

	while ((r = sys_frame_sync(f, 1)) == -FH_EAGAIN)
		thread_sleep(1);
	return r;
}

static void check_window(struct raw *tenant, enum taken how, unsigned rounds)
{
	pfn_t window = frame_get_typed(&frames_first, 0, FH_PT1), f = frame_get(&frames_first, 1, 1, 0, 0);
	pfn_t pt2 = frame_find(0, FH_PT2, tenant->env);
	volatile uint64_t *word = scratch_map(f, 1, RIGHT_R | RIGHT_W), *data = (uint64_t *)tenant->page[RAW_DATA];
	const unsigned slot = 200;
	struct tally t = {0}, bytes = {0};

	tenant_view = tenant->view;
	for (unsigned i = 0; i < rounds; i++) {
		struct fh_regs regs = raw_regs(tenant, 0);
		op(FH_OP_SET, window, 0, f << 12 | RW);
		int64_t r = frame_grant(window, tenant->env_name);
		if (r < 0 || (r = raw_call(tenant, FH_SYS_pt_set, fh_what(FH_OP_SET, 0, pt2, slot, 1), window << 12 | LINK, 0, 0)) < 0) {
			count_bad(&t, "round %u: no window: %s", i, error_name((int)r));
			break;
		}
		raw_code(tenant, writer_begin, (size_t)(writer_end - writer_begin));
		regs.rdi = slot * PLAN_LARGE, regs.rax = MARK;
		regs.rsi = raw_va(tenant, RAW_DATA), regs.rdx = regs.rsi + 8;
		data[0] = data[1] = 0;
		struct fh_thread_args a = {.fields = FH_SET_REGS, .regs = regs};
		raw_write(tenant, &a);
		cpu_place(tenant->name, WRITER_CPU);
		sys_thread_ctl(tenant->name, FH_THREAD_START, 0);
		if (!spin_change(data, 0, 2000) || tenant->upcall->cpu == cpu_here())
			panic("round %u: the tenant doesn't write, or not on another CPU", i);
		if (how == WITHDRAWN)
			r = frame_grant(window, 0);
		else
			r = op(how == CLEARED ? FH_OP_CLEAR : FH_OP_NARROW, window, 0, how == CLEARED ? 0 : FH_NX) < 0 ? -1 : sync_frame(f);
		*word = 0;
		uint64_t seen = watch(word, tenant_ended);
		if (seen)
			count_bad(&bytes, "round %u: the tenant still writes: foreign bytes %#lx", i, seen);
		if (r < 0)
			count_bad(&t, "round %u: %s", i, error_name((int)r));
		for (unsigned k = 0; k < 2000 && tenant->view->state != FH_FAULTED; k++)
			thread_sleep(1);
		if (tenant->view->state != FH_FAULTED || tenant->view->regs.vector != 14 ||
		    tenant->view->regs.error != (how == NARROWED ? 7 : 6))
			count_bad(&t, "round %u: the tenant is in state %u, vector %lu, error %lu", i, tenant->view->state,
			          tenant->view->regs.vector, tenant->view->regs.error);
		cpu_leave(tenant->name);
		frame_grant(window, 0);
		op(FH_OP_CLEAR, window, 0, 0);
	}
	scratch_put((va_t)word, 1);
	frame_put_typed(window);
	frame_put(f, 1);
	none_bad(&bytes, "%s while the tenant writes on another CPU: %u times, no foreign byte once the call is back (HOSTILE 31, 41)",
	         taken[how], rounds);
	none_bad(&t, "each time the tenant ended with a page fault");
}

static void skip_all(void)
{
	static const char *const sentences[] = {"4 KiB page", "2 MiB page", "page table", "window withdrawn", "page cleared in a window",
	                                        "page narrowed in a window"};
	for (unsigned i = 0; i < 6; i++)
		skip("one CPU", "%s, while another CPU writes to it", sentences[i]);
}

int main(void)
{
	struct raw child;
	struct thread *t;

	tap_begin();
	if (info->ncpus == 1) {
		skip_all();
		return tap_end();
	}
	if (raw_new(&child, 64) < 0)
		panic("no child");
	cpus_begin();
	on_upcall(14, on_fault);
	t = thread_on(WRITER_CPU, writer, NULL);
	for (unsigned i = 0; i < 1000 && t->upcall->cpu != WRITER_CPU; i++)
		thread_sleep(1);
	ok(t->upcall->cpu == WRITER_CPU && cpu_here() == 0, "the writer is on CPU %lu, this thread on CPU %u", t->upcall->cpu,
	   cpu_here());
	check_reuse(&child, 1, 50);
	check_reuse(&child, 2, 16);
	check_retype(50);
	halt = 1;
	thread_off(t);
	space_trim(space_current(), WORK_VA, WORK_VA + PLAN_GIB);
	for (enum taken how = WITHDRAWN; how <= NARROWED; how++)
		check_window(&child, how, 20);
	on_upcall(14, NULL);
	cpus_end();
	returns(raw_end(&child), 0, "the child is buried");
	return tap_end();
}
