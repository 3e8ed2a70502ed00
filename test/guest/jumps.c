/*
 * jumps.c - a program may execute any instruction and jump anywhere: it gets a fault, or is stopped and reported, and the
 * kernel lives (HOSTILE 50, 53). Each experiment is a thread in a child env without a fault handler: what stops it
 * stands in its THREAD frame.
 */
#include <stdio.h>
#include <string.h>

#include "raw.h"
#include "tap.h"

#define GP 13
#define PF 14
#define UD 6
#define HALF 0x0000800000000000ul /* first non-canonical address */
#define KERNEL_DIRECT 0xffffff8000100000ul
#define KERNEL_TEXT 0xffffffff80100000ul
#define WINDOW 0xfffffe8000000000ul

static struct raw r;

/* What came of it: "vector 13", "stopped"... The last instruction was the one at offset `at` of the code page. */
enum { STOPPED = 1000, RUNS_ON, SLEEPS };

static unsigned outcome(unsigned state)
{
	switch (state) {
	case FH_FAULTED: return (unsigned)r.view->regs.vector;
	case FH_STOPPED: return STOPPED;
	case FH_READY: return RUNS_ON;
	default: return SLEEPS;
	}
}

static unsigned try_regs(const void *bytes, size_t n, struct fh_regs regs)
{
	raw_code(&r, bytes, n);
	return outcome(raw_run(&r, &regs, RAW_PATIENCE));
}

static unsigned try(const void *bytes, size_t n)
{
	struct fh_regs regs = raw_regs(&r, 0);

	/* rbx, rsi, rdi: the data page; the rest 0 or harmless */
	regs.rbx = regs.rsi = regs.rdi = raw_va(&r, RAW_DATA);
	return try_regs(bytes, n, regs);
}

/* ---- Privileged instructions ---- */

static const struct {
	const char *name, *bytes;
	unsigned n, vector, other; /* what it raises; or, where CPUs differ, `other` */
} privileged[] = {
#define I(name, bytes, ...) {name, bytes, sizeof(bytes) - 1, __VA_ARGS__}
    I("hlt", "\xf4", GP, GP),
    I("cli", "\xfa", GP, GP),
    I("sti", "\xfb", GP, GP),
    I("in al, dx", "\xec", GP, GP),
    I("in eax, 0x60", "\xe5\x60", GP, GP),
    I("out dx, al", "\xee", GP, GP),
    I("out 0xf4, al (QEMU's exit)", "\xe6\xf4", GP, GP),
    I("insb", "\x6c", GP, GP),
    I("outsb", "\x6e", GP, GP),
    I("rep insb", "\xf3\x6c", GP, STOPPED), /* rcx 0 */
    I("rdmsr", "\x0f\x32", GP, GP),
    I("wrmsr", "\x0f\x30", GP, GP),
    I("rdpmc", "\x0f\x33", GP, UD),
    I("lgdt", "\x0f\x01\x13", GP, GP),
    I("lidt", "\x0f\x01\x1b", GP, GP),
    I("lldt ax", "\x0f\x00\xd0", GP, GP),
    I("ltr ax", "\x0f\x00\xd8", GP, GP),
    I("lmsw ax", "\x0f\x01\xf0", GP, GP),
    I("clts", "\x0f\x06", GP, GP),
    I("invd", "\x0f\x08", GP, GP),
    I("wbinvd", "\x0f\x09", GP, GP),
    I("invlpg [rbx]", "\x0f\x01\x3b", GP, GP),
    I("invpcid", "\x66\x0f\x38\x82\x03", GP, UD),
    I("mov cr0, rax", "\x0f\x22\xc0", GP, GP),
    I("mov cr2, rax", "\x0f\x22\xd0", GP, GP),
    I("mov cr3, rax", "\x0f\x22\xd8", GP, GP),
    I("mov cr4, rax", "\x0f\x22\xe0", GP, GP),
    I("mov cr8, rax", "\x44\x0f\x22\xc0", GP, GP),
    I("mov cr1, rax", "\x0f\x22\xc8", UD, GP),
    I("mov rax, cr0", "\x0f\x20\xc0", GP, GP),
    I("mov rax, cr2", "\x0f\x20\xd0", GP, GP),
    I("mov rax, cr3", "\x0f\x20\xd8", GP, GP),
    I("mov rax, cr4", "\x0f\x20\xe0", GP, GP),
    I("mov dr0, rax", "\x0f\x23\xc0", GP, GP),
    I("mov dr7, rax", "\x0f\x23\xf8", GP, GP),
    I("mov rax, dr6", "\x0f\x21\xf0", GP, GP),
    I("swapgs", "\x0f\x01\xf8", GP, GP),
    I("sysret", "\x48\x0f\x07", GP, UD),
    I("sysexit", "\x48\x0f\x35", GP, UD),
    I("sysenter", "\x0f\x34", GP, UD),
    I("clac", "\x0f\x01\xca", UD, UD),
    I("stac", "\x0f\x01\xcb", UD, UD),
    I("xsetbv", "\x0f\x01\xd1", GP, UD),
    I("xsaves", "\x0f\xc7\x2b", GP, UD),
    I("monitor", "\x0f\x01\xc8", UD, GP),
    I("mwait", "\x0f\x01\xc9", UD, GP),
    I("vmcall", "\x0f\x01\xc1", UD, GP),
    I("vmlaunch", "\x0f\x01\xc2", UD, GP),
    I("vmmcall", "\x0f\x01\xd9", UD, GP),
    I("vmrun", "\x0f\x01\xd8", UD, GP),
    I("vmload", "\x0f\x01\xda", UD, GP),
    I("clgi", "\x0f\x01\xdd", UD, GP),
    I("stgi", "\x0f\x01\xdc", UD, GP),
    I("skinit", "\x0f\x01\xde", UD, GP),
    I("invlpga", "\x0f\x01\xdf", UD, GP),
    I("rsm", "\x0f\xaa", UD, UD),
    I("wrfsbase rax", "\xf3\x48\x0f\xae\xd0", UD, UD),
    I("wrgsbase rax", "\xf3\x48\x0f\xae\xd8", UD, UD),
    I("rdpkru", "\x0f\x01\xee", UD, UD),
    I("wrpkru", "\x0f\x01\xef", UD, UD),
    I("xgetbv", "\x0f\x01\xd0", UD, UD),
    I("encls", "\x0f\x01\xcf", UD, GP),
};

static void check_privileged(void)
{
	struct tally t = {0};

	for (unsigned i = 0; i < sizeof(privileged) / sizeof(privileged[0]); i++) {
		unsigned got = try(privileged[i].bytes, privileged[i].n);
		if (got != privileged[i].vector && got != privileged[i].other)
			count_bad(&t, "%s: %u, wanted vector %u", privileged[i].name, got, privileged[i].vector);
		else if (got < 32 && r.view->regs.rip != raw_va(&r, RAW_CODE))
			count_bad(&t, "%s: rip %#lx is not the instruction's", privileged[i].name, r.view->regs.rip);
	}
	none_bad(&t, "each of %lu privileged instructions is a fault of the program (HOSTILE 53)",
	         sizeof(privileged) / sizeof(privileged[0]));
}

/* ---- Exceptions that user code may raise ---- */

static void check_exceptions(void)
{
	static const struct {
		const char *name, *bytes;
		unsigned n, vector, after, other; /* after: how far rip has moved; other: what QEMU does instead */
	} cases[] = {
#define E(name, bytes, vector, after, other) {name, bytes, sizeof(bytes) - 1, vector, after, other}
	    E("ud2", "\x0f\x0b", UD, 0, 0),
	    E("ud0", "\x0f\xff\xc0", UD, 0, 0),
	    E("div by 0", "\x31\xc9\xf7\xf1", 0, 2, 0),
	    E("idiv overflow", "\x48\xb8\0\0\0\0\0\0\0\x80\x48\x99\x6a\xff\x48\xf7\x3c\x24", 0, 14, 0),
	    E("int3", "\xcc", 3, 1, 0),
	    E("int 3 in two bytes", "\xcd\x03", 3, 2, 0),
	    E("int 4", "\xcd\x04", 4, 2, 0),
	    E("icebp", "\xf1", 1, 1, UD),
	    E("into, gone in 64-bit mode", "\xce", UD, 0, 0),
	    E("bound, gone in 64-bit mode", "\x62\x03", UD, 0, 0),
	    E("lock on a register", "\xf0\x48\x89\xc0", UD, 0, STOPPED),
	    E("an instruction of 16 bytes", "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90", GP, 0, 0),
	    E("x87 exception, unmasked", "\x6a\x00\xd9\x2c\x24\xd9\xe8\xd9\xee\xde\xf9\x9b", 16, 11, 0),
	    E("ldmxcsr with reserved bits", "\x68\xff\xff\xff\x7f\x0f\xae\x14\x24", GP, 5, STOPPED),
	    E("movaps, misaligned", "\x0f\x28\x43\x01", GP, 0, 0),
	    E("fxsave, misaligned", "\x0f\xae\x43\x01", GP, 0, 0),
	    E("popf TF: single step", "\x68\x00\x01\x00\x00\x9d\x90\x90", 1, 7, 0),
#undef E
	};
	struct tally t = {0};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned got = try(cases[i].bytes, cases[i].n);
		uint64_t moved = r.view->regs.rip - raw_va(&r, RAW_CODE);
		if (cases[i].other && got == cases[i].other)
			continue;
		if (got != cases[i].vector)
			count_bad(&t, "%s: %u, wanted vector %u", cases[i].name, got, cases[i].vector);
		else if (moved != cases[i].after)
			count_bad(&t, "%s: rip moved by %lu, wanted %u", cases[i].name, moved, cases[i].after);
	}
	none_bad(&t, "each exception has its own vector and rip");
}

static void check_int_n(void)
{
	struct tally t = {0};

	for (unsigned n = 0; n < 256; n++) {
		unsigned char code[] = {0xcd, (unsigned char)n};
		unsigned want = n == 3 || n == 4 ? n : GP, got = try(code, 2);
		if (got != want)
			count_bad(&t, "int %u: %u, wanted vector %u", n, got, want);
		else if (want == GP && r.view->regs.error != n * 8 + 2 && r.view->regs.error != n * 16 + 2) /* QEMU: * 16 */
			count_bad(&t, "int %u: error %#lx", n, r.view->regs.error);
	}
	none_bad(&t, "int n is a general protection fault naming the gate, for all n but 3 and 4 (HOSTILE 53)");
}

/* ---- Flags ---- */

static void check_flags(void)
{
	/* push rax; popf; pushf; pop rax */
	static const char code[] = "\x50\x9d\x9c\x58";
	static const uint64_t odd[] = {3ul << 12, 1ul << 14, 1ul << 18, 1ul << 19, 1ul << 20, 0x3f7eff & ~0x100ul, 0};
	struct tally t = {0};

	for (unsigned i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		struct fh_regs regs = raw_regs(&r, 0);
		regs.rax = odd[i];
		unsigned got = try_regs(code, 4, regs);
		/* the stop call's registers: pushf's value is lost in rax, so look at what the frame says */
		if (got != STOPPED)
			count_bad(&t, "popf %#lx: %u", odd[i], got);
		if ((r.view->regs.rflags & (3ul << 12 | 1ul << 17)) || !(r.view->regs.rflags & 1ul << 9))
			count_bad(&t, "popf %#lx: rflags became %#lx", odd[i], r.view->regs.rflags);
	}
	none_bad(&t, "popf gets neither IOPL nor VM, and IF stays set; NT and AC do no harm to a call (HOSTILE 50)");

	/* The same flags, and then a fault: the kernel runs with none of them. */
	t.bad = 0;
	for (unsigned i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		struct fh_regs regs = raw_regs(&r, 0);
		regs.rax = odd[i];
		if (try_regs("\x50\x9d\x0f\x0b", 4, regs) != UD)
			count_bad(&t, "flags %#lx, then ud2: vector %lu", odd[i], r.view->regs.vector);
	}
	none_bad(&t, "a fault with NT, AC, ID or DF set is a fault like any other");

	t.bad = 0;
	for (unsigned bit = 0; bit < 64; bit++) {
		struct fh_regs regs = raw_regs(&r, 0);
		regs.rflags = 1ul << bit;
		regs.cs = regs.ss = bit % 2 ? 0x08 : 0x10;
		unsigned got = try_regs("\x9c\x0f\x0b", 3, regs);
		uint64_t flags = *(uint64_t *)(r.page[RAW_STACK] + FH_PAGE - 8);
		if (got != (bit == 8 ? 1 : UD) || (got == UD && (flags & ~0x240dd5ul) != 0x202))
			count_bad(&t, "thread_write of flags bit %u: vector %u, flags %#lx", bit, got, flags);
	}
	none_bad(&t, "flags and selectors written by thread_write are forced: IF, no IOPL, user CS and SS (HOSTILE 50)");
}

/* ---- Segments ---- */

/*
 * After a reset the LDT register has base 0 and limit 0xffff (SDM vol. 3A, table 9-1). If the kernel leaves it so, page 0,
 * which a libOS may map, is a descriptor table: with a call gate in it, ring 0 is one far call away.
 */
static void check_ldt(void)
{
	pfn_t page = frame_get(&frames_first, 1, 1, r.env, 0);
	uint64_t *here = page ? scratch_map(page, 1, RIGHT_R | RIGHT_W) : NULL;
	struct tally t = {0};

	if (!here || space_map(&r.space, 0, page, 1, RIGHT_R | RIGHT_W) < 0) {
		ok(false, "page 0 can be mapped");
		return;
	}
	space_unpeek(&r.space);
	/* call far [rdi]; jmp to the end; through the gate: mov eax, cs; mov [rbx], rax; lretq */
	static const char code[] = "\x48\xff\x1f\xeb\x07\x8c\xc8\x48\x89\x03\x48\xcb";
	va_t target = raw_va(&r, RAW_CODE) + 5;
	here[2] = (target & 0xffff) | 0x08ul << 16 | 0xec00ul << 32 | (target >> 16 & 0xffff) << 48;
	here[3] = target >> 32; /* selector 0x17: call gate, DPL 3, to the kernel's code segment */
	uint64_t *data = (uint64_t *)r.page[RAW_DATA];
	struct fh_regs regs = raw_regs(&r, 0);
	regs.rdi = raw_va(&r, RAW_DATA) + 64;
	regs.rbx = raw_va(&r, RAW_DATA);
	data[0] = ~0ul;
	data[8] = 0;
	data[9] = 0x17;
	unsigned got = try_regs(code, sizeof(code) - 1, regs);
	ok(got == GP && data[0] == ~0ul, "page 0 is no LDT: no call gate of one's own (HOSTILE 53)");
	if (data[0] != ~0ul)
		note("  the program's code ran with CS %#lx: ring %lu", data[0], data[0] & 3);
	else if (got != GP)
		note("  vector %u", got);

	for (unsigned selector = 4; selector < 128; selector += 8) {
		here[selector / 8] = 0x00cff3000000fffful; /* a data segment */
		regs.rax = selector | 3;
		got = try_regs("\x8e\xc0", 2, regs);
		if (got != GP)
			count_bad(&t, "mov es, %#x: %u", selector | 3, got);
	}
	none_bad(&t, "the LDT is empty: nothing loads from it, though page 0 is mapped");
	scratch_put((va_t)here, 1);
	space_unmap(&r.space, 0, 1);
	space_unpeek(&r.space);
	frame_put(page, 1);
}

static void check_segments(void)
{
	static const struct {
		const char *name;
		unsigned char bytes[2];
	} into[] = {{"ds", {0x8e, 0xd8}}, {"es", {0x8e, 0xc0}}, {"fs", {0x8e, 0xe0}}, {"gs", {0x8e, 0xe8}}, {"ss", {0x8e, 0xd0}}};
	struct tally t = {0};
	bool smap = info->features & FH_HAS_SMAP; /* QEMU pops far returns with supervisor rights (MACHINE): no use then */

	for (unsigned i = 0; i < 5; i++) {
		for (unsigned selector = 0; selector < 128; selector++) { /* GDT and LDT, beyond the end, RPL 0-3 */
			struct fh_regs regs = raw_regs(&r, 0);
			regs.rax = selector;
			unsigned got = try_regs(into[i].bytes, 2, regs);
			bool null = selector < 4, user = (selector & ~7u) == 0x20 || (selector & ~7u) == 0x28;
			bool good = got == STOPPED ? (null && i < 4) || (user && !(selector & 4)) : got == GP || got == 11 || got == 12;
			if (!good)
				count_bad(&t, "mov %s, %#x: %u", into[i].name, selector, got);
		}
	}
	none_bad(&t, "only the null and the user's own selectors load into DS, ES, FS, GS, SS (HOSTILE 50)");

	t.bad = 0;
	for (unsigned selector = 0; selector < 128; selector++) {
		/* push selector; push rbx; lretq */
		unsigned char far_return[] = {0x6a, (unsigned char)selector, 0x53, 0x48, 0xcb};
		struct fh_regs regs = raw_regs(&r, 0);
		regs.rbx = raw_va(&r, RAW_CODE) + sizeof(far_return);
		unsigned got = try_regs(far_return, sizeof(far_return), regs);
		bool good = got == STOPPED ? selector == 0x2b : got == GP || got == 11 || (smap && got == PF);
		if (!good)
			count_bad(&t, "far return to selector %#x: %u, cs %#lx", selector, got, r.view->regs.cs);
	}
	none_bad(&t, "a far return reaches no code segment but the user's, and no 32-bit one");

	t.bad = 0;
	for (unsigned selector = 0; selector < 128; selector++) {
		/* [rdi] = {rip, selector}; jmp far [rdi] */
		struct fh_regs regs = raw_regs(&r, 0);
		regs.rdi = raw_va(&r, RAW_DATA);
		((uint64_t *)r.page[RAW_DATA])[0] = raw_va(&r, RAW_CODE) + 3;
		((uint64_t *)r.page[RAW_DATA])[1] = selector;
		unsigned got = try_regs("\x48\xff\x2f", 3, regs);
		bool good = got == STOPPED ? (selector & ~3u) == 0x28 : got == GP || got == 11;
		if (!good)
			count_bad(&t, "far jump to selector %#x: %u", selector, got);
	}
	none_bad(&t, "a far jump reaches no code segment but the user's: no call gate, no TSS (HOSTILE 53)");

	t.bad = 0;
	for (unsigned selector = 0; selector < 128; selector++) {
		struct fh_regs regs = raw_regs(&r, 0);
		uint64_t *frame = (uint64_t *)(r.page[RAW_STACK] + FH_PAGE - 40);
		frame[0] = raw_va(&r, RAW_CODE) + 2;
		frame[1] = selector;
		frame[2] = 0x3202; /* IOPL 3 */
		frame[3] = raw_stack_top(&r);
		frame[4] = 0x23;
		regs.rsp -= 40;
		unsigned got = try_regs("\x48\xcf", 2, regs);
		bool good = got == STOPPED ? selector == 0x2b && !(r.view->regs.rflags & 0x3000) : got == GP || got == 11 || (smap && got == PF);
		if (!good)
			count_bad(&t, "iretq to selector %#x: %u, flags %#lx", selector, got, r.view->regs.rflags);
	}
	none_bad(&t, "iretq reaches no code segment but the user's, and gets no IOPL");

	/* After SS := 0x23 with the interrupt shadow, and TF: the step must not come inside the kernel. */
	struct fh_regs regs = raw_regs(&r, 0);
	regs.rax = 0x23;
	regs.rflags |= 0x100;
	unsigned got = try_regs("\x8e\xd0\x0f\x05", 4, regs);
	ok(got == 1, "single step over mov ss; syscall ends in the program (vector %u), not in the kernel", got);
}

/* ---- Jumps ---- */

static unsigned try_jump(uint64_t to)
{
	struct fh_regs regs = raw_regs(&r, 0);

	regs.rax = to;
	return try_regs("\xff\xe0", 2, regs); /* jmp rax */
}

static void check_jumps(void)
{
	static const uint64_t bad[] = {
	    0, 1, 0xfff, KERNEL_DIRECT, KERNEL_TEXT, FH_KERNEL_BASE, 0xfffffff000000000ul, 0xfffffff400000000ul,
	    0xfffffff800004ff8ul, ~0ul, ~0ul - 4095, HALF - FH_PAGE, WINDOW, FH_KERNEL_BASE - FH_PAGE, 0xffff800000000000ul,
	};
	struct tally t = {0};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		unsigned got = try_jump(bad[i]);
		if (got != PF || r.view->fault_address != bad[i] || r.view->regs.rip != bad[i] || !(r.view->regs.error & 4))
			count_bad(&t, "jump to %#lx: vector %u, address %#lx, rip %#lx, error %#lx", bad[i], got, r.view->fault_address,
			          r.view->regs.rip, r.view->regs.error);
	}
	none_bad(&t, "a jump to page 0, the kernel half, the window or a hole is a page fault there, in user mode (HOSTILE 24)");

	t.bad = 0;
	static const uint64_t odd[] = {HALF, HALF + 1, 0xffff7ffffffffffful, 1ul << 63, 0x8000000000000000ul | RAW_BASE};
	for (unsigned i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		unsigned got = try_jump(odd[i]);
		if (got != GP)
			count_bad(&t, "jump to %#lx: vector %u", odd[i], got);
	}
	none_bad(&t, "a jump to a non-canonical address is a general protection fault");

	is(try_jump(raw_va(&r, RAW_DATA)), PF, "a jump to an NX page is a page fault");
	ok(r.view->regs.error == 0x15, "its error code says fetch, user, present: %#lx", r.view->regs.error);

	/* Reading and writing there instead. */
	t.bad = 0;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct fh_regs regs = raw_regs(&r, 0);
		regs.rax = bad[i] & ~7ul;
		unsigned read = try_regs("\x48\x8b\x08", 3, regs), write = try_regs("\x48\x89\x08", 3, regs);
		bool window = regs.rax >= WINDOW && regs.rax < WINDOW_END;
		if ((read != PF && !window) || write != PF)
			count_bad(&t, "%#lx: read %u, write %u", regs.rax, read, write);
	}
	none_bad(&t, "so are reads and writes there; the recursive window is at most readable");

	t.bad = 0;
	for (unsigned i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		struct fh_regs regs = raw_regs(&r, 0);
		regs.rip = odd[i];
		struct fh_thread_args a = {.fields = FH_SET_REGS, .regs = regs};
		int64_t e = raw_write(&r, &a);
		if (e != -FH_EINVAL)
			count_bad(&t, "rip %#lx: %ld", odd[i], e);
	}
	static const uint64_t half[] = {FH_KERNEL_BASE, KERNEL_TEXT, ~0ul};
	for (unsigned i = 0; i < 3; i++) {
		struct fh_thread_args a = {.fields = FH_SET_REGS, .regs = raw_regs(&r, 0)};
		a.regs.rip = half[i];
		if (raw_write(&r, &a) != -FH_EINVAL)
			count_bad(&t, "rip %#lx taken", half[i]);
	}
	none_bad(&t, "thread_write refuses a rip that is non-canonical or in the kernel half (SYSRET: HOSTILE 50)");
}

/* `syscall` as the last two bytes below the hole: the kernel must not return there by sysret. */
static void check_last_bytes(void)
{
	pfn_t page = frame_get(&frames_first, 1, 1, r.env, 0);
	char *here = page ? scratch_map(page, 1, RIGHT_R | RIGHT_W) : NULL;

	if (!here || space_map(&r.space, HALF - FH_PAGE, page, 1, RIGHT_R | RIGHT_X) < 0) {
		ok(false, "the last page below the hole can be mapped");
		return;
	}
	space_unpeek(&r.space);
	memset(here, 0x90, FH_PAGE);
	memcpy(here + FH_PAGE - 2, "\x0f\x05", 2);
	static const struct {
		const char *name;
		uint64_t number, rsi;
	} calls[] = {
	    {"a short call", FH_SYS_tlb_flush, 0},
	    {"no call", ~0ul, 0},
	    {"thread_switch", FH_SYS_thread_switch, 0},
	    {"a refused thread_ctl", FH_SYS_thread_ctl, 77},
	};
	for (unsigned i = 0; i < 4; i++) {
		struct fh_regs regs = raw_regs(&r, 0);
		regs.rip = HALF - 2;
		regs.rax = calls[i].number;
		regs.rsi = calls[i].rsi;
		unsigned got = outcome(raw_run(&r, &regs, RAW_PATIENCE));
		ok(got == GP && r.view->regs.rip == HALF && r.view->regs.rsp == regs.rsp,
		   "%s from the last two bytes below the hole ends in a user fault at %#lx (vector %u)", calls[i].name,
		   r.view->regs.rip, got);
	}
	/* The same with a handler: it arrives there. */
	r.upcall->entry = raw_va(&r, RAW_CODE);
	r.upcall->max_depth = 1;
	r.upcall->stack_top = raw_stack_top(&r);
	raw_code(&r, "", 0);
	struct fh_regs regs = raw_regs(&r, 0);
	regs.rip = HALF - 2;
	regs.rax = FH_SYS_tlb_flush;
	unsigned got = outcome(raw_run(&r, &regs, RAW_PATIENCE));
	ok(got == STOPPED && r.upcall->slot[0].regs.vector == GP && r.upcall->slot[0].regs.rip == HALF,
	   "with a handler it arrives there, at rip %#lx", r.upcall->slot[0].regs.rip);
	/* And a context forged so that thread_ctl returns there. */
	r.upcall->slot[0].regs.rip = HALF;
	r.upcall->slot[0].root = r.root;
	r.upcall->depth = 1;
	regs = raw_regs(&r, 0);
	regs.rax = FH_SYS_thread_ctl;
	regs.rsi = FH_THREAD_RETURN;
	raw_code(&r, "\x0f\x05", 2);
	r.upcall->entry = raw_va(&r, RAW_CODE) + 2;
	got = outcome(raw_run(&r, &regs, RAW_PATIENCE));
	ok(got == STOPPED && r.upcall->slot[0].regs.vector == GP, "THREAD_RETURN to a non-canonical rip is a user fault (HOSTILE 50)");
	r.upcall->max_depth = r.upcall->depth = 0;
	scratch_put((va_t)here, 1);
}

/* ---- Stacks ---- */

static void check_stacks(void)
{
	static const uint64_t odd[] = {0, 1, 8, HALF - 8, HALF, HALF + 8, 1ul << 63, FH_KERNEL_BASE, KERNEL_DIRECT,
	                               KERNEL_TEXT, 0xfffffff800005000ul, ~0ul, ~7ul};
	struct tally t = {0};

	for (unsigned i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		struct fh_regs regs = raw_regs(&r, 0);
		regs.rsp = odd[i];
		if (try_regs("", 0, regs) != STOPPED || r.view->regs.rsp != odd[i])
			count_bad(&t, "rsp %#lx, then a slow call", odd[i]);
		regs.rax = FH_SYS_tlb_flush;
		if (try_regs("\x0f\x05", 2, regs) != STOPPED || r.view->regs.rsp != odd[i])
			count_bad(&t, "rsp %#lx, then a short call", odd[i]);
		if (try_regs("\x0f\x0b", 2, regs) != UD || r.view->regs.rsp != odd[i])
			count_bad(&t, "rsp %#lx, then ud2", odd[i]);
		unsigned got = try_regs("\x50", 1, regs);
		if (got != PF && got != GP && got != 12)
			count_bad(&t, "rsp %#lx, then push: %u", odd[i], got);
		if (try_regs("\xcc", 1, regs) != 3)
			count_bad(&t, "rsp %#lx, then int3", odd[i]);
		raw_code(&r, "\xeb\xfe", 2);
		got = outcome(raw_run(&r, &regs, 1));
		if (got != RUNS_ON || r.view->regs.rsp != odd[i])
			count_bad(&t, "rsp %#lx, then the timer: %u", odd[i], got);
	}
	none_bad(&t, "any rsp will do for a call, a fault and an interrupt: the kernel never writes a user stack (HOSTILE 50)");
}

/* ---- Handlers ---- */

static void check_handlers(void)
{
	static const uint64_t entries[] = {0, 1, HALF, 1ul << 63, FH_KERNEL_BASE, KERNEL_TEXT, ~0ul, WINDOW, 0x700000000000ul};
	struct tally t = {0};

	for (unsigned i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		r.upcall->depth = 0;
		r.upcall->max_depth = 4;
		r.upcall->entry = entries[i];
		unsigned got = try("\x0f\x0b", 2);
		if (got != UD && got != PF)
			count_bad(&t, "entry %#lx: %u", entries[i], got);
	}
	none_bad(&t, "a handler that isn't there, non-canonical or in the kernel half: the thread stops FAULTED (HOSTILE 50)");

	t.bad = 0;
	static const uint64_t stacks[] = {0, HALF, 1ul << 63, FH_KERNEL_BASE, KERNEL_DIRECT, ~0ul};
	for (unsigned i = 0; i < sizeof(stacks) / sizeof(stacks[0]); i++) {
		r.upcall->depth = 0;
		r.upcall->max_depth = 4;
		r.upcall->stack_top = r.upcall->stack_stride = stacks[i];
		r.upcall->entry = raw_va(&r, RAW_CODE) + 2;
		unsigned got = try("\x0f\x0b\x50", 3); /* ud2; the handler: push rax */
		if ((got != PF && got != GP && got != 12) || r.upcall->depth != 4)
			count_bad(&t, "handler stack %#lx: vector %u, depth %lu", stacks[i], got, r.upcall->depth);
	}
	none_bad(&t, "a handler without a stack faults in itself, down to its depth, and then the thread stops FAULTED");

	r.upcall->depth = 0;
	r.upcall->self_va = ~0ul;
	is(try("\x0f\x0b", 2), STOPPED, "a wrong self_va is the program's own affair");
	r.upcall->self_va = raw_va(&r, RAW_UPCALL);
	r.upcall->max_depth = r.upcall->depth = 0;
	is(try("\x0f\x0b", 2), UD, "the keeper hears of each: this thread has slept on its bell until now");
	ok(r.view->state == FH_FAULTED, "the thread's state is FAULTED");
}

/* ---- Instructions that may be executed, but must tell nothing that can be written ---- */

static void check_descriptors(void)
{
	static const struct {
		const char *name;
		unsigned char bytes[3];
	} tell[] = {{"sgdt", {0x0f, 0x01, 0x03}}, {"sidt", {0x0f, 0x01, 0x0b}}};
	bool umip = info->features & FH_HAS_UMIP;

	for (unsigned i = 0; i < 2; i++) {
		unsigned got = try(tell[i].bytes, 3);
		uint64_t base = 0;
		memcpy(&base, r.page[RAW_DATA] + 2, 8);
		if (umip) {
			is(got, GP, "%s faults where there is UMIP", tell[i].name);
			continue;
		}
		struct fh_regs regs = raw_regs(&r, 0);
		regs.rax = base;
		unsigned write = try_regs("\x48\x89\x08", 3, regs), read = try_regs("\x48\x8b\x08", 3, regs);
		ok(got == STOPPED && base >= FH_KERNEL_BASE && write == PF && read == PF,
		   "%s tells an address in the kernel half, %#lx, that can be neither read nor written", tell[i].name, base);
	}
	static const struct {
		const char *name;
		unsigned char bytes[3];
	} words[] = {{"sldt", {0x0f, 0x00, 0xc0}}, {"str", {0x0f, 0x00, 0xc8}}, {"smsw", {0x0f, 0x01, 0xe0}}};
	for (unsigned i = 0; i < 3; i++) {
		unsigned got = try(words[i].bytes, 3);
		ok(got == (umip ? GP : STOPPED), "%s %s", words[i].name, umip ? "faults where there is UMIP" : "does no harm");
	}
}

/* ---- Anything at all ---- */

#define RANDOM_PROGRAMS 3000u

static void check_random(void)
{
	unsigned faults[33] = {0}, runs = 0, stops = 0;
	struct tally t = {0};

	for (unsigned i = 0; i < RANDOM_PROGRAMS; i++) {
		uint64_t code[4];
		struct fh_regs regs = raw_regs(&r, 0);
		for (unsigned k = 0; k < 4; k++)
			code[k] = random64();
		if (i % 4 == 0)
			((unsigned char *)code)[0] = 0x0f;
		regs.rax = random64() % 16 ? random64() : 0;
		regs.rbx = regs.rdi = raw_va(&r, RAW_DATA) + 256;
		regs.rcx = random64() % 64;
		regs.rsi = raw_va(&r, RAW_STACK) + random64() % FH_PAGE;
		regs.rdx = random64();
		regs.rsp -= 256;
		regs.rflags = random64() & (i % 16 ? ~0x100ul : ~0ul); /* single step only now and then */
		raw_code(&r, code, sizeof(code));
		unsigned state = raw_run(&r, &regs, 1);
		if (state == FH_FAULTED)
			faults[r.view->regs.vector <= 32 ? r.view->regs.vector : 32]++;
		else if (state == FH_STOPPED)
			stops++;
		else if (state == FH_READY)
			runs++;
		else
			count_bad(&t, "program %u: state %u", i, state);
	}
	note("%u random programs: #DE %u #DB %u #BP %u #UD %u #GP %u #PF %u #SS %u #MF %u; %u came to the end, %u ran on",
	     RANDOM_PROGRAMS, faults[0], faults[1], faults[3], faults[6], faults[13], faults[14], faults[12], faults[16], stops,
	     runs);
	none_bad(&t, "%u programs of random bytes each fault, stop, or run until stopped (HOSTILE 53)", RANDOM_PROGRAMS);
	ok(!faults[2] && !faults[8] && !faults[18] && !faults[32], "no random program raises an NMI, a double fault or a machine check");
}

int main(void)
{
	tap_begin();
	int e = raw_new(&r, 64);
	if (e < 0)
		panic("no env for the experiments: %s", error_name(e));
	is(try("", 0), STOPPED, "a thread in an env of five pages runs, and stops itself");
	is((int64_t)r.view->status, RAW_STOP_STATUS, "its status is what it said");
	check_privileged();
	check_exceptions();
	check_int_n();
	check_flags();
	check_segments();
	check_ldt();
	check_jumps();
	check_last_bytes();
	check_stacks();
	check_handlers();
	check_descriptors();
	check_random();
	is(try("", 0), STOPPED, "after all that, the env still runs");
	returns(raw_end(&r), 0, "and can be buried");
	return tap_end();
}
