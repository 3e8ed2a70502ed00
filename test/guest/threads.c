/*
 * threads.c - thread_switch, thread_ctl, cpu_slice: who runs when, who may wake whom, and what a thread keeps while others
 * run (DESIGN 3, 6; HOSTILE 27, 29, 48).
 */
#include <string.h>

#include "raw.h"
#include "tap.h"

#define BELL (1ul << (BELL_USER + 1))
#define BELL2 (1ul << (BELL_USER + 2))
#define BELL3 (1ul << (BELL_USER + 3))

static uint64_t ms(uint64_t n) { return n * info->tsc_khz; }
static uint64_t me(void) { return thread_self_name(); }
static int64_t yield_to(uint64_t t) { return sys_thread_switch(t, 0, 0, 0); }

/* ---- Yield, notify, wait ---- */

static void check_yield(struct raw *r)
{
	uint64_t *counter = (uint64_t *)r->page[RAW_DATA];
	struct fh_regs regs = raw_regs(r, 0);
	struct fh_thread_args a = {.fields = FH_SET_REGS, .regs = regs};

	returns(yield_to(0), 0, "a yield to nobody comes back");
	returns(yield_to(me()), 0, "so does one to oneself");
	*counter = 0;
	a.regs.rbx = raw_va(r, RAW_DATA);
	raw_code(r, "\x48\xff\x03", 3); /* inc qword [rbx] */
	returns(raw_write(r, &a), 0, "a thread is given registers");
	returns(yield_to(r->name), 0, "a yield to a stopped thread comes back");
	is((int64_t)*counter, 0, "which did not run");
	sys_thread_ctl(r->name, FH_THREAD_START, 0);
	uint64_t end = cpu_tsc() + ms(40);
	while (cpu_tsc() < end)
		cpu_pause();
	is((int64_t)*counter, 0, "a ready thread without a slice does not run by itself");
	int64_t bell = 0;
	for (unsigned i = 0; i < RAW_PATIENCE && !bell; i++) { /* the rest of ours may be nothing */
		yield_to(r->name); /* it runs here; we may go on on another CPU meanwhile */
		bell = sys_thread_switch(0, 0, RAW_BELL, cpu_tsc() + ms(10));
	}
	is(bell, (int64_t)RAW_BELL, "a directed yield hands it the rest of ours: its keeper's bell is rung");
	is((int64_t)*counter, 1, "it has run");
	is(r->view->state, FH_STOPPED, "and has stopped");
}

static void check_bells(struct raw *r)
{
	returns(sys_thread_switch(0, 0, BELL, 1), 0, "a wait whose deadline has passed comes back with nothing");
	returns(sys_thread_switch(me(), BELL | BELL2, BELL, 0), (int64_t)BELL, "bits rung before the wait are taken at once");
	returns(sys_thread_switch(0, 0, BELL | BELL2 | BELL3, 0), (int64_t)BELL2, "bits outside the mask stay: they are sticky");
	returns(sys_thread_switch(0, 0, BELL | BELL2, 1), 0, "each is taken once");

	/* A sleeper. */
	r->upcall->mask = ~0ul;
	struct fh_regs regs = raw_regs(r, 0);
	raw_code(r, "\x0f\x05\x0f\x0b", 4);
	regs.rax = FH_SYS_thread_switch;
	regs.rdx = BELL | BELL2;
	is(raw_run(r, &regs, RAW_PATIENCE), FH_SLEEPING, "a thread that waits for two bits sleeps");
	returns(sys_thread_switch(r->name, BELL3, 0, 0), 0, "another bit is rung");
	is(r->view->state, FH_SLEEPING, "which does not wake it");
	returns(sys_thread_switch(r->name, BELL2, 0, 0), 0, "one of the two is rung");
	is(raw_wait(r, RAW_PATIENCE), FH_FAULTED, "that does");
	is((int64_t)r->view->regs.rax, (int64_t)BELL2, "it gets the bit it waited for, and no other");
	is((int64_t)(r->view->bells & FH_BELLS_USER), (int64_t)BELL3, "the other one still waits");
	is((int64_t)r->view->regs.rip, (int64_t)(regs.rip + 2), "it goes on after its call");
	is(raw_call(r, FH_SYS_thread_switch, 0, 0, BELL3, 0), (int64_t)BELL3, "and is taken by the next wait");
}

/* ---- Deadlines ---- */

static void check_deadlines(void)
{
	static const uint64_t tenths[] = {1, 2, 5, 10, 20, 50, 100, 200, 250};
	struct tally early = {0}, late = {0};

	for (unsigned i = 0; i < sizeof(tenths) / sizeof(tenths[0]); i++) {
		for (unsigned k = 0; k < 4; k++) {
			uint64_t from = cpu_tsc(), deadline = from + tenths[i] * info->tsc_khz / 10;
			int64_t r = sys_thread_switch(0, 0, k % 2 ? BELL : 0, deadline);
			uint64_t now = cpu_tsc();
			if (r != 0 || now < deadline)
				count_bad(&early, "%lu us: back after %lu us with %ld", tenths[i] * 100, (now - from) * 1000 / info->tsc_khz, r);
			if (now > deadline + ms(2000))
				count_bad(&late, "%lu us: back after %lu us", tenths[i] * 100, (now - from) * 1000 / info->tsc_khz);
		}
	}
	none_bad(&early, "no sleep ends before its deadline, and each returns 0");
	none_bad(&late, "nor long after it");
	returns(sys_thread_switch(0, 0, 0, 1), 0, "a deadline in the past is no sleep");
}

static void ring_later(void *to)
{
	thread_sleep(10);
	sys_thread_switch(*(uint64_t *)to, BELL, 0, 0);
}

static void check_far_deadline(void)
{
	static const uint64_t deadlines[] = {1ul << 63, ~0ul, ~1ul, 1ul << 55, 0};
	struct tally t = {0};
	uint64_t name = me();

	for (unsigned i = 0; i < 5; i++) {
		uint64_t from = cpu_tsc(); /* before the other one begins, perhaps at once on another CPU */
		struct thread *other = thread_new(ring_later, &name, NULL);
		int64_t r = sys_thread_switch(0, 0, BELL, deadlines[i]);
		if (!other || r != (int64_t)BELL || cpu_tsc() - from < ms(9))
			count_bad(&t, "deadline %#lx: %#lx after %lu us", deadlines[i], r, (cpu_tsc() - from) * 1000 / info->tsc_khz);
		if (other)
			thread_join(other);
	}
	none_bad(&t, "a wait with a deadline far away, or none, ends when its bit is rung: the idle CPU woke for the other sleeper");
}

/* ---- Interrupted waits ---- */

static volatile uint64_t upcall_bits, upcall_order;
static volatile bool back;
static void on_bell2(uint64_t bits)
{
	upcall_bits |= bits;
	upcall_order = back ? 2 : 1;
}

static void ring_two(void *to)
{
	sys_thread_switch(*(uint64_t *)to, BELL2, 0, 0);
}

static void check_eintr(void)
{
	uint64_t name = me();

	on_bell(BELL2, on_bell2);
	struct thread *other = thread_new(ring_two, &name, NULL);
	int64_t r = sys_thread_switch(0, 0, BELL, 0);
	back = true;
	returns(r, -FH_EINTR, "a wait is interrupted by a bit that is unmasked for upcalls");
	ok(upcall_bits == BELL2 && upcall_order == 1, "its upcall has run before the wait returned");
	if (other)
		thread_join(other);
	returns(sys_thread_switch(me(), BELL, BELL, 0), (int64_t)BELL, "the next wait works");
	upcall_bits = 0;
	returns(sys_thread_switch(me(), BELL | BELL2, BELL, 0), (int64_t)BELL, "bits of the mask that are there already come first");
	returns(sys_thread_switch(0, 0, 0, 0), 0, "the other comes in by the next yield");
	is((int64_t)upcall_bits, (int64_t)BELL2, "as an upcall");
	on_bell(BELL2, NULL);
	upcall_bits = 0;
	sys_thread_switch(me(), BELL2, 0, 0);
	yield_to(0);
	is((int64_t)upcall_bits, 0, "masked again, it waits");
	returns(sys_thread_switch(0, 0, BELL2, 0), (int64_t)BELL2, "and is taken by a wait");
}

/* ---- Ping-pong ---- */

#define ROUNDS 1000u
static volatile unsigned pings, pongs;

static void pong(void *to)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (sys_thread_switch(0, 0, BELL, 0) != (int64_t)BELL)
			return;
		pongs++;
		sys_thread_switch(*(uint64_t *)to, BELL2, 0, 0);
	}
}

static void check_ping_pong(void)
{
	uint64_t name = me();

	for (unsigned way = 0; way < 2; way++) {
		struct thread *other = thread_new(pong, &name, NULL);
		unsigned lost = 0;
		pings = pongs = 0;
		for (; other && pings < ROUNDS; pings++) {
			int64_t r;
			if (way == 0) {
				r = sys_thread_switch(other->name, BELL, BELL2, cpu_tsc() + ms(5000));
			} else { /* ring, go on for a while, and only then wait */
				sys_thread_switch(other->name, BELL, 0, 0);
				r = sys_thread_switch(0, 0, BELL2, cpu_tsc() + ms(5000));
			}
			lost += r != (int64_t)BELL2;
		}
		ok(other && lost == 0 && pongs == ROUNDS, "%u rounds of ping-pong %s: %u wake-ups lost", ROUNDS,
		   way ? "with a ring before the wait" : "in one call each", lost);
		if (other)
			thread_join(other);
	}
}

/* ---- Strangers ---- */

static void check_strangers(struct raw *a, struct raw *b)
{
	is(raw_call(a, FH_SYS_thread_switch, b->name, 1, 0, 0), -FH_EPERM, "a sibling's thread can't be rung");
	is(raw_call(a, FH_SYS_thread_switch, b->name, 0, 0, 0), -FH_EPERM, "nor handed a slice");
	is(raw_call(a, FH_SYS_thread_switch, me(), 1, 0, 0), -FH_EPERM, "nor can a parent's");
	is(raw_call(a, FH_SYS_thread_switch, b->thread, 1, 0, 0), -FH_EPERM, "a name without a serial is refused");
	is(raw_call(a, FH_SYS_thread_switch, b->name + (1ul << FH_PFN_BITS), 1, 0, 0), -FH_ESRCH, "so is one with another's serial");
	is(raw_call(a, FH_SYS_thread_switch, b->env_name, 1, 0, 0), -FH_ESRCH, "an env is no thread");
	is(raw_call(b, FH_SYS_env_ctl, 0, FH_ENV_CALLER, 15, a->env_name), 0, "one lists the other's env");
	is(raw_call(a, FH_SYS_thread_switch, b->name, BELL, 0, 0), 0, "then the other may ring");
	ok(b->view->bells & BELL, "and it is heard");
	is(raw_call(a, FH_SYS_thread_ctl, b->name, FH_THREAD_STOP, 0, 0), -FH_EPERM, "no more than that: not stop it");
	is(raw_call(a, FH_SYS_thread_ctl, b->name, FH_THREAD_START, 0, 0), -FH_EPERM, "not start it");
	is(raw_call(a, FH_SYS_thread_write, b->name, 0, 0, 0), -FH_EPERM, "not write its registers");
	is(raw_call(b, FH_SYS_thread_switch, a->name, BELL, 0, 0), -FH_EPERM, "the list works in one direction");
	is(raw_call(b, FH_SYS_env_ctl, 0, FH_ENV_CALLER, 15, 0), 0, "it is taken off the list");
	is(raw_call(a, FH_SYS_thread_switch, b->name, BELL, 0, 0), -FH_EPERM, "and refused again");
	is(raw_call(b, FH_SYS_env_ctl, 0, FH_ENV_CALLER, 16, a->env_name), -FH_EINVAL, "a list has 16 entries");
	is(raw_call(b, FH_SYS_env_ctl, 0, FH_ENV_CALLER, 0, a->env), -FH_EINVAL, "and holds names with serials");
	is(raw_call(a, FH_SYS_env_ctl, b->env_name, FH_ENV_CALLER, 0, a->env_name), -FH_EPERM, "nobody puts himself onto another's");
	returns(sys_env_ctl(0, FH_ENV_CALLER, 0, a->env_name), 0, "a parent may list a child");
	is(raw_call(a, FH_SYS_thread_switch, me(), BELL, 0, 0), 0, "which then may ring its parent");
	returns(sys_thread_switch(0, 0, BELL, 0), (int64_t)BELL, "who hears it");
	sys_env_ctl(0, FH_ENV_CALLER, 0, 0);
	struct fh_thread_args *args = (struct fh_thread_args *)a->batch;
	static const struct {
		const char *what;
		int64_t want;
	} keepers[] = {{"a sibling's thread", -FH_EPERM}, {"a parent's", -FH_EPERM}, {"root's", -FH_EPERM},
	               {"no thread", -FH_ESRCH}, {"its own", 0}, {"nobody", 0}};
	const uint64_t names[] = {b->name, me(), info->root_thread, b->name + (1ul << FH_PFN_BITS), a->name, 0};
	uint64_t bells = b->view->bells;
	for (unsigned i = 0; i < 6; i++) {
		*args = (struct fh_thread_args){.fields = FH_SET_KEEPER, .keeper = names[i], .keeper_bits = BELL3};
		is(raw_call(a, FH_SYS_thread_write, 0, 0, 0, 0), keepers[i].want, "a thread makes %s its keeper: it must be allowed to ring it",
		   keepers[i].what);
	}
	struct fh_thread_args keeper = {.fields = FH_SET_KEEPER, .keeper = me(), .keeper_bits = RAW_BELL};
	returns(raw_write(a, &keeper), 0, "its parent may keep it, as before");
	is((int64_t)b->view->bells, (int64_t)bells, "nothing of this rang at the sibling's");
	returns(sys_thread_switch(b->thread, BELL, 0, 0), 0, "a parent needs neither list nor serial");
	returns(sys_thread_switch(info->root_thread, 1, 0, 0), -FH_EPERM, "root is a stranger like any other");
}

/* ---- Start, stop, status ---- */

static void check_start_stop(struct raw *r)
{
	struct fh_regs regs = raw_regs(r, 0);
	struct fh_thread_args a = {.fields = FH_SET_REGS, .regs = regs};

	raw_code(r, "\xeb\xfe", 2);
	returns(raw_write(r, &a), 0, "a FAULTED thread takes new registers");
	is(r->view->state, FH_FAULTED, "and is still FAULTED");
	returns(sys_thread_ctl(r->name, FH_THREAD_START, 0), 0, "it starts again");
	returns(sys_thread_ctl(r->name, FH_THREAD_START, 0), -FH_EBUSY, "once (HOSTILE 27)");
	returns(raw_write(r, &a), -FH_EBUSY, "a ready thread's registers are its own");
	returns(sys_frame_retype(r->thread, FH_DATA), -FH_EBUSY, "and its frame stays a THREAD (HOSTILE 29)");
	raw_let(r, 0, 20);
	is(r->view->state, FH_READY, "it was running, and was interrupted");
	returns(sys_thread_ctl(r->name, FH_THREAD_STOP, 42), 0, "it is stopped");
	is((int64_t)r->view->status, 42, "with a status");
	is((int64_t)r->view->regs.rip, (int64_t)regs.rip, "where it was");
	returns(sys_thread_switch(0, 0, RAW_BELL, 1), (int64_t)RAW_BELL, "its keeper hears");
	returns(sys_thread_ctl(r->name, FH_THREAD_STOP, 43), 0, "stopping it twice is no error");
	is((int64_t)r->view->status, 42, "and changes nothing");
	returns(sys_thread_switch(0, 0, RAW_BELL, 1), 0, "nor rings anybody");
	returns(sys_thread_ctl(r->name, 3, 0), -FH_EINVAL, "there is no fourth operation");
	returns(sys_thread_ctl(r->name, FH_THREAD_RETURN, 0), -FH_EINVAL, "a return is the thread's own");
	returns(sys_thread_ctl(0, FH_THREAD_START, 0), -FH_EBUSY, "the caller runs already");
	returns(sys_thread_ctl(r->env_name, FH_THREAD_START, 0), -FH_ESRCH, "an env is no thread");
	returns(sys_thread_ctl(fh_name(info->nframes, 1), FH_THREAD_STOP, 0), -FH_ESRCH, "nor is what lies beyond memory");

	/* A sleeper that is stopped, and started again. */
	r->upcall->mask = ~0ul;
	raw_code(r, "\x0f\x05\x0f\x0b", 4);
	regs.rax = FH_SYS_thread_switch;
	regs.rdx = BELL2;
	is(raw_run(r, &regs, RAW_PATIENCE), FH_SLEEPING, "a thread sleeps");
	returns(sys_thread_ctl(r->name, FH_THREAD_STOP, 0), 0, "is stopped in its sleep");
	returns(sys_thread_switch(r->name, BELL2, 0, 0), 0, "and its bit is rung");
	is(r->view->state, FH_STOPPED, "which does not start it");
	is(raw_resume(r, RAW_PATIENCE), FH_FAULTED, "started, it comes out of its call");
	ok(r->view->wait == 0 && r->view->deadline == 0 && (r->view->bells & BELL2), "with the bit still there");

	a = (struct fh_thread_args){.fields = FH_SET_ROOT};
	returns(raw_write(r, &a), 0, "a stopped thread may be without a root");
	returns(sys_thread_ctl(r->name, FH_THREAD_START, 0), -FH_EINVAL, "but not start without one");
	a.root = r->frames;
	returns(raw_write(r, &a), -FH_EBUSY, "a root is a PT4");
	a.root = space_current()->root;
	returns(raw_write(r, &a), -FH_EPERM, "of its own env");
	a.root = info->nframes;
	returns(raw_write(r, &a), -FH_EINVAL, "and of this machine");
	a = (struct fh_thread_args){.fields = FH_SET_ROOT | FH_SET_BATCH, .root = r->root, .batch = r->root};
	uint64_t refs = fh_refs(frame_record(r->root)->state);
	returns(raw_write(r, &a), -FH_EBUSY, "a batch frame is DATA");
	is((int64_t)fh_refs(frame_record(r->root)->state), (int64_t)refs, "a refusal keeps no reference (HOSTILE 28)");
	a = (struct fh_thread_args){.fields = FH_SET_ROOT, .root = r->root};
	returns(raw_write(r, &a), 0, "the root is back");
	a = (struct fh_thread_args){.fields = FH_SET_ALL + 1};
	returns(raw_write(r, &a), -FH_EINVAL, "there is no ninth field");
	a = (struct fh_thread_args){.fields = FH_SET_BASES, .fs_base = 1ul << 47};
	returns(raw_write(r, &a), -FH_EINVAL, "an FS base is canonical");
	a = (struct fh_thread_args){.fields = FH_SET_BASES, .gs_base = 1ul << 63};
	returns(raw_write(r, &a), -FH_EINVAL, "and a GS base");
	returns(sys_thread_write(r->name, FH_PAGE - 8), -FH_EINVAL, "arguments end inside the batch frame (HOSTILE 46)");
}

/* ---- What a thread keeps ---- */

__asm__(".pushsection .text.keeper,\"ax\"\n"
        ".globl keeper_begin, keeper_end\n"
        "keeper_begin:\n"
        "	movq %rbx, %xmm0; movq %rbx, %xmm9; pshufd $0x4e, %xmm9, %xmm15\n"
        "	mov %r8d, (%rsi); ldmxcsr (%rsi); mov %r10w, (%rsi); fldcw (%rsi); fld1\n"
        "1:	movq %xmm0, %rax; cmp %rax, %rbx; jne 2f\n"
        "	movq %xmm9, %rax; cmp %rax, %rbx; jne 2f\n"
        "	pshufd $0x4e, %xmm15, %xmm14; movq %xmm14, %rax; cmp %rax, %rbx; jne 2f\n"
        "	mov %fs:0, %rax; cmp %rax, %rcx; jne 2f\n"
        "	mov %gs:8, %rax; cmp %rax, %rdx; jne 2f\n"
        "	stmxcsr (%rsi); mov (%rsi), %eax; cmp %eax, %r8d; jne 2f\n"
        "	fnstcw (%rsi); mov (%rsi), %ax; cmp %ax, %r10w; jne 2f\n"
        "	fld %st(0); fistpl (%rsi); cmpl $1, (%rsi); jne 2f\n"
        "	incq (%r9)\n"
        "	jmp 1b\n"
        "2:	ud2\n"
        "keeper_end:\n"
        ".popsection\n");
extern const char keeper_begin[], keeper_end[];

static void check_state_kept(void)
{
	static const uint32_t mxcsr[] = {0x1f80, 0x7f80, 0x9fc0}, fcw[] = {0x37f, 0xf7f, 0x27f};
	struct raw r[3];
	struct tally t = {0};

	for (unsigned i = 0; i < 3; i++) {
		if ((i < 2 ? raw_here(&r[i]) : raw_new(&r[i], 64)) < 0)
			panic("no threads");
		uint64_t *data = (uint64_t *)r[i].page[RAW_DATA];
		data[0] = 0xf5f5 + i, data[3] = 0x6565 + i, data[4] = 0;
		raw_code(&r[i], keeper_begin, (size_t)(keeper_end - keeper_begin));
		struct fh_thread_args a = {
		    .fields = FH_SET_REGS | FH_SET_BASES,
		    .regs = raw_regs(&r[i], 0),
		    .fs_base = raw_va(&r[i], RAW_DATA),
		    .gs_base = raw_va(&r[i], RAW_DATA) + 16,
		};
		a.regs.rbx = 0x1111111111111111ul * (i + 1);
		a.regs.rcx = data[0], a.regs.rdx = data[3];
		a.regs.r8 = mxcsr[i], a.regs.r10 = fcw[i];
		a.regs.rsi = raw_va(&r[i], RAW_DATA) + 64;
		a.regs.r9 = raw_va(&r[i], RAW_DATA) + 32;
		raw_write(&r[i], &a);
		sys_thread_ctl(r[i].name, FH_THREAD_START, 0);
	}
	for (unsigned round = 0; round < 60; round++) {
		struct raw *x = &r[round % 3];
		raw_let(x, 0, 2);
		if (x->view->state != FH_READY)
			count_bad(&t, "round %u: state %u, vector %lu", round, x->view->state, x->view->regs.vector);
	}
	for (unsigned i = 0; i < 3; i++) {
		if (((uint64_t *)r[i].page[RAW_DATA])[4] < 1000)
			count_bad(&t, "thread %u came round only %lu times", i, ((uint64_t *)r[i].page[RAW_DATA])[4]);
		thread_stop(r[i].name, 0);
	}
	none_bad(&t, "SSE and x87 registers, MXCSR, control word, FS and GS base are each thread's own, in one env and another");

	/* A new thread begins with what the manuals say, not with what the last one left. */
	raw_code(&r[1], "\x0f\xae\x1e\xd9\x7e\x08\x66\x48\x0f\x7e\xc0\x0f\x0b", 13); /* stmxcsr [rsi]; fnstcw [rsi+8]; movq rax, xmm0 */
	struct raw fresh;
	if (raw_here(&fresh) < 0)
		panic("no thread");
	memcpy(fresh.page[RAW_CODE], r[1].page[RAW_CODE], FH_PAGE);
	struct fh_regs regs = raw_regs(&fresh, 0);
	regs.rsi = raw_va(&fresh, RAW_DATA);
	raw_run(&fresh, &regs, RAW_PATIENCE);
	const uint32_t *words = (uint32_t *)fresh.page[RAW_DATA];
	ok(words[0] == 0x1f80 && (words[2] & 0xffff) == 0x37f && fresh.view->regs.rax == 0,
	   "a new thread has MXCSR %#x, FCW %#x, XMM0 %#lx: nothing of the last one's (HOSTILE 51)", words[0], words[2] & 0xffff,
	   fresh.view->regs.rax);
	bool done = raw_end(&fresh) == 0;
	for (unsigned i = 0; i < 3; i++)
		done &= raw_end(&r[i]) == 0;
	ok(done, "the threads are given back");
}

/* ---- The timer ---- */

static volatile uint64_t spins[2];
static volatile bool enough;
static void spin(void *counter)
{
	while (!enough)
		++*(volatile uint64_t *)counter;
}

static void check_preemption(void)
{
	struct thread *t[2] = {thread_new(spin, (void *)&spins[0], NULL), thread_new(spin, (void *)&spins[1], NULL)};
	uint64_t end = 0;

	for (unsigned i = 0; i < 20 && (spins[0] < 1000 || spins[1] < 1000); i++) {
		end = cpu_tsc() + ms(100);
		sys_thread_switch(0, 0, 0, end);
	}
	ok(t[0] && t[1] && spins[0] >= 1000 && spins[1] >= 1000,
	   "two threads that never yield both get on: the timer shares the CPU (HOSTILE 48)");
	ok(cpu_tsc() < end + ms(20000), "and they don't keep a sleeper from waking"); /* for good, that is: a host may hold CPUs up */
	enough = true;
	for (unsigned i = 0; i < 2; i++)
		if (t[i])
			thread_join(t[i]);
}

/* ---- Slices ---- */

static int find_slot(uint64_t name)
{
	for (unsigned i = 0; i < FH_CPU_SLICES; i++)
		if (cpu_view(0)->slice[i] == name)
			return (int)i;
	return -1;
}

static void check_slices(struct raw *a, struct raw *b)
{
	const pfn_t cpu = info->cpu_pfn[0];
	int mine = -1, roots = find_slot(info->root_thread), empty = find_slot(0);

	for (unsigned i = 0; i < FH_CPU_SLICES; i++) /* the last of ours */
		if (cpu_view(0)->slice[i] == me())
			mine = (int)i;
	if (!ok(mine >= 0 && roots >= 0 && empty >= 0, "some slots are ours, some root's, some empty"))
		return;
	const uint64_t slot = (uint64_t)mine;
	returns(sys_cpu_slice(cpu, (uint64_t)roots, me()), -FH_EPERM, "root's slot is not ours to fill (HOSTILE 48)");
	returns(sys_cpu_slice(cpu, (uint64_t)empty, me()), -FH_EPERM, "nor is an empty one");
	returns(sys_cpu_slice(cpu, FH_CPU_SLICES, me()), -FH_EINVAL, "there is no slot 256");
	returns(sys_cpu_slice(cpu, ~0ul, me()), -FH_EINVAL, "nor -1");
	returns(sys_cpu_slice(fh_name_pfn(me()), 0, me()), -FH_EINVAL, "a thread is no CPU");
	returns(sys_cpu_slice(info->nframes, 0, me()), -FH_EINVAL, "nor is what lies beyond memory");
	returns(sys_cpu_slice(cpu, slot, info->root_thread), -FH_EPERM, "our slot does not go to a stranger's thread");
	returns(sys_cpu_slice(cpu, slot, a->name + (1ul << FH_PFN_BITS)), -FH_ESRCH, "nor to one that is not there");

	/* Given to a child, it runs without being switched to. */
	uint64_t *counter = (uint64_t *)a->page[RAW_DATA];
	struct fh_thread_args args = {.fields = FH_SET_REGS, .regs = raw_regs(a, 0)};
	*counter = 0;
	args.regs.rbx = raw_va(a, RAW_DATA);
	raw_code(a, "\x48\xff\x03\xeb\xfb", 5); /* inc [rbx]; again */
	raw_write(a, &args);
	sys_thread_ctl(a->name, FH_THREAD_START, 0);
	returns(sys_cpu_slice(cpu, slot, a->name), 0, "a slot of ours goes to a child's thread");
	for (unsigned i = 0; i < 20 && *(volatile uint64_t *)counter < 100; i++)
		sys_thread_switch(0, 0, 0, cpu_tsc() + ms(50));
	ok(*(volatile uint64_t *)counter >= 100, "which then has its turn");
	is(find_slot(a->name), mine, "the CPU frame says whose it is");
	thread_stop(a->name, 0);
	uint64_t before = *counter;
	sys_thread_switch(0, 0, 0, cpu_tsc() + ms(50));
	is((int64_t)*counter, (int64_t)before, "stopped, it does not, though it has the slot");

	/* What the holder may do with it. */
	is(raw_call(b, FH_SYS_cpu_slice, cpu, slot, b->name, 0), -FH_EPERM, "a sibling can't take it");
	is(raw_call(a, FH_SYS_cpu_slice, cpu, slot, b->name, 0), -FH_EPERM, "its holder can't give it to a sibling");
	is(raw_call(a, FH_SYS_cpu_slice, cpu, slot, me(), 0), -FH_EPERM, "nor to its parent");
	is(raw_call(a, FH_SYS_cpu_slice, cpu, (uint64_t)find_slot(me()), a->name, 0), -FH_EPERM, "nor take one of its parent's");
	is(raw_call(a, FH_SYS_cpu_slice, cpu, slot, a->name, 0), 0, "but keep it");
	is(raw_call(a, FH_SYS_cpu_slice, cpu, slot, 0, 0), 0, "or let go of it");
	returns(sys_cpu_slice(cpu, slot, me()), -FH_EPERM, "then it is empty: the CPU owner's to fill");
}

/* ---- Names of the dead ---- */

static void check_weak_names(void)
{
	struct raw r;
	uint64_t offset, size;

	if (raw_new(&r, 64) < 0)
		panic("no thread");
	const uint64_t name = r.name, env = r.env_name;
	int mine = -1;
	for (unsigned i = 0; i < FH_CPU_SLICES; i++)
		if (cpu_view(0)->slice[i] == me())
			mine = (int)i;
	returns(sys_cpu_slice(info->cpu_pfn[0], (uint64_t)mine, name), 0, "a thread has a slot");
	scratch_put((va_t)r.view, 1);
	r.view = NULL;
	returns(sys_frame_retype(r.thread, FH_DATA), 0, "and its frame becomes DATA all the same: the name is weak");
	memset(batch_area(&offset, &size), 0, sizeof(struct fh_thread_args));
	returns(sys_thread_switch(name, BELL, 0, 0), -FH_ESRCH, "the dead can't be rung");
	returns(sys_thread_switch(name, 0, 0, 0), -FH_ESRCH, "nor switched to");
	returns(sys_thread_ctl(name, FH_THREAD_STOP, 0), -FH_ESRCH, "nor stopped");
	returns(sys_thread_write(name, offset), -FH_ESRCH, "nor written");
	returns(sys_cpu_slice(info->cpu_pfn[0], (uint64_t)mine - 1, name), -FH_ESRCH, "nor given a slot");
	returns(sys_frame_retype(r.thread, FH_THREAD), 0, "another thread is made in the same frame");
	r.view = scratch_map(r.thread, 1, RIGHT_R);
	ok(r.view && fh_name(r.thread, r.view->serial) != name, "it has another serial (HOSTILE 47)");
	returns(sys_thread_switch(name, BELL, 0, 0), -FH_ESRCH, "and is not rung by the old name");
	returns(sys_thread_switch(r.thread, BELL, 0, 0), 0, "only by its own, or none");
	ok(r.view && r.view->bells == BELL && r.view->root == 0, "it began with nothing of the old one's");
	sys_thread_switch(0, 0, 0, cpu_tsc() + ms(50));
	is((int64_t)cpu_view(0)->slice[mine], (int64_t)name, "the slot still names the dead one, and the timer skips it");
	/* r.frames are pinned by nobody now */
	returns(raw_end(&r), 0, "the env is buried");
	returns(sys_env_ctl(env, FH_ENV_THAW, 0, 0), -FH_ESRCH, "its name too names nobody");
}

static void nothing(void *arg) { (void)arg; }

int main(void)
{
	struct raw a, b;
	struct thread *warm[2] = {thread_new(nothing, NULL, NULL), thread_new(nothing, NULL, NULL)};

	for (unsigned i = 0; i < 2; i++)
		if (warm[i])
			thread_join(warm[i]);
	tap_begin();
	if (raw_new(&a, 64) < 0 || raw_new(&b, 64) < 0)
		panic("no children");
	sys_thread_switch(0, 0, RAW_BELL, 1);
	check_yield(&a);
	check_bells(&a);
	check_deadlines();
	check_far_deadline();
	check_eintr();
	check_ping_pong();
	check_strangers(&a, &b);
	check_start_stop(&a);
	check_state_kept();
	check_preemption();
	check_slices(&a, &b);
	check_weak_names();
	ok(raw_end(&a) == 0 && raw_end(&b) == 0, "both children are buried");
	return tap_end();
}
