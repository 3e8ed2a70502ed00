/*
 * upcalls.c - faults, doorbells and foreign system calls arrive in user mode, with the right words in the right places, and
 * a handler goes back by plain instructions (DESIGN 6; HOSTILE 50). Threads made by hand (raw.h) show what the kernel
 * does; the kit's own handler shows that nothing is lost on the way back.
 */
#include <stdio.h>
#include <string.h>

#include "raw.h"
#include "tap.h"

#define KERNEL (FH_KERNEL_BASE + 0x100000) /* the direct map of 1 MiB: kernel text */
#define DE 0
#define DB 1
#define BP 3
#define UD 6
#define GP 13
#define PF 14
#define BELL (1ul << (BELL_USER + 1))
#define BELL2 (1ul << (BELL_USER + 2))

static struct raw r;

/* The handler at offset HANDLER of the code page stops the thread; the program starts at 0. */
#define HANDLER 0x400u

static void put_code(unsigned offset, const void *bytes, size_t n) { memcpy(r.page[RAW_CODE] + offset, bytes, n); }

/* As it is before each experiment: one handler, which stops the thread. */
static void reset(void)
{
	char stop[64];

	raw_code(&r, "", 0);
	memcpy(stop, r.page[RAW_CODE], sizeof(stop));
	put_code(HANDLER, stop, sizeof(stop));
	memset(r.upcall, 0, FH_PAGE);
	r.upcall->self_va = raw_va(&r, RAW_UPCALL);
	r.upcall->entry = raw_va(&r, RAW_CODE) + HANDLER;
	r.upcall->stack_top = raw_va(&r, RAW_DATA) + FH_PAGE;
	r.upcall->stack_stride = 64;
	r.upcall->max_depth = 4;
	r.upcall->mask = ~0ul;
}

static struct fh_regs patterns(void)
{
	struct fh_regs regs = raw_regs(&r, 0);

	for (unsigned i = 0; i < 15; i++)
		((uint64_t *)&regs)[i] = 0x0101010101010101ul * (i + 1);
	return regs;
}

static bool gone; /* the thread did not stop in its handler */

static const struct fh_context *fault(const void *bytes, size_t n, const struct fh_regs *regs)
{
	raw_code(&r, bytes, n);
	char stop[64];
	memcpy(stop, r.page[RAW_CODE] + n, sizeof(stop));
	put_code(HANDLER, stop, sizeof(stop));
	r.upcall->depth = 0;
	gone = raw_run(&r, regs, RAW_PATIENCE) != FH_STOPPED || r.upcall->depth != 1;
	return &r.upcall->slot[0];
}

/* ---- What a handler is told ---- */

static void check_words(void)
{
	const va_t code = raw_va(&r, RAW_CODE), data = raw_va(&r, RAW_DATA);
	const struct {
		const char *name, *bytes;
		unsigned n, vector, error;
		uint64_t rax, address;
		unsigned after; /* rip has moved by */
	} cases[] = {
#define F(name, bytes, ...) {name, bytes, sizeof(bytes) - 1, __VA_ARGS__}
	    F("read where nothing is", "\x48\x8b\x08", PF, 4, 0x123456, 0x123456, 0),
	    F("write where nothing is", "\x48\x89\x08", PF, 6, 0x123450, 0x123450, 0),
	    F("write to a read-only page", "\x48\x89\x08", PF, 7, code + 0x800, code + 0x800, 0),
	    F("execution where nothing is", "\xff\xe0", PF, 0x14, 0x7000, 0x7000, 0),
	    F("execution of an NX page", "\xff\xe0", PF, 0x15, data + 16, data + 16, 0),
	    F("read of kernel memory", "\x48\x8b\x08", PF, 5, KERNEL, KERNEL, 0),
	    F("write of kernel memory", "\x48\x89\x08", PF, 7, KERNEL, KERNEL, 0),
	    F("a word over a page's end, first half there", "\x48\x8b\x08", PF, 4, data + FH_PAGE - 4, data + FH_PAGE, 0),
	    F("read of a non-canonical address", "\x48\x8b\x08", GP, 0, 1ul << 63, 0, 0),
	    F("hlt", "\xf4", GP, 0, 0, 0, 0),
	    F("a selector that is not there", "\x8e\xd8", GP, 0x70, 0x73, 0, 0),
	    F("division by zero", "\x31\xc9\xf7\xf1", DE, 0, 0, 0, 2),
	    F("ud2", "\x0f\x0b", UD, 0, 0, 0, 0),
	    F("int3", "\xcc", BP, 0, 0, 0, 1),
	    F("single step", "\x68\x02\x01\x00\x00\x9d\x90", DB, 0, 0, 0, 7),
#undef F
	};
	struct tally t = {0};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fh_regs regs = raw_regs(&r, 0);
		regs.rax = cases[i].rax;
		const struct fh_context *c = fault(cases[i].bytes, cases[i].n, &regs);
		uint64_t rip = cases[i].bytes[0] == '\xff' ? cases[i].rax : code + cases[i].after;
		if (gone || c->regs.vector != cases[i].vector || c->regs.error != cases[i].error || c->address != cases[i].address)
			count_bad(&t, "%s: vector %lu, error %#lx, address %#lx", cases[i].name, c->regs.vector, c->regs.error, c->address);
		else if (c->regs.rip != rip || c->root != r.root)
			count_bad(&t, "%s: rip %#lx, root %#lx", cases[i].name, c->regs.rip, c->root);
	}
	none_bad(&t, "vector, error code, address, rip and root stand in the slot, for %lu kinds of fault",
	         sizeof(cases) / sizeof(cases[0]));
}

static void check_entry(void)
{
	struct fh_regs regs = patterns();
	struct tally t = {0};

	regs.rflags = 0xcd7;
	/* the handler faults at once: what it started with is in slot 1, then it stops at depth 2 */
	reset();
	raw_code(&r, "\x0f\x0b", 2);
	put_code(HANDLER, "\x0f\x0b", 2);
	r.upcall->max_depth = 2;
	is(raw_run(&r, &regs, RAW_PATIENCE), FH_FAULTED, "a handler that faults at its deepest: the thread stops FAULTED");
	const struct fh_regs *first = &r.upcall->slot[0].regs, *second = &r.upcall->slot[1].regs;
	for (unsigned i = 0; i < 15; i++)
		if (((const uint64_t *)first)[i] != ((const uint64_t *)&regs)[i])
			count_bad(&t, "register %u", i);
	if (first->rsp != regs.rsp || (first->rflags & 0xcd5) != 0xcd5 || first->cs != 0x2b || first->ss != 0x23)
		count_bad(&t, "rsp %#lx, rflags %#lx, cs %#lx, ss %#lx", first->rsp, first->rflags, first->cs, first->ss);
	none_bad(&t, "all registers and flags of the interrupted code are in slot 0");
	is((int64_t)second->rip, (int64_t)(raw_va(&r, RAW_CODE) + HANDLER), "the handler began at `entry`");
	is((int64_t)second->rdi, (int64_t)(raw_va(&r, RAW_UPCALL) + offsetof(struct fh_upcall, slot)), "with rdi at its slot");
	is((int64_t)second->rsp, (int64_t)r.upcall->stack_top, "with rsp at stack_top");
	is((int64_t)(second->rflags & ~0x10000ul), 0x202, "with clean flags");
	is((int64_t)r.view->regs.rdi, (int64_t)(raw_va(&r, RAW_UPCALL) + offsetof(struct fh_upcall, slot[1])),
	   "a fault past the depth leaves the registers in the THREAD frame as they were");
	is((int64_t)r.view->regs.rip, (int64_t)(raw_va(&r, RAW_CODE) + HANDLER), "rip too: the keeper sees where");
}

static void check_nesting(void)
{
	struct tally t = {0};
	struct fh_regs regs = raw_regs(&r, 0);

	for (uint64_t max = 0; max <= FH_UPCALL_SLOTS + 2; max++) {
		reset();
		raw_code(&r, "\x0f\x0b", 2);
		put_code(HANDLER, "\x0f\x0b", 2);
		r.upcall->max_depth = max < FH_UPCALL_SLOTS + 2 ? max : ~0ul;
		memset(r.upcall->libos_area, 0x77, sizeof(r.upcall->libos_area));
		uint64_t want = max < FH_UPCALL_SLOTS ? max : FH_UPCALL_SLOTS;
		unsigned state = raw_run(&r, &regs, RAW_PATIENCE);
		if (state != FH_FAULTED || r.upcall->depth != want)
			count_bad(&t, "max_depth %lu: state %u at depth %lu", max, state, r.upcall->depth);
		for (uint64_t d = 1; d < want; d++)
			if (r.upcall->slot[d].regs.rsp != r.upcall->stack_top - (d - 1) * r.upcall->stack_stride)
				count_bad(&t, "max_depth %lu: rsp %#lx at depth %lu", max, r.upcall->slot[d].regs.rsp, d);
		for (unsigned k = 0; k < 96; k++)
			if (r.upcall->libos_area[k] != 0x7777777777777777ul)
				count_bad(&t, "max_depth %lu: a word behind the slots was written", max);
	}
	none_bad(&t, "faults nest to max_depth, each on its own stack; one more stops the thread; 16 slots are the most");

	t.bad = 0;
	static const uint64_t forged[] = {4, 5, 16, 17, 255, 1ul << 32, 1ul << 63, ~0ul};
	for (unsigned i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
		reset();
		put_code(0, "\x0f\x0b", 2);
		memset(r.upcall->slot, 0x66, sizeof(r.upcall->slot));
		r.upcall->depth = forged[i];
		r.upcall->max_depth = i ? ~0ul : 4;
		unsigned state = raw_run(&r, &regs, RAW_PATIENCE);
		bool fits = i && forged[i] < FH_UPCALL_SLOTS;
		if (state != (fits ? FH_STOPPED : FH_FAULTED) || r.upcall->depth != forged[i] + fits)
			count_bad(&t, "depth %#lx: state %u, depth %#lx", forged[i], state, r.upcall->depth);
		for (unsigned k = 0; k < sizeof(r.upcall->slot) / 8; k++)
			if (!fits && ((uint64_t *)r.upcall->slot)[k] != 0x6666666666666666ul)
				count_bad(&t, "depth %#lx: word %u of the slots was written", forged[i], k);
	}
	none_bad(&t, "a forged depth is bounded: no slot, no upcall, the thread stops (HOSTILE 50)");

	reset();
	struct fh_thread_args a = {.fields = FH_SET_UPCALL};
	raw_write(&r, &a);
	raw_code(&r, "\x0f\x0b", 2);
	is(raw_run(&r, &regs, RAW_PATIENCE), FH_FAULTED, "without an upcall frame a fault stops the thread");
	a.upcall = r.frames + RAW_UPCALL;
	returns(raw_write(&r, &a), 0, "the frame is pinned again");
	is((int64_t)r.upcall->thread, (int64_t)r.name, "pinning writes the thread's name into it");
	is((int64_t)r.upcall->env, (int64_t)r.env_name, "and the env's");
}

/* ---- The range in which the slot is still the interrupted context ---- */

static void check_resume_range(void)
{
	struct tally t = {0};
	const va_t code = raw_va(&r, RAW_CODE);
	const struct {
		uint64_t lo, hi;
		bool inside;
	} ranges[] = {
	    {code, code + 2, true}, {code, code + 1, true}, {code - 64, code + 64, true}, {0, ~0ul, true},
	    {code + 1, code + 2, false}, {code - 2, code, false}, {code + 2, code, false}, {0, 0, false}, {~0ul, 0, false},
	};
	struct fh_regs regs = patterns();

	for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		reset();
		r.upcall->resume_lo = ranges[i].lo;
		r.upcall->resume_hi = ranges[i].hi;
		memset(&r.upcall->slot[0], 0x55, sizeof(r.upcall->slot[0]));
		const struct fh_context *c = fault("\x0f\x0b", 2, &regs);
		bool kept = c->regs.rip == 0x5555555555555555ul && c->regs.rax == 0x5555555555555555ul &&
		            c->regs.rsp == 0x5555555555555555ul && c->root == 0x5555555555555555ul;
		bool written = c->regs.rip == code && c->regs.rax == regs.rax && c->root == r.root;
		if (gone || (ranges[i].inside ? !kept : !written) || c->regs.vector != UD || c->regs.error != 0 || c->address != 0)
			count_bad(&t, "range %u: rip %#lx, vector %lu, address %#lx", i, c->regs.rip, c->regs.vector, c->address);
	}
	none_bad(&t, "in [resume_lo, resume_hi) only vector, error and address are written into the slot");
}

extern const char upcall_entry[], upcall_resume_lo[], upcall_resume_hi[];
static volatile uint64_t rung;
static void note_bell(uint64_t bits) { rung |= bits; }

/* The kit's own way back, interrupted by a doorbell before each of its last three instructions. */
static void check_kit_tail(void)
{
	static const unsigned at[] = {0, 13, 22}; /* mov [gs:depth], d; mov rsp, [gs:slot]; jmp [gs:slot] */
	static const unsigned char first[] = {0x65, 0x48, 0xc7, 0x04, 0x25}, third[] = {0x65, 0xff, 0x24, 0x25};
	struct raw h;
	struct tally t = {0};

	if (memcmp(upcall_resume_lo, first, sizeof(first)) != 0 || memcmp(upcall_resume_lo + 22, third, sizeof(third)) != 0) {
		ok(true, "the kit's tail was changed: tell this test # SKIP");
		return;
	}
	uint64_t mask = upcall_word(UPCALL_OFFSET(mask));
	on_bell(BELL, note_bell);
	upcalls_restore(mask);
	if (raw_here(&h) < 0)
		panic("no thread");
	for (unsigned i = 0; i < 3; i++) {
		struct fh_context want = {.regs = raw_regs(&h, 0), .root = h.root};
		for (unsigned k = 0; k < 15; k++)
			((uint64_t *)&want.regs)[k] = 0x0101010101010101ul * (k + 1);
		want.regs.rsp = raw_stack_top(&h) - 72;
		raw_code(&h, "\xeb\xfe", 2); /* where it was: a jump to itself */
		upcall_prepare(h.upcall, raw_va(&h, RAW_UPCALL), raw_va(&h, RAW_DATA) + FH_PAGE);
		h.upcall->libos[UPCALL_LIBOS_ROOT] = h.root;
		h.upcall->max_depth = 1;
		h.upcall->depth = i == 0; /* before its first instruction depth is still 1 */
		h.upcall->mask = ~BELL;
		h.upcall->slot[0] = want;
		rung = 0;
		struct fh_regs regs = want.regs; /* all is loaded but rsp and rip */
		regs.rip = (uint64_t)upcall_resume_lo + at[i];
		regs.rsp = i == 2 ? want.regs.rsp : raw_va(&h, RAW_DATA) + 1024;
		struct fh_thread_args a = {.fields = FH_SET_REGS, .regs = regs};
		raw_write(&h, &a);
		sys_thread_ctl(h.name, FH_THREAD_START, 0);
		raw_let(&h, BELL, 20);
		unsigned state = raw_wait(&h, 30);
		if (state != FH_READY || h.view->regs.rip != want.regs.rip || h.view->regs.rsp != want.regs.rsp)
			count_bad(&t, "before instruction %u: state %u, rip %#lx", i, state, h.view->regs.rip);
		for (unsigned k = 0; k < 15; k++)
			if (((const volatile uint64_t *)&h.view->regs)[k] != ((uint64_t *)&want.regs)[k])
				count_bad(&t, "before instruction %u: register %u", i, k);
		if (rung != BELL)
			count_bad(&t, "before instruction %u: the bell was not rung", i);
		if (h.upcall->slot[0].regs.rip != want.regs.rip || h.upcall->slot[0].regs.rax != want.regs.rax ||
		    h.upcall->slot[0].regs.rsp != want.regs.rsp)
			count_bad(&t, "before instruction %u: back at rip %#lx, rsp %#lx", i, h.upcall->slot[0].regs.rip,
			          h.upcall->slot[0].regs.rsp);
	}
	none_bad(&t, "a doorbell before each of the last three instructions of the kit's way back loses nothing");
	on_bell(BELL, NULL);
	upcalls_restore(mask);
	returns(raw_end(&h), 0, "that thread is given back");
}

/* ---- Doorbells ---- */

static void check_doorbells(void)
{
	struct fh_regs regs = raw_regs(&r, 0);
	struct fh_thread_args a = {.fields = FH_SET_REGS, .regs = regs};

	reset();
	raw_code(&r, "\xeb\xfe", 2); /* jmp to itself */
	char stop[64];
	memcpy(stop, r.page[RAW_CODE] + 2, sizeof(stop));
	put_code(HANDLER, stop, sizeof(stop));
	raw_write(&r, &a);
	sys_thread_ctl(r.name, FH_THREAD_START, 0);
	raw_let(&r, BELL | BELL2, 20);
	ok(r.view->state == FH_READY && r.upcall->depth == 0, "masked doorbells do not interrupt");
	is((int64_t)r.upcall->pending, (int64_t)(BELL | BELL2), "they are noted in `pending`");
	is((int64_t)(r.view->bells & FH_BELLS_USER), (int64_t)(BELL | BELL2), "and stay rung");

	r.upcall->mask = ~BELL;
	r.upcall->depth = 1;
	raw_let(&r, 0, 20);
	ok(r.view->state == FH_READY && r.upcall->depth == 1, "unmasked ones wait while the thread is in a handler");

	r.upcall->depth = 0;
	r.upcall->pending = 0;
	raw_let(&r, 0, 20);
	is(raw_wait(&r, RAW_PATIENCE), FH_STOPPED, "outside they come in");
	ok(r.upcall->slot[0].regs.vector == FH_VEC_DOORBELL && r.upcall->slot[0].address == BELL,
	   "as vector %lu with the bits in `address`: %#lx", r.upcall->slot[0].regs.vector, r.upcall->slot[0].address);
	is((int64_t)r.upcall->slot[0].regs.rip, (int64_t)regs.rip, "the interrupted rip is in the slot");
	is((int64_t)r.upcall->pending, (int64_t)BELL2, "the masked one still waits");
	is((int64_t)(r.view->bells & FH_BELLS_USER), (int64_t)BELL2, "and is the only one left");

	r.upcall->depth = 0;
	r.upcall->mask = 0;
	r.upcall->max_depth = 0;
	raw_write(&r, &a);
	sys_thread_ctl(r.name, FH_THREAD_START, 0);
	raw_let(&r, BELL, 20);
	ok(r.view->state == FH_READY && (r.view->bells & BELL), "a doorbell for a thread with no slot left waits, and does not fault it");
	r.upcall->max_depth = 1;
	r.upcall->entry = 1ul << 63;
	raw_let(&r, BELL, 20);
	ok(r.view->state == FH_READY, "nor does one for a handler that isn't an address");
	returns(sys_thread_ctl(r.name, FH_THREAD_STOP, 0), 0, "it is stopped");
	returns(sys_thread_switch(r.name, 1ul << 56, 0, 0), -FH_EINVAL, "bits above 55 are not for ringing");
	returns(sys_thread_switch(0, 0, 1ul << 62, 1), -FH_EINVAL, "nor for waiting");
	returns(sys_thread_switch(0, 1, 0, 0), -FH_EINVAL, "bits for nobody are refused");
	a = (struct fh_thread_args){.fields = FH_SET_REGS, .regs = regs};
	r.upcall->entry = raw_va(&r, RAW_CODE) + HANDLER;
	r.upcall->mask = ~0ul;
}

static volatile unsigned slices;
static void count_slice(uint64_t bits) { slices += bits == FH_BELL_SLICE; }

static void check_slice_bell(void)
{
	uint64_t end = cpu_tsc() + 5000 * info->tsc_khz;

	on_bell(FH_BELL_SLICE, count_slice);
	while (cpu_tsc() < end && slices < 3)
		cpu_pause();
	on_bell(FH_BELL_SLICE, NULL);
	ok(slices >= 3, "the beginning of a slice rings bit 62, where unmasked: %u", slices);
	unsigned before = slices;
	end = cpu_tsc() + 50 * info->tsc_khz;
	while (cpu_tsc() < end)
		cpu_pause();
	is(slices, before, "and no more once masked");
}

/* ---- System calls that are the libOS's to answer ---- */

static unsigned native_try(uint64_t lo, uint64_t hi, uint64_t number)
{
	struct fh_thread_args a = {.fields = FH_SET_NATIVE | FH_SET_REGS, .native_lo = lo, .native_hi = hi, .regs = patterns()};

	a.regs.rax = number;
	a.regs.rdi = a.regs.rsi = a.regs.rdx = a.regs.r10 = 0;
	reset();
	memset(r.page[RAW_CODE], 0x90, 0x100);
	put_code(0x100, "\x0f\x05\x0f\x0b", 4); /* syscall; ud2 */
	a.regs.rip = raw_va(&r, RAW_CODE) + 0x100;
	put_code(HANDLER, "\x0f\x0b", 2);       /* the handler may not make calls either: it faults */
	r.upcall->max_depth = 1;
	raw_write(&r, &a);
	raw_resume(&r, RAW_PATIENCE);
	return (unsigned)r.upcall->slot[0].regs.vector;
}

static void check_native(void)
{
	const uint64_t at = raw_va(&r, RAW_CODE) + 0x100;
	struct tally t = {0};
	const struct {
		uint64_t lo, hi;
		bool native;
	} ranges[] = {
	    {0, 0, true}, {at, at + 1, true}, {at - 16, at + 16, true}, {0, ~0ul, true}, {at + 1, at + 16, false},
	    {at - 16, at, false}, {0, 1, false}, {~0ul - 1, ~0ul, false}, {at + 16, at - 16, false},
	};
	static const uint64_t numbers[] = {FH_SYS_tlb_flush, FH_SYS_thread_switch, FH_SYS_console_read, 60, 1ul << 40, ~0ul};

	for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		for (unsigned k = 0; k < sizeof(numbers) / sizeof(numbers[0]); k++) {
			unsigned vector = native_try(ranges[i].lo, ranges[i].hi, numbers[k]);
			const struct fh_regs *s = &r.upcall->slot[0].regs;
			if (vector != (ranges[i].native ? UD : FH_VEC_SYSCALL) || s->rip != at + 2)
				count_bad(&t, "range %u, call %ld: vector %u at %#lx", i, numbers[k], vector, s->rip);
			else if (!ranges[i].native && (s->rax != numbers[k] || s->rbx != patterns().rbx || s->r9 != patterns().r9))
				count_bad(&t, "range %u, call %ld: rax %#lx, rbx %#lx", i, numbers[k], s->rax, s->rbx);
			else if (ranges[i].native && k == 0 && s->rax != 0)
				count_bad(&t, "range %u: the native call returned %ld", i, (int64_t)s->rax);
		}
	}
	none_bad(&t, "a system call from outside the native range is an upcall with its number in rax; one from inside works");

	reset();
	r.upcall->max_depth = 0;
	struct fh_thread_args a = {.fields = FH_SET_NATIVE, .native_lo = 1, .native_hi = 2};
	raw_write(&r, &a);
	struct fh_regs regs = raw_regs(&r, 0);
	regs.rax = FH_SYS_tlb_flush;
	raw_code(&r, "\x0f\x05", 2);
	ok(raw_run(&r, &regs, RAW_PATIENCE) == FH_FAULTED && r.view->regs.vector == FH_VEC_SYSCALL,
	   "without a handler a foreign call stops the thread, vector %lu", r.view->regs.vector);
	a.native_lo = a.native_hi = 0;
	returns(raw_write(&r, &a), 0, "the range is taken away");
}

/* ---- Two roots ---- */

/* On the program's root: a foreign call, then ud2. The handler, on the upcall root, makes a call of its own, writes to a page
 * that only this root has, answers, and goes back. */
__asm__(".pushsection .text.roots,\"ax\"\n"
        ".globl roots_program, roots_handler, roots_end\n"
        "roots_program:\n"
        "	mov $0x1234, %eax\n"
        "	syscall\n"
        "	mov %rax, %rbp\n"
        "	mov $10, %eax\n"          /* even the number of a native call */
        "	syscall\n"
        "	ud2\n"
        "roots_handler:\n"
        "	cmpq $6, 120(%rdi)\n"     /* vector */
        "	je 1f\n"
        "	mov %rdi, %r12\n"
        "	mov $0x40000000, %ebx\n"  /* the page that is only here */
        "	mov 112(%r12), %rax\n"    /* the number */
        "	mov 8(%rbx), %rcx\n"
        "	mov %rax, 16(%rbx,%rcx,8)\n"
        "	incq 8(%rbx)\n"
        "	mov $10, %eax\n"          /* tlb_flush(0, NONE) */
        "	xor %edi, %edi\n"
        "	xor %esi, %esi\n"
        "	xor %edx, %edx\n"
        "	xor %r10d, %r10d\n"
        "	syscall\n"
        "	mov %rax, (%rbx)\n"
        "	movq $0x4321, 112(%r12)\n"
        "	mov $1, %eax\n"           /* thread_ctl(0, RETURN) */
        "	mov $2, %esi\n"
        "	syscall\n"
        "	ud2\n"
        "1:	mov $1, %eax\n"           /* thread_ctl(0, STOP, 5) */
        "	xor %edi, %edi\n"
        "	mov $1, %esi\n"
        "	mov $5, %edx\n"
        "	syscall\n"
        "	ud2\n"
        "roots_end:\n"
        ".popsection\n");
extern const char roots_program[], roots_handler[], roots_end[];
_Static_assert(FH_SYS_tlb_flush == 10 && FH_SYS_thread_ctl == 1, "the numbers above");
#define ONLY_HERE 0x40000000ul

static int64_t set(pfn_t table, unsigned index, pte_t e) { return sys_pt_set(fh_what(FH_OP_SET, 0, table, index, 1), e, 0).rax; }

static void check_roots(void)
{
	/* The upcall root has its own PT3, which shares the program's PT2 and has one page more. */
	pfn_t root = frame_get_typed(&frames_first, r.env, FH_PT4), pt3 = frame_get_typed(&frames_first, r.env, FH_PT3);
	pfn_t pt2 = frame_get_typed(&frames_first, r.env, FH_PT2), pt1 = frame_get_typed(&frames_first, r.env, FH_PT1);
	pfn_t page = frame_get(&frames_first, 1, 1, r.env, 0), old_pt2 = frame_find(0, FH_PT2, r.env);
	const uint64_t link = FH_P | FH_W | FH_U;

	if (old_pt2 == pt2)
		old_pt2 = frame_find(old_pt2, FH_PT2, r.env);
	bool made = set(root, 0, pt3 << 12 | link) == FH_OP_DONE && set(pt3, 0, old_pt2 << 12 | link) == FH_OP_DONE &&
	            set(pt3, 1, pt2 << 12 | link) == FH_OP_DONE && set(pt2, 0, pt1 << 12 | link) == FH_OP_DONE &&
	            set(pt1, 0, page << 12 | link | FH_NX) == FH_OP_DONE;
	uint64_t *seen = scratch_map(page, 1, RIGHT_R | RIGHT_W);
	if (!ok(made && seen, "a second root shares a table of the first and has a page more"))
		return;
	reset();
	memset(seen, 0, FH_PAGE);
	seen[0] = ~0ul;
	put_code(0, roots_program, (size_t)(roots_end - roots_program));
	r.upcall->entry = raw_va(&r, RAW_CODE) + (va_t)(roots_handler - roots_program);
	r.upcall->max_depth = 1;
	struct fh_thread_args a = {.fields = FH_SET_UPCALL_ROOT | FH_SET_REGS, .upcall_root = root, .regs = raw_regs(&r, 0)};
	returns(raw_write(&r, &a), 0, "it becomes the thread's upcall root");
	is(raw_resume(&r, RAW_PATIENCE), FH_STOPPED, "the program runs to its end");
	is((int64_t)r.view->status, 5, "its handler stopped it at the ud2 that ends it");
	is((int64_t)seen[1], 2, "off the upcall root every system call is an upcall");
	ok(seen[2] == 0x1234 && seen[3] == FH_SYS_tlb_flush, "with its number in rax, also where it is one of the kernel's");
	is((int64_t)seen[0], 0, "on the upcall root the kernel answers");
	is((int64_t)r.upcall->slot[0].root, (int64_t)r.root, "the slot names the root that was interrupted");
	is((int64_t)r.upcall->slot[0].regs.rbp, 0x4321, "THREAD_RETURN went back to it, with what the handler answered in rax");
	is((int64_t)r.view->loaded, (int64_t)root, "the handler runs on the upcall root");

	/* The page is not there for the program. */
	reset();
	r.upcall->depth = 0;
	struct fh_regs regs = raw_regs(&r, 0);
	regs.rax = ONLY_HERE;
	raw_code(&r, "\x48\x8b\x00", 3);
	r.upcall->max_depth = 0;
	a = (struct fh_thread_args){.fields = FH_SET_ROOT | FH_SET_REGS, .root = r.root, .regs = regs};
	raw_write(&r, &a);
	ok(raw_resume(&r, RAW_PATIENCE) == FH_FAULTED && r.view->regs.vector == PF && r.view->fault_address == ONLY_HERE,
	   "the libOS's page is not there for the program (error %#lx)", r.view->regs.error);

	/* Bad returns. */
	static const struct {
		const char *what;
		uint64_t depth, root;
	} bad[] = {{"at depth 0", 0, 1}, {"at depth 17", 17, 1}, {"at depth -1", ~0ul, 1}, {"to root 0", 1, 0},
	           {"to a root that is not the thread's", 1, 2}, {"to a root beyond memory", 1, 3}};
	struct tally t = {0};
	a = (struct fh_thread_args){.fields = FH_SET_UPCALL_ROOT | FH_SET_ROOT, .root = r.root};
	raw_write(&r, &a);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		reset();
		raw_code(&r, "\x0f\x05\x0f\x0b", 4);
		r.upcall->max_depth = 0;
		r.upcall->depth = bad[i].depth;
		r.upcall->slot[0].root = bad[i].root == 1 ? r.root : bad[i].root == 2 ? root : bad[i].root == 3 ? ~0ul : 0;
		r.upcall->slot[0].regs = raw_regs(&r, 0);
		regs = raw_regs(&r, 0);
		regs.rax = FH_SYS_thread_ctl;
		regs.rsi = FH_THREAD_RETURN;
		raw_run(&r, &regs, RAW_PATIENCE);
		if (r.view->regs.rip != regs.rip + 2 || (int64_t)r.view->regs.rax != -FH_EINVAL)
			count_bad(&t, "%s: %s at rip %#lx", bad[i].what, error_name((int)r.view->regs.rax), r.view->regs.rip);
	}
	none_bad(&t, "THREAD_RETURN with no context to return to, or to another's root, is EINVAL (HOSTILE 50)");

	/* A context forged. */
	reset();
	raw_code(&r, "\x0f\x05\x0f\x0b\x9c\x0f\x0b", 7);
	regs = raw_regs(&r, 0);
	regs.rax = FH_SYS_thread_ctl;
	regs.rsi = FH_THREAD_RETURN;
	r.upcall->depth = 1;
	r.upcall->max_depth = 0;
	r.upcall->slot[0] = (struct fh_context){.root = r.root, .regs = patterns()};
	r.upcall->slot[0].regs.rip = raw_va(&r, RAW_CODE) + 4;
	r.upcall->slot[0].regs.cs = 0x08;
	r.upcall->slot[0].regs.ss = 0x10;
	r.upcall->slot[0].regs.rflags = ~0x100ul;
	ok(raw_run(&r, &regs, RAW_PATIENCE) == FH_FAULTED && r.view->regs.vector == UD, "a forged context is returned to");
	uint64_t flags = *(uint64_t *)(r.page[RAW_STACK] + FH_PAGE - 8);
	ok((flags & ~0x240dd5ul) == 0x202 && r.view->regs.cs == 0x2b && r.view->regs.ss == 0x23,
	   "in ring 3, without IOPL, NT, RF, VM (flags %#lx, cs %#lx; HOSTILE 50)", flags, r.view->regs.cs);
	ok(r.view->regs.r15 == patterns().r15 && r.view->regs.rcx == patterns().rcx && r.view->regs.r11 == patterns().r11,
	   "with all its registers, rcx and r11 too");
	scratch_put((va_t)seen, 1);
}

/* ---- The kit: there and back ---- */

struct survived {
	uint64_t gpr[14], flags, red_zone[16];
	uint8_t xmm[16][16];
	uint32_t mxcsr;
};
struct survived survived;
uint64_t survivor_r8; /* what r8 holds meanwhile: an address to write to, or anything */

/* Fill every register and the red zone, do the thing, write down what is left. */
#define SURVIVE(name, thing)                                                                                           \
	__asm__(".pushsection .text." name ",\"ax\"\n"                                                                 \
	        ".globl " name "\n" name ":\n"                                                                         \
	        "	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; sub $8, %rsp\n"              \
	        "	pcmpeqd %xmm0, %xmm0; movdqa %xmm0, %xmm7; pslld $7, %xmm7; movdqa %xmm7, %xmm15\n"            \
	        "	push $0xcd7; popfq\n"                                                                          \
	        "	mov $0xa1, %eax; mov $0xa2, %ebx; mov $0xa3, %ecx; mov $0xa4, %edx; mov $0xa5, %esi\n"         \
	        "	mov $0xa6, %edi; mov $0xa7, %ebp; mov survivor_r8(%rip), %r8; mov $0xa9, %r9d\n"               \
	        "	mov $0xaa, %r10d; mov $0xab, %r11d; mov $0xac, %r12d; mov $0xad, %r13d; mov $0xae, %r14d\n"    \
	        "	mov $0xaf, %r15d\n"                                                                            \
	        "	movq $0x111, -8(%rsp); movq $0x222, -64(%rsp); movq $0x333, -128(%rsp)\n"                      \
	        "	" thing "\n"                                                                                   \
	        "	mov %rax, survived(%rip); mov %rbx, survived+8(%rip); mov %rcx, survived+16(%rip)\n"           \
	        "	mov %rdx, survived+24(%rip); mov %rsi, survived+32(%rip); mov %rdi, survived+40(%rip)\n"       \
	        "	mov %rbp, survived+48(%rip); mov %r9, survived+56(%rip); mov %r10, survived+64(%rip)\n"        \
	        "	mov %r11, survived+72(%rip); mov %r12, survived+80(%rip); mov %r13, survived+88(%rip)\n"       \
	        "	mov %r14, survived+96(%rip); mov %r15, survived+104(%rip)\n"                                   \
	        "	mov -8(%rsp), %rax; mov %rax, survived+120(%rip); mov -64(%rsp), %rax\n"                       \
	        "	mov %rax, survived+128(%rip); mov -128(%rsp), %rax; mov %rax, survived+136(%rip)\n"            \
	        "	pushfq; pop survived+112(%rip); cld\n"                                                         \
	        "	movdqu %xmm0, survived+248(%rip); movdqu %xmm7, survived+264(%rip)\n"                          \
	        "	movdqu %xmm15, survived+280(%rip)\n"                                                           \
	        "	add $8, %rsp; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n"               \
	        ".popsection\n")
SURVIVE("survive_ud2", "ud2");
SURVIVE("survive_fill", "movq $1, (%r8)");
SURVIVE("survive_step", "nop; nop");
void survive_ud2(void), survive_fill(void), survive_step(void);

static bool intact(void)
{
	static const uint64_t want[] = {0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};
	static const uint32_t zero7 = 0xffffff80;
	uint32_t lanes[12];

	memcpy(lanes, survived.xmm, sizeof(lanes));
	bool all = lanes[0] == ~0u && lanes[3] == ~0u && lanes[4] == zero7 && lanes[7] == zero7 && lanes[11] == zero7;
	for (unsigned i = 0; i < 14; i++)
		all &= survived.gpr[i] == want[i];
	return all && (survived.flags & 0xcd5) == 0xcd5 && survived.red_zone[0] == 0x111 && survived.red_zone[1] == 0x222 &&
	       survived.red_zone[2] == 0x333;
}
_Static_assert(offsetof(struct survived, flags) == 112 && offsetof(struct survived, red_zone) == 120, "SURVIVE");
_Static_assert(offsetof(struct survived, xmm) == 248, "SURVIVE");

static unsigned handled;
static enum answer spoil_and_skip(struct fh_context *c)
{
	handled++;
	__asm__ volatile("pxor %%xmm0, %%xmm0; pxor %%xmm7, %%xmm7; pxor %%xmm15, %%xmm15; fninit" ::: "xmm0", "xmm7", "xmm15");
	c->regs.rip += 2;
	return FAULT_DONE;
}

/* Handlers within handlers: each goes one deeper by a fault of its own, down to `deepest`. */
static unsigned deepest, reached;
static enum answer nest(struct fh_context *c)
{
	unsigned here = upcall_depth();

	if (here > reached)
		reached = here;
	if (here < deepest)
		__asm__ volatile("ud2");
	c->regs.rip += 2;
	return upcall_depth() == here ? FAULT_DONE : FAULT_KILL;
}

static enum answer wide_page(struct fh_context *c)
{
	(void)c;
	return FAULT_NEXT;
}

static void ringer(void *arg)
{
	volatile uint64_t *stop = arg;

	while (!*stop)
		sys_thread_switch(thread_main.name, BELL, 0, 0);
}

static unsigned bells;
static void count_bell(uint64_t bits) { bells += bits == BELL; }

static void check_kit(void)
{
	struct tally t = {0};

	on_upcall(UD, spoil_and_skip);
	survive_ud2();
	ok(handled == 1 && intact(), "the kit's handler goes back with all registers, flags, SSE registers and the red zone intact");
	survivor_r8 = (uint64_t)mm_map(0, 64 * FH_PAGE, RIGHT_R | RIGHT_W, 0);
	survive_fill();
	ok(*(uint64_t *)survivor_r8 == 1 && intact(), "so does a page that is filled on demand");
	on_upcall(PF, wide_page);
	survivor_r8 += FH_PAGE;
	survive_fill();
	ok(*(uint64_t *)survivor_r8 == 1 && intact(), "also where a handler looks first and passes");
	on_upcall(PF, NULL);
	mm_unmap(survivor_r8 - FH_PAGE, 64 * FH_PAGE);

	on_upcall(UD, nest);
	deepest = UPCALL_DEPTH;
	survive_ud2();
	ok(reached == UPCALL_DEPTH && intact() && upcall_depth() == 0, "handlers nest %u deep and come all the way back", reached);

	/* Doorbells from another thread at any instruction of all this. */
	volatile uint64_t stop = 0;
	struct thread *other = thread_new(ringer, (void *)&stop, NULL);
	on_upcall(UD, spoil_and_skip);
	on_bell(BELL, count_bell);
	uint64_t end = cpu_tsc() + 500 * info->tsc_khz, late = end + 5000 * info->tsc_khz;
	unsigned rounds = 0;
	for (handled = 0; (cpu_tsc() < end || (bells <= 10 && cpu_tsc() < late)) && other; rounds++) {
		survive_ud2();
		if (!intact())
			count_bad(&t, "round %u", rounds);
		if (rounds % 8 == 0)
			sys_thread_switch(0, 0, 0, 0);
	}
	on_bell(BELL, NULL);
	stop = 1;
	none_bad(&t, "%u faults, with %u doorbells at odd moments, lose no register", rounds, bells);
	ok(other && bells > 10 && handled == rounds, "each fault was handled once");
	if (other)
		thread_join(other);
	on_upcall(UD, NULL);
	is(on_upcall(255, nest), -FH_EINVAL, "there is no vector 255");
}

int main(void)
{
	struct thread *warm = NULL;
	volatile uint64_t stop = 1;

	if ((warm = thread_new(ringer, (void *)&stop, NULL)))
		thread_join(warm);
	mm_unmap((va_t)mm_map(0, FH_PAGE, RIGHT_R | RIGHT_W, MM_EAGER), FH_PAGE);
	tap_begin();
	int e = raw_new(&r, 64);
	if (e < 0)
		panic("no env for the experiments: %s", error_name(e));
	reset();
	check_words();
	check_entry();
	check_nesting();
	check_resume_range();
	check_doorbells();
	check_native();
	check_roots();
	returns(raw_end(&r), 0, "the env can be buried");
	check_kit_tail();
	check_slice_bell();
	check_kit();
	return tap_end();
}
