/* 50: handlers and stacks that aren't there, upcalls past their depth, contexts with every bit forged. */
#include <string.h>

#include "hostile.h"

#define GP 13u
static struct raw *v;

/* Flags, cs, ss that a program starts with when its context says so: by thread_write, or by THREAD_RETURN. */
static void start(struct tally *t, struct fh_regs regs, bool by_return, const char *what, unsigned bit)
{
	raw_code(v, "\x9c\x58\x8c\xcb\x8c\xd1\x0f\x0b", 8); /* pushfq; pop rax; mov ebx, cs; mov ecx, ss; ud2 */
	unsigned state;
	if (by_return) {
		memcpy(v->page[RAW_CODE] + 64, "\x0f\x05\xf4", 3);
		struct fh_regs self = raw_regs(v, 64);
		v->upcall->slot[0] = (struct fh_context){.regs = regs, .root = v->root};
		v->upcall->depth = 1;
		self.rax = FH_SYS_thread_ctl, self.rsi = FH_THREAD_RETURN;
		state = raw_run(v, &self, 50);
	} else
		state = raw_run(v, &regs, 50);
	const volatile struct fh_regs *now = &v->view->regs;
	bool tf = regs.rflags & 0x100;
	if (state != FH_FAULTED || (now->vector != 6 && !(tf && now->vector == 1)))
		count_bad(t, "%s %u: state %u, vector %lu", what, bit, state, now->vector);
	else if (now->cs != 0x2b || now->ss != 0x23 || !(now->rflags & 0x200) || (now->rflags & 0x1a7000) ||
	         (now->vector == 6 && (now->rbx & 0xffff) != 0x2b))
		count_bad(t, "%s %u: cs %#lx, ss %#lx, flags %#lx", what, bit, now->cs, now->ss, now->rflags);
	else if (now->vector == 6 && ((now->rax & 0x1b7200) != 0x200 || (now->rax & ~0x240fd7ul)))
		count_bad(t, "%s %u: it sees flags %#lx", what, bit, now->rax);
	v->upcall->depth = 0;
}

static void forged(void)
{
	struct tally t = {0};

	for (unsigned way = 0; way < 2; way++) {
		for (unsigned bit = 0; bit < 64; bit++) {
			struct fh_regs regs = raw_regs(v, 0);
			regs.rflags ^= 1ul << bit;
			if (bit == 18)
				regs.rsp &= ~15ul; /* AC */
			start(&t, regs, way, "flag", bit);
			regs = raw_regs(v, 0);
			regs.rflags = ~(1ul << bit) & ~0x100ul;
			start(&t, regs, way, "all flags but", bit);
			regs = raw_regs(v, 0);
			regs.cs = 1ul << bit, regs.ss = ~(1ul << bit);
			start(&t, regs, way, "selector", bit);
			regs.cs = bit * 8 + 3, regs.ss = bit * 8;
			start(&t, regs, way, "selectors of entry", bit);
		}
	}
	none_bad(&t, "RFLAGS with each bit forged, and all but one; CS and SS likewise; by thread_write and THREAD_RETURN: IF, no "
	             "IOPL, NT, RF, VM, "
	             "and the user's own selectors (512 contexts)");
}

static void addresses(void)
{
	static const uint64_t odd[] = {FH_KERNEL_BASE,     0xffffffff80100000, ~0ul, 1ul << 47, 1ul << 63, 0xffff7fffffffffff,
	                               FH_KERNEL_BASE - 1, 0x7ffffffffffe,     0,    8,         WINDOW_VA, 0x0000800000000000};
	struct tally t = {0};

	for (unsigned i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
		for (unsigned kind = 0; kind < 6; kind++) {
			struct fh_regs regs = raw_regs(v, 0);
			raw_code(v, kind == 5 ? "\x0f\x05\x0f\x0b" : "\x0f\x0b", kind == 5 ? 4 : 2);
			memset(v->upcall, 0, 256);
			v->upcall->self_va = kind == 2 ? odd[i] : raw_va(v, RAW_UPCALL);
			v->upcall->entry = kind == 0 ? odd[i] : raw_va(v, RAW_CODE);
			v->upcall->stack_top = kind == 1 ? odd[i] : raw_stack_top(v);
			v->upcall->stack_stride = kind == 1 ? odd[i] >> 3 : 64;
			v->upcall->max_depth = 2;
			if (kind == 3 || kind == 5)
				regs.rsp = odd[i];
			if (kind == 4) { /* a context to return to */
				raw_code(v, "\x0f\x05\x0f\x0b", 4);
				v->upcall->slot[0] = (struct fh_context){.regs = raw_regs(v, 0), .root = v->root};
				v->upcall->slot[0].regs.rip = odd[i];
				v->upcall->depth = 1, v->upcall->max_depth = 0;
				regs.rax = FH_SYS_thread_ctl, regs.rsi = FH_THREAD_RETURN;
			}
			want(&t, raw_run(v, &regs, 50), FH_FAULTED, "kind %u, address %#lx", kind, odd[i]);
		}
	}
	v->upcall->max_depth = 0;
	none_bad(&t, "entry, handler's stack, self address, stack, a context's rip at kernel, non-canonical and empty addresses: the "
	             "thread stops FAULTED");

	t.bad = 0;
	for (unsigned i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
		struct fh_thread_args a = {.fields = FH_SET_BASES, .fs_base = odd[i]};
		bool canonical = (int64_t)(odd[i] << 16) >> 16 == (int64_t)odd[i];
		want(&t, raw_write(v, &a), canonical ? 0 : -FH_EINVAL, "FS base %#lx", odd[i]);
		a = (struct fh_thread_args){.fields = FH_SET_BASES, .gs_base = odd[i]};
		want(&t, raw_write(v, &a), canonical ? 0 : -FH_EINVAL, "GS base %#lx", odd[i]);
		want(&t, vector_of(v, "\x0f\x0b", 2, NULL), 6, "with that base");
		a = (struct fh_thread_args){.fields = FH_SET_REGS, .regs = raw_regs(v, 0)};
		a.regs.rip = odd[i];
		want(&t, raw_write(v, &a), odd[i] >= FH_KERNEL_BASE || !canonical ? -FH_EINVAL : 0, "rip %#lx", odd[i]);
	}
	struct fh_thread_args a = {.fields = FH_SET_BASES, .gs_base = raw_va(v, RAW_UPCALL)};
	want(&t, raw_write(v, &a), 0, "bases again");
	none_bad(&t, "bases and rip: EINVAL where not canonical, or the kernel's");
}

/* A system call in the last two bytes under the hole: sysret to the address behind it would fault in the kernel. */
static void last_bytes(void)
{
	struct tally t = {0};
	pfn_t page = frame_get(&frames_first, 1, 1, v->env, 0);
	char *here = page ? scratch_map(page, 1, RIGHT_R | RIGHT_W) : NULL;

	if (!here || space_map(&v->space, 0x7ffffffff000, page, 1, RIGHT_R | RIGHT_X) < 0)
		panic("no page under the hole");
	space_unpeek(&v->space);
	memcpy(here + FH_PAGE - 2, "\x0f\x05", 2);
	for (uint64_t number = 0; number < FH_NSYSCALLS + 2; number++) {
		struct fh_regs regs = raw_regs(v, 0);
		regs.rip = 0x7ffffffffffe, regs.rax = number, regs.rsi = 1ul << 40, regs.r10 = 1;
		want(&t, raw_run(v, &regs, 50), FH_FAULTED, "call %lu", number);
		want(&t, (int64_t)v->view->regs.vector, GP, "its vector");
		want(&t, (int64_t)v->view->regs.rip, 0x800000000000, "its rip");
	}
	scratch_put((va_t)here, 1);
	none_bad(&t, "every call from the last two bytes under the hole: a fault of the program's, not of sysret or iretq");
}

/* A slot's root is one of the thread's two, or the thread would run in whose space it likes. */
static void roots(void)
{
	const uint64_t odd[] = {0, 1, STAGE->root, STAGE->runner_root, pt4, v->root + 1, v->root | 1ul << 27, v->root | 1ul << 63, table_of(v, FH_PT3),
	                        data, free_frame(), info->table_pfn, info->nframes, 1ul << 27, ~0ul};
	struct tally t = {0};

	for (unsigned i = 0; i <= sizeof(odd) / sizeof(*odd); i++) {
		bool right = i == sizeof(odd) / sizeof(*odd);
		struct fh_regs regs = raw_regs(v, 0);
		raw_code(v, "\x0f\x05\x0f\x0b", 4); /* syscall; ud2 */
		v->upcall->slot[0] = (struct fh_context){.regs = raw_regs(v, 2), .root = right ? v->root : odd[i]};
		v->upcall->slot[0].regs.rax = 0x5eed;
		v->upcall->depth = 1, v->upcall->max_depth = 0;
		regs.rax = FH_SYS_thread_ctl, regs.rsi = FH_THREAD_RETURN;
		want(&t, raw_run(v, &regs, 50), FH_FAULTED, "root %u", i);
		want(&t, (int64_t)v->view->regs.vector, 6, "the vector, root %u", i);
		want(&t, (int64_t)v->view->regs.rax, right ? 0x5eed : -FH_EINVAL, "what THREAD_RETURN says, root %u", i);
	}
	v->upcall->depth = 0;
	none_bad(&t, "a context on another's root, on a free one, on what is none: EINVAL, and the thread goes on where it was");
}

static void depth(void)
{
	struct tally t = {0};

	for (unsigned i = 0; i < 64 + 20; i++) {
		uint64_t value = i < 64 ? 1ul << i : i - 64;
		for (unsigned kind = 0; kind < 3; kind++) {
			memset(v->upcall->libos_area, 0x77, sizeof(v->upcall->libos_area));
			v->upcall->entry = raw_va(v, RAW_CODE);
			v->upcall->depth = kind == 0 ? value : 0;
			v->upcall->max_depth = kind == 1 ? value : kind == 0 ? ~0ul : FH_UPCALL_SLOTS;
			struct fh_regs regs = raw_regs(v, 0);
			regs.rax = FH_SYS_thread_ctl, regs.rsi = FH_THREAD_RETURN;
			if (kind == 2)
				v->upcall->depth = value;
			raw_code(v, kind == 2 ? "\x0f\x05\x0f\x0b" : "\x0f\x0b", kind == 2 ? 4 : 2);
			want(&t, raw_run(v, &regs, 50), FH_FAULTED, "kind %u, value %#lx", kind, value);
			for (unsigned k = 0; k < 96; k++)
				if (v->upcall->libos_area[k] != 0x7777777777777777ul)
					count_bad(&t, "kind %u, value %#lx: a word behind the slots", kind, value);
		}
	}
	v->upcall->depth = v->upcall->max_depth = 0;
	none_bad(&t, "depth and max_depth with each bit, and all small values: 16 slots at most, nothing behind them is written");
}

/* MXCSR and the state's header: what a thread leaves in its registers the kernel saves and loads again. */
static void fpu(void)
{
	struct tally t = {0};
	uint32_t *word = (uint32_t *)v->page[RAW_DATA];

	for (unsigned bit = 0; bit < 32; bit++) {
		struct fh_regs regs = raw_regs(v, 0);
		memset(word, 0, 1024);
		word[0] = 0x1f80 ^ 1u << bit;
		regs.rdi = raw_va(v, RAW_DATA);
		unsigned got = vector_of(v, "\x0f\xae\x17\x0f\x0b", 5, &regs); /* ldmxcsr [rdi]; ud2 */
		if (got != 6 && got != GP)
			count_bad(&t, "ldmxcsr, bit %u: vector %u", bit, got);
		word[6] = word[0], word[0] = 0x37f; /* an FXSAVE image: MXCSR at 24 */
		got = vector_of(v, "\x48\x0f\xae\x0f\x0b\x0f\x0b", 4, &regs); /* fxrstor64 [rdi] */
		if (got >= 32 && got != 256)
			count_bad(&t, "fxrstor, bit %u: vector %u", bit, got);
		for (unsigned k = 0; k < 2; k++) { /* its header at 512: XSTATE_BV, XCOMP_BV, reserved */
			((uint64_t *)word)[64 + k] = 1ul << bit;
			got = vector_of(v, "\x48\x0f\xae\x2f\x0f\x0b", 6, &regs); /* xrstor64 [rdi] */
			want(&t, got, 6, "xrstor: there is none");
		}
		want(&t, vector_of(v, "\x0f\x0b", 2, NULL), 6, "the thread after that");
	}
	/* and with every exception unmasked and pending, the next switch of threads */
	for (unsigned i = 0; i < 40; i++) {
		word[0] = 0, word[1] = 0;
		struct fh_regs regs = raw_regs(v, 0);
		regs.rdi = raw_va(v, RAW_DATA);
		unsigned got =
			vector_of(v, "\x0f\xae\x17\xd9\x2f\xd9\xee\xd9\xee\xde\xf9\x0f\x0b", 13, &regs); /* ldmxcsr; fldcw; 0/0; ud2 */
		if (got != 6 && got != 16)
			count_bad(&t, "an x87 exception pending: vector %u", got);
	}
	none_bad(&t, "MXCSR's 32 bits by ldmxcsr and fxrstor, an x87 exception pending: at most a fault of its own; no xrstor, so no header");
}

/* iretd with VM set: a fault, but QEMU's interpreter goes to virtual-8086 mode, with any IOPL, and then pushes a CS whose last
 * bits are what one likes: it must not be taken for the kernel's. */
#define LOW 0x4000ul
static void virtual_8086(void)
{
	static const struct {
		const char *what, *code;
		size_t n;
	} codes[] = {{"ud2", "\x0f\x0b", 2}, {"jmp $", "\xeb\xfe", 2}, {"syscall", "\x0f\x05\x0f\x0b", 4}, {"sysenter", "\x0f\x34", 2},
	             {"int3", "\xcc\x0f\x0b", 3}, {"int 0x80", "\xcd\x80\x0f\x0b", 4}, {"hlt", "\xf4", 1}, {"cli; ud2", "\xfa\x0f\x0b", 3},
	             {"swapgs", "\x0f\x01\xf8", 3}, {"a read of memory", "\xa1\xfe\xff\x0f\x0b", 5}};
	struct tally t = {0};
	pfn_t page = frame_get(&frames_first, 1, 1, v->env, 0);
	char *here = page ? scratch_map(page, 1, RIGHT_R | RIGHT_W) : NULL;

	if (!here || space_map(&v->space, LOW, page, 1, RIGHT_R | RIGHT_W | RIGHT_X) < 0)
		panic("no page below 64 KiB");
	space_unpeek(&v->space);
	for (unsigned i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
		for (unsigned rpl = 0; rpl < 4; rpl++) {
			for (unsigned iopl = 0; iopl < 4; iopl++) { /* 1 and 3: with a handler */
				memset(here, 0x0b, FH_PAGE);
				memcpy(here + 16 * rpl, codes[i].code, codes[i].n);
				const uint32_t frame[] = {0, LOW / 16 + rpl, 0x20202u | iopl << 12, 0xf00, LOW / 16, 0x1020, 0x1030, 0x1040, 0x6000};
				memcpy(here + 0xf00, frame, sizeof(frame));
				struct fh_regs regs = raw_regs(v, 0);
				regs.rsp = LOW + 0xf00;
				raw_code(v, "\xcf\x0f\x0b", 3);
				v->upcall->entry = raw_va(v, RAW_CODE) + 1;
				v->upcall->stack_top = raw_stack_top(v), v->upcall->depth = 0, v->upcall->max_depth = iopl & 1;
				unsigned state = raw_run(v, &regs, 20);
				if (state != FH_FAULTED && state != FH_READY && state != FH_STOPPED)
					count_bad(&t, "%s, selector's last bits %u, IOPL %u: state %u", codes[i].what, rpl, iopl, state);
				raw_reset(v);
				v->upcall->depth = v->upcall->max_depth = 0;
				want(&t, vector_of(v, "\x0f\x0b", 2, NULL), 6, "the thread after that");
			}
		}
	}
	scratch_put((va_t)here, 1);
	none_bad(&t, "iretd to virtual-8086 mode, which isn't there: a fault of the program's own, at once or later");
}

void attack(void)
{
	struct tally t = {0};

	v = victim(200);
	forged();
	addresses();
	last_bytes();
	roots();
	depth();
	fpu();
	virtual_8086();
	victim_end(v, &t);
}
