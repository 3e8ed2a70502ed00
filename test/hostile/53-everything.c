/* 53: every call number, every argument at its edges, every opcode. */
#include <string.h>

#include "documented.h"
#include "hostile.h"

static void numbers(void)
{
	struct tally t = {0};
	unsigned n = 0;

	for (unsigned shift = 4; shift <= 64; shift++)
		for (int k = -3; k < (int)FH_NSYSCALLS + 3; k++) {
			uint64_t number = (shift < 64 ? 1ul << shift : 0) + (uint64_t)(int64_t)k;
			if (number < FH_NSYSCALLS)
				continue;
			struct sys_result r = sys_call4(number, ~0ul, 1, 0x5eed, 2);
			if (r.rax != -FH_ENOSYS || r.rdx != 0x5eed)
				count_bad(&t, "number %#lx: %ld, rdx %#lx", number, r.rax, r.rdx);
			n++;
		}
	none_bad(&t, "%u numbers that are no call, around every power of two: ENOSYS", n);
}

/* Would the call, well meant, stop or freeze us, give quota away, sleep, or flood the console? */
static bool harmless(uint64_t number, const uint64_t a[4])
{
	switch (number) {
	case FH_SYS_thread_switch: return a[3] == 1 || (a[3] == 0 && a[2] == 0 && a[1] == 1);
	case FH_SYS_thread_ctl: return a[0] != 0 || a[1] != FH_THREAD_STOP;
	case FH_SYS_env_ctl: return a[0] != 0 || (a[1] != FH_ENV_FREEZE && a[1] != FH_ENV_QUOTA && a[1] != FH_ENV_AUDIT);
	case FH_SYS_console_write: return a[2] == 0 && a[3] == 0 && (a[1] > FH_PAGE || a[1] <= 8);
	}
	return true;
}

static void arguments(void)
{
	static const uint64_t edge[] = {0, 1, 2, 63, 64, 511, 512, 4095, 4096, 1ul << 27, (1ul << 32) - 1, 1ul << 47, 1ul << 63, ~0ul};
	const unsigned edges = sizeof(edge) / sizeof(*edge);
	uint64_t made = 0, good = 0;
	struct tally t = {0};

	memset(thread_self()->batch, '\n', FH_PAGE); /* malformed, whatever reads it: operations, arguments; to be printed, harmless */
	for (uint64_t number = 0; number < FH_NSYSCALLS; number++) {
		for (unsigned i = 0; i < edges * edges * edges * edges; i++) {
			const uint64_t a[4] = {edge[i % edges], edge[i / edges % edges], edge[i / edges / edges % edges],
			                       edge[i / edges / edges / edges]};
			bool fourth = number == FH_SYS_thread_switch || number == FH_SYS_frame_alloc || number == FH_SYS_tlb_flush ||
			              number == FH_SYS_env_ctl;
			if ((!fourth && a[3] > 1) || !harmless(number, a))
				continue;
			int64_t r = sys_call4(number, a[0], a[1], a[2], a[3]).rax;
			made++;
			good += r >= 0;
			if (!documented(number, r))
				count_bad(&t, "%s(%#lx, %#lx, %#lx, %#lx): %ld", call_names[number], a[0], a[1], a[2], a[3], r);
		}
	}
	none_bad(&t, "%lu calls with every combination of %u edges: what docs/abi.md lists (%lu times success)", made, edges, good);
}

/* Every opcode of one and two bytes, every 0F 01 and 0F AE: registers name the data page. */
static void opcodes(void)
{
	struct tally t = {0};
	struct raw *v = victim(64);
	unsigned faults = 0, ran = 0;

	for (unsigned i = 0; i < 4 * 256; i++) {
		const unsigned char first[] = {i & 255, 0x0f, 0x0f, 0x0f}, second[] = {0x3b, i & 255, 0x01, 0xae};
		unsigned k = i / 256;
		unsigned char code[] = {first[k], second[k], k < 2 ? 0x3b : i & 255, 0x00, 0x00};
		struct fh_regs regs = raw_regs(v, 0);
		raw_code(v, code, k == 0 ? 2 : sizeof(code));
		for (unsigned r = 0; r < 15; r++)
			((uint64_t *)&regs)[r] = raw_va(v, RAW_DATA) + 2048;
		regs.rax = 99; /* no call */
		unsigned state = raw_run(v, &regs, 20);
		if (state == FH_FAULTED && v->view->regs.vector < 32)
			faults++;
		else if (state == FH_STOPPED || state == FH_READY || state == FH_SLEEPING)
			ran++;
		else
			count_bad(&t, "%02x %02x %02x: state %u, vector %lu", code[0], code[1], code[2], state, v->view->regs.vector);
		thread_stop(v->name, 0);
	}
	none_bad(&t, "1024 opcodes: %u are faults of the program, the others run", faults);
	ok(faults > 300 && ran > 50, "among them both");

	/* The ones that only a kernel may have. */
	static const struct {
		const char *bytes;
		unsigned n, vector, other;
	} kernel[] = {
#define I(bytes, ...) {bytes, sizeof(bytes) - 1, __VA_ARGS__}
	    I("\xf4", 13, 13), I("\xfa", 13, 13), I("\xfb", 13, 13), I("\xec", 13, 13), I("\xee", 13, 13), I("\xe6\xf4", 13, 13), I("\x6c", 13, 13),
	    I("\x0f\x30", 13, 13), I("\x0f\x32", 13, 13), I("\x0f\x01\x13", 13, 13), I("\x0f\x01\x1b", 13, 13), I("\x0f\x00\xd0", 13, 13),
	    I("\x0f\x00\xd8", 13, 13), I("\x0f\x01\xf0", 13, 13), I("\x0f\x06", 13, 13), I("\x0f\x08", 13, 13), I("\x0f\x09", 13, 13),
	    I("\x0f\x01\x3b", 13, 13), I("\x0f\x22\xc0", 13, 13), I("\x0f\x22\xd8", 13, 13), I("\x0f\x22\xe0", 13, 13), I("\x0f\x20\xd8", 13, 13),
	    I("\x0f\x23\xf8", 13, 13), I("\x0f\x21\xf0", 13, 13), I("\x0f\x01\xf8", 13, 13), I("\x48\x0f\x07", 13, 6), I("\x48\x0f\x35", 13, 6),
	    I("\x0f\x34", 13, 6), I("\x0f\x01\xd1", 13, 6), I("\x0f\x0b", 6, 6), I("\x31\xc9\xf7\xf1", 0, 0), I("\xcc", 3, 3), I("\xf1", 1, 6),
	    I("\x87\xdb\x0f\x0b", 6, 6), /* xchg ebx, ebx: nothing */
	};
	t.bad = 0;
	for (unsigned i = 0; i < sizeof(kernel) / sizeof(*kernel); i++) {
		struct fh_regs regs = raw_regs(v, 0);
		regs.rbx = regs.rsi = regs.rdi = raw_va(v, RAW_DATA);
		either(&t, vector_of(v, kernel[i].bytes, kernel[i].n, &regs), kernel[i].vector, kernel[i].other, "instruction %u", i);
	}
	for (unsigned n = 0; n < 256; n++) { /* int n: gates are the kernel's, but for 3 and 4 */
		const unsigned char code[] = {0xcd, (unsigned char)n};
		either(&t, vector_of(v, code, 2, NULL), n == 3 || n == 4 ? n : 13, n == 3 || n == 4 ? n : 13, "int %u", n);
	}
	none_bad(&t, "hlt, in, out, wrmsr, lgdt, mov cr, sysret, sysenter, ud2, division by 0, int 0 to 255 and others: each its own fault");
	victim_end(v, &t);
}

void attack(void)
{
	numbers();
	arguments();
	opcodes();
}
