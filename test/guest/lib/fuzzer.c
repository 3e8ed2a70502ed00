/* fuzzer.c - see fuzzer.h. */
#include "fuzzer.h"

#include <string.h>

#include "errors.h"
#include "tap.h"

#define WORD 0xf0220f0220f0220ful /* what is written through windows */
#define LOST 32u
#define RETURNING -1ul /* in w->calling: a return to a context made up, or to an old one */

/* ---- Errors and histograms ---- */

static const short errors[] = {
#define FH_X(name, number, text) number,
    FH_ERRORS(FH_X)
#undef FH_X
};
_Static_assert(sizeof(errors) / sizeof(errors[0]) == FUZZ_DONE, "a column for each error");

int fuzz_error(unsigned column) { return errors[column]; }

unsigned fuzz_column(int64_t result)
{
	for (unsigned i = 0; result < 0 && i < FUZZ_DONE; i++)
		if (errors[i] == -result)
			return i;
	return FUZZ_DONE;
}

bool fuzz_documented(unsigned call, unsigned column)
{
	static const struct { unsigned char call, error; } list[] = {
#define FH_X(name, error) {FH_SYS_##name, FH_##error},
	    FH_CALL_ERRORS(FH_X)
#undef FH_X
	};

	for (unsigned i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		if (list[i].call == call && list[i].error == errors[column])
			return true;
	return call == FH_NSYSCALLS && errors[column] == FH_ENOSYS;
}

/* ---- Faults, and where they land ---- */

__asm__(".pushsection .text.fuzz,\"ax\"\n"
        ".globl fuzz_lands, fuzz_spin, fuzz_yield, fuzz_ints\n"
        /* 16 bytes for each place; all registers may be garbage */
        "fuzz_lands: .set place, 0; .rept 9; .balign 16; movl $place, %edi; jmp fuzz_land; .set place, place + 1; .endr\n"
        "fuzz_land: cld; incl %edi; shll $12, %edi; movabsq $0x300000000000, %rax; addq %rax, %rdi\n"
        "movq (%rdi), %rsp; call fuzz_landed\n"
        "fuzz_spin: pause; jmp fuzz_spin\n"
        "fuzz_yield: xorl %eax, %eax; xorl %edi, %edi; xorl %esi, %esi; xorl %edx, %edx; xorl %r10d, %r10d; syscall\n"
        "jmp fuzz_yield\n"
        /* `int n; ret`, 4 bytes for each n */
        "fuzz_ints: .set n, 0; .rept 256; .balign 4; .byte 0xcd, n, 0xc3; .set n, n + 1; .endr\n"
        ".popsection\n");
extern const char fuzz_lands[], fuzz_spin[], fuzz_yield[], fuzz_ints[];
_Static_assert(FUZZ_VA == 0x300000000000ul, "fuzz_land has it");

va_t fuzz_landing(unsigned place) { return (va_t)fuzz_lands + 16 * place; }

/* ---- Choices ---- */

static uint64_t draw(struct fuzz *w, uint64_t n)
{
	uint64_t k = random_below(&w->random, n);

	if (w->drawn >= FUZZ_HASHED)
		return k;
	w->choices = random_begin(w->choices, n, k);
	if (++w->drawn == FUZZ_HASHED && w->turn <= FUZZ_KEPT)
		w->chose[w->turn - 1] = (uint8_t)(1 + w->choices % 255);
	return k;
}

static void begin_turn(struct fuzz *w)
{
	w->random = random_begin(w->key, ++w->turn, 0);
	w->drawn = w->choices = 0;
}

static const struct fuzz_board *board(void) { return fuzz_board(); }

static uint64_t edge(struct fuzz *w)
{
	static const uint64_t edges[] = {
	    0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 257, 510, 511, 512, 513, 1023, 1024, 2048, 4080, 4088, 4095,
	    4096, 4097, 8192, 0xffff, 1ul << 24, (1ul << 27) - 1, 1ul << 27, 1ul << 31, (1ul << 31) - 1, (1ul << 32) - 1, 1ul << 32,
	    (1ul << 37) - 1, 1ul << 46, 0x7ffffffff000, 0x7fffffffffff, 0x800000000000, 0xffff7fffffffffff, 0xffff800000000000,
	    FH_KERNEL_BASE - FH_PAGE, FH_KERNEL_BASE - 1, FH_KERNEL_BASE, 0xffffffff80000000, 1ul << 52, 1ul << 62, 1ul << 63,
	    (1ul << 63) - 1, -1ul, -2ul, -8ul, -16ul, -4096ul, -4097ul, 0x5000000, 0xfee00, 0xa0, 0xb8, 0x100,
	};
	uint64_t near = board()->nframes;

	switch (draw(w, 8)) {
	case 0: return 1ul << draw(w, 64);
	case 1: return near - 2 + draw(w, 4);
	case 2: return draw(w, -1ul);
	default: return edges[draw(w, sizeof(edges) / sizeof(edges[0]))];
	}
}

static uint64_t state_of(pfn_t f) { return f < board()->nframes ? frame_record(f)->state : 0; }
static pfn_t env_of(const struct fuzz *w) { return fh_name_pfn(board()->place[w->place].env); }
static pfn_t arena(struct fuzz *w) { return board()->arena + draw(w, board()->narena); }

/* A frame of the arena that `fits`, mostly. */
static pfn_t find(struct fuzz *w, bool (*fits)(const struct fuzz *, pfn_t, uint64_t), uint64_t arg)
{
	pfn_t f = arena(w);

	for (unsigned i = 0; i < board()->narena; i++) {
		if (fits(w, f, arg))
			return f;
		f = f + 1 < board()->arena + board()->narena ? f + 1 : board()->arena;
	}
	return f;
}

static bool of_type(const struct fuzz *w, pfn_t f, uint64_t type)
{
	(void)w;
	return fh_type(state_of(f)) == type;
}
static bool my_type(const struct fuzz *w, pfn_t f, uint64_t type)
{
	return of_type(w, f, type) && fh_owner(state_of(f)) == env_of(w);
}
static bool granted(const struct fuzz *w, pfn_t f, uint64_t type)
{
	return (type == FH_NTYPES || of_type(w, f, type)) && frame_record(f)->tenant == board()->place[w->place].env &&
	       !of_type(w, f, FH_FREE);
}

static pfn_t mostly_mine(struct fuzz *w, unsigned type) { return find(w, draw(w, 5) ? my_type : of_type, type); }

/* A frame of a worker's, not in the arena. */
static pfn_t of_place(struct fuzz *w, unsigned place)
{
	const struct fuzz_place *p = &board()->place[place];
	unsigned n = 0;

	while (n < FUZZ_FRAMES && p->frame[n])
		n++;
	uint64_t i = draw(w, FUZZ_FRAMES);
	return n ? p->frame[i % n] : i;
}

static pfn_t any_frame(struct fuzz *w)
{
	uint64_t k = draw(w, 32);

	return k < 20 ? arena(w) : k < 21 ? of_place(w, (unsigned)w->place) : k < 25 ? of_place(w, (unsigned)draw(w, FUZZ_PLACES + 1)) :
	       k < 28 ? board()->special[draw(w, board()->nspecial)] : k < 30 ? draw(w, board()->nframes) : edge(w);
}

/* A name of an env, or of a thread: right ones, with a wrong serial, without, of what isn't one. */
static uint64_t name(struct fuzz *w, bool thread)
{
	const struct fuzz_place *p = &board()->place[draw(w, FUZZ_PLACES + 1)];
	uint64_t right = thread ? p->thread : p->env;

	switch (draw(w, 12)) {
	case 0: return 0;
	case 1: return fh_name_pfn(right);
	case 2: return right ^ 1ul << (FH_PFN_BITS + draw(w, 37));
	case 3: return any_frame(w);
	case 4: return fh_name(any_frame(w), draw(w, 1ul << 37));
	case 5: return thread ? board()->place[w->place].thread : board()->place[w->place].env;
	case 6:
	case 7:
	case 8: return mostly_mine(w, thread ? FH_THREAD : FH_ENV);
	default: return right;
	}
}

static uint64_t any(struct fuzz *w)
{
	switch (draw(w, 5)) {
	case 0: return any_frame(w);
	case 1: return name(w, draw(w, 2));
	case 2: return draw(w, 70);
	default: return edge(w);
	}
}

static uint64_t flip(struct fuzz *w, uint64_t v)
{
	for (uint64_t k = draw(w, 6) ? 0 : 1 + draw(w, 3); k; k--)
		v ^= 1ul << draw(w, 64);
	return v;
}

static uint64_t count(struct fuzz *w) { return draw(w, 3) ? 1 + draw(w, 4) : draw(w, 3) ? draw(w, 70) : edge(w); }

/* ---- Calls ---- */

struct call { uint64_t number, arg[4]; };

static void *page(const struct fuzz *w, unsigned i) { return (void *)(w->stack_top + (i - RAW_STACK - 1) * FH_PAGE); }
static struct fh_op *batch(const struct fuzz *w) { return page(w, RAW_BATCH); }
static struct fh_upcall *upcall(const struct fuzz *w) { return page(w, RAW_UPCALL); }

static struct fh_op operation(struct fuzz *w, bool many)
{
	static const unsigned char leaf_ops[] = {
	    FH_OP_SET, FH_OP_SET, FH_OP_SET, FH_OP_NARROW, FH_OP_PROTECT, FH_OP_CLEAR, FH_OP_HARVEST, FH_OP_CLAIM, FH_OP_CLAIM,
	    FH_OP_UNMAP_FREE, FH_OP_UNMAP_FREE, FH_OP_READ,
	};
	static const unsigned char link_ops[] = {
	    FH_OP_SET, FH_OP_SET, FH_OP_NARROW, FH_OP_PROTECT, FH_OP_CLEAR, FH_OP_LINK_NEW, FH_OP_LINK_NEW, FH_OP_UNLINK_FREE,
	    FH_OP_UNLINK_FREE, FH_OP_CLEAR, FH_OP_SET, FH_OP_HARVEST,
	};
	uint64_t k = draw(w, 16);
	unsigned type = k < 9 ? FH_PT1 : k < 13 ? FH_PT2 : k < 15 ? FH_PT3 : FH_PT4, index = (unsigned)draw(w, 8);
	pfn_t t = mostly_mine(w, type);
	if (draw(w, 4) == 0) { /* the worker's own tree, where windows stand */
		t = board()->place[w->place].frame[FUZZ_PT2], type = FH_PT2, index = FUZZ_WINDOW_SLOT + index % FUZZ_WINDOWS;
		if (draw(w, 60) == 0) /* anywhere in it: mostly the last thing it does */
			t = of_place(w, (unsigned)w->place), index = (unsigned)draw(w, 512);
	} else if (draw(w, 12) == 0)
		t = any_frame(w);
	unsigned op = type == FH_PT1 ? leaf_ops[draw(w, sizeof(leaf_ops))] : link_ops[draw(w, sizeof(link_ops))];
	if (draw(w, 16) == 0)
		op = (unsigned)draw(w, 16);
	bool claims = op == FH_OP_CLAIM || op == FH_OP_LINK_NEW;
	pfn_t f = claims ? find(w, of_type, FH_FREE) : type == FH_PT1 ? mostly_mine(w, FH_DATA) :
	          draw(w, 3) ? mostly_mine(w, type - 1) : find(w, granted, type - 1);
	if (draw(w, 8) == 0)
		f = any_frame(w);
	uint64_t e = f << 12 | FH_P | FH_U | (draw(w, 3) ? FH_W : 0) | (type == FH_PT1 && draw(w, 4) ? FH_NX : 0);
	if (op >= FH_OP_CLEAR && op <= FH_OP_UNLINK_FREE && !claims)
		e = draw(w, 8) ? 0 : edge(w) & ~FH_P;
	if (draw(w, 40) == 0) /* a large page, mostly of the ownership table */
		e |= FH_PS | FH_NX;
	if (draw(w, 30) == 0)
		e = edge(w);
	if (draw(w, 40) == 0)
		index = draw(w, 2) ? 508 + (unsigned)draw(w, 4) : (unsigned)draw(w, 512);
	unsigned n = !many || draw(w, 3) ? 1 : draw(w, 4) ? 1 + (unsigned)draw(w, 16) : (unsigned)draw(w, 1024);
	uint64_t flags = draw(w, 3) ? 0 : draw(w, 8) << 4, what = fh_what(op, flags, t, index, n);
	return (struct fh_op){draw(w, 40) ? what : flip(w, what), flip(w, e)};
}

/* Put operations into the batch frame, from the one with this index on. */
static void fill_batch(struct fuzz *w, uint64_t from, uint64_t n)
{
	struct fh_op *ops = batch(w);

	for (uint64_t i = from; i < from + n && i < FH_BATCH_OPS; i++)
		ops[i] = operation(w, true);
	if (draw(w, 30) == 0)
		ops[draw(w, FH_BATCH_OPS)] = (struct fh_op){edge(w), edge(w)};
}

/* Words that are good for nothing, and some that are. */
static void fill_regs(struct fuzz *w, struct fh_regs *regs, uint64_t rip)
{
	uint64_t *words = (uint64_t *)regs;

	for (unsigned i = 0; i < sizeof(*regs) / 8; i++)
		words[i] = edge(w);
	regs->rip = draw(w, 8) ? rip : edge(w);
	regs->rsp = draw(w, 3) ? w->stack_top : edge(w);
	regs->rflags = draw(w, 2) ? 2 : draw(w, 1ul << 22) & ~(draw(w, 4) ? 0x100ul : 0); /* the trap flag, seldom */
}

static void fill_thread(struct fuzz *w, uint64_t offset, bool self)
{
	struct fh_thread_args *a = (struct fh_thread_args *)((char *)batch(w) + offset);
	const struct fuzz_place *p = &board()->place[w->place];

	if (offset > FH_PAGE - sizeof(*a) || offset % 8)
		return;
	fill_regs(w, &a->regs, (uint64_t)(draw(w, 2) ? fuzz_spin : fuzz_yield));
	a->fields = draw(w, 4) ? draw(w, 256) : edge(w);
	if (self && draw(w, 16))
		a->fields &= ~(FH_SET_REGS | FH_SET_ROOT | FH_SET_BATCH | FH_SET_UPCALL | FH_SET_NATIVE | FH_SET_UPCALL_ROOT);
	a->fs_base = edge(w), a->gs_base = edge(w);
	a->root = draw(w, 4) ? p->frame[FUZZ_ROOT] : draw(w, 2) ? mostly_mine(w, FH_PT4) : any_frame(w);
	a->upcall_root = draw(w, 3) ? 0 : draw(w, 2) ? mostly_mine(w, FH_PT4) : p->frame[FUZZ_ROOT];
	a->upcall = draw(w, 3) ? mostly_mine(w, FH_DATA) : any_frame(w);
	a->batch = draw(w, 3) ? mostly_mine(w, FH_DATA) : any_frame(w);
	a->keeper = draw(w, 3) ? 0 : name(w, true), a->keeper_bits = edge(w);
	a->native_lo = draw(w, 2) ? 0 : edge(w), a->native_hi = draw(w, 2) ? 0 : draw(w, 2) ? FUZZ_VA : edge(w);
}

static struct call choose(struct fuzz *w)
{
	static const unsigned char numbers[] = {
	    FH_SYS_thread_switch, FH_SYS_thread_ctl, FH_SYS_thread_ctl, FH_SYS_frame_alloc, FH_SYS_frame_alloc, FH_SYS_frame_free,
	    FH_SYS_frame_free, FH_SYS_frame_retype, FH_SYS_frame_retype, FH_SYS_frame_retype, FH_SYS_frame_retype, FH_SYS_frame_grant,
	    FH_SYS_frame_grant, FH_SYS_frame_take, FH_SYS_frame_sync, FH_SYS_pt_set, FH_SYS_pt_set, FH_SYS_pt_set, FH_SYS_pt_set, FH_SYS_pt_set,
	    FH_SYS_pt_set, FH_SYS_pt_update, FH_SYS_pt_update, FH_SYS_pt_update, FH_SYS_tlb_flush, FH_SYS_env_ctl, FH_SYS_env_ctl, FH_SYS_env_ctl,
	    FH_SYS_thread_write, FH_SYS_thread_write, FH_SYS_cpu_slice, FH_SYS_console_read,
	};
	static const unsigned char types[] = {FH_PT1, FH_PT1, FH_PT1, FH_PT1, FH_PT2, FH_PT2, FH_PT3, FH_PT4, FH_ENV, FH_ENV, FH_THREAD, FH_THREAD, FH_DATA, FH_DATA,
	                                      FH_DATA, FH_DATA};
	struct call c = {.number = numbers[draw(w, sizeof(numbers))]};
	uint64_t *a = c.arg, n;
	struct fh_op o;

	switch (c.number) {
	case FH_SYS_thread_switch:
		a[0] = draw(w, 3) ? name(w, true) : 0;
		a[1] = a[0] && draw(w, 2) ? 1ul << draw(w, 57) : 0;
		a[2] = draw(w, 2) ? 0 : 1ul << draw(w, 57);
		a[3] = draw(w, 2) ? 0 : draw(w, 3) ? 1 : draw(w, 2) ? cpu_tsc() + board()->tsc_khz / 16 : edge(w);
		break;
	case FH_SYS_thread_ctl: a[0] = name(w, true), a[1] = draw(w, 8) ? draw(w, 2) : draw(w, 4), a[2] = any(w); break;
	case FH_SYS_frame_alloc:
		a[0] = draw(w, 3) ? find(w, of_type, FH_FREE) : any_frame(w), a[1] = count(w);
		a[2] = draw(w, 2) ? 0 : name(w, false), a[3] = draw(w, 8) ? draw(w, 2) : edge(w);
		break;
	case FH_SYS_frame_free: a[0] = draw(w, 3) ? mostly_mine(w, FH_DATA) : any_frame(w), a[1] = count(w); break;
	case FH_SYS_frame_retype:
		a[1] = types[draw(w, sizeof(types))];
		a[0] = draw(w, 5) == 0 ? any_frame(w) : mostly_mine(w, a[1] != FH_DATA ? FH_DATA : FH_PT1 + (unsigned)draw(w, 6));
		break;
	case FH_SYS_frame_grant:
		a[0] = draw(w, 4) == 0 ? any_frame(w) : mostly_mine(w, draw(w, 2) ? FH_PT1 : draw(w, 2) ? FH_DATA : FH_PT2);
		a[1] = draw(w, 3) == 0 ? 0 : draw(w, 2) ? board()->place[draw(w, FUZZ_PLACES)].env : name(w, false);
		break;
	case FH_SYS_frame_take: a[0] = draw(w, 4) ? find(w, granted, FH_NTYPES) : any_frame(w), a[1] = count(w); break;
	case FH_SYS_frame_sync: a[0] = any_frame(w), a[1] = count(w); break;
	case FH_SYS_pt_set:
		o = operation(w, false);
		a[0] = o.what, a[1] = o.entry;
		a[2] = draw(w, 2) ? 0 : draw(w, 2) ? FUZZ_WINDOW_SLOT * PLAN_LARGE + draw(w, FUZZ_WINDOWS) * PLAN_LARGE : edge(w);
		break;
	case FH_SYS_pt_update:
		n = draw(w, 4) ? 0 : draw(w, FH_BATCH_OPS), a[1] = draw(w, 4) ? 1 + draw(w, 6) : count(w);
		fill_batch(w, n, a[1]);
		a[0] = n * sizeof(struct fh_op);
		break;
	case FH_SYS_tlb_flush:
		a[0] = draw(w, 3) ? 0 : draw(w, 2) ? mostly_mine(w, FH_PT4) : any_frame(w);
		a[1] = draw(w, 4), a[2] = edge(w), a[3] = draw(w, 3) ? count(w) : 0;
		break;
	case FH_SYS_env_ctl:
		a[0] = name(w, false), a[1] = draw(w, 10);
		if (a[1] == FH_ENV_FREEZE && draw(w, 4))
			a[0] = mostly_mine(w, FH_ENV);
		if (a[1] == FH_ENV_QUOTA)
			a[2] = draw(w, 8) ? draw(w, 9) - 4 : edge(w);
		else if (a[1] == FH_ENV_CALLER)
			a[2] = draw(w, 18), a[3] = name(w, false);
		else
			a[2] = a[1] == FH_ENV_LISTENER ? name(w, true) : any(w), a[3] = any(w);
		break;
	case FH_SYS_thread_write:
		a[0] = draw(w, 3) ? mostly_mine(w, FH_THREAD) : draw(w, 3) ? 0 : name(w, true);
		a[1] = draw(w, 6) ? draw(w, 8) * 8 : edge(w);
		fill_thread(w, a[1], a[0] == 0 || a[0] == board()->place[w->place].thread);
		break;
	case FH_SYS_cpu_slice:
		a[0] = draw(w, 4) ? board()->slot_cpu : any_frame(w);
		a[1] = draw(w, 4) ? board()->slot + draw(w, 2) : draw(w, 2) ? draw(w, 256) : edge(w), a[2] = name(w, true);
		break;
	default: a[0] = any(w), a[1] = any(w), a[2] = any(w);
	}
	if (draw(w, 8) == 0)
		a[draw(w, 4)] = any(w);
	if (draw(w, 40) == 0)
		c.number = draw(w, 2) ? edge(w) : draw(w, FH_NSYSCALLS);
	if (c.number == FH_SYS_env_ctl && a[1] == FH_ENV_AUDIT && draw(w, 100)) /* it stops all CPUs */
		a[1] = 8;
	if (c.number == FH_SYS_console_write) { /* nothing that looks like a test's line */
		memset(batch(w), draw(w, 8) ? '~' : '\r', FH_PAGE);
		a[1] = draw(w, 4) ? draw(w, 16) : a[1];
	}
	return c;
}

/* Could the kernel have answered this? */
static bool possible(const struct call *c, int64_t r)
{
	uint64_t n = c->arg[1];
	unsigned call = c->number < FH_NSYSCALLS ? (unsigned)c->number : FH_NSYSCALLS;

	if (r < 0)
		return fuzz_column(r) != FUZZ_DONE && fuzz_documented(call, fuzz_column(r));
	switch (c->number) {
	case FH_SYS_frame_alloc:
	case FH_SYS_frame_free:
	case FH_SYS_frame_take:
	case FH_SYS_frame_sync: return r >= 1 && (uint64_t)r <= (n < 64 ? n : 64);
	case FH_SYS_console_write: return (uint64_t)r <= (n < 128 ? n : 128);
	case FH_SYS_pt_set: return r == FH_OP_DONE || r == FH_OP_KEPT;
	case FH_SYS_thread_switch: return !((uint64_t)r & ~FH_BELLS_USER);
	case FH_SYS_console_read:
	case FH_SYS_machine_halt: return false; /* it is not root, nor may it read the console */
	default: return r == 0 && call != FH_NSYSCALLS;
	}
}

static void count_call(struct fuzz *w, uint64_t number, unsigned column)
{
	w->calls[number < FH_NSYSCALLS ? number : FH_NSYSCALLS][column]++;
}

/* The call is looked up where nobody but this worker can write: whoever has authority over it may map its stack. */
static void check_answer(struct fuzz *w, int64_t r)
{
	uint64_t *last = w->last[(w->steps - 1) % FUZZ_LAST];
	struct call c = {last[0], {last[1], last[2], last[3], last[4]}};
	unsigned column = fuzz_column(r);

	last[5] = (uint64_t)r;
	if (r == (int64_t)c.number) /* it became an upcall that stopped the worker, and somebody has started that again */
		return;
	count_call(w, c.number, column);
	if (c.number == FH_SYS_pt_set && fh_what_op(c.arg[0]) < FH_NOPS)
		w->ops[fh_what_op(c.arg[0])][column]++;
	if (!possible(&c, r) && w->bad++ == 0)
		memcpy(w->wrong, last, sizeof(w->wrong));
}

static void do_call(struct fuzz *w)
{
	struct call c = choose(w);
	uint64_t *last = w->last[w->steps++ % FUZZ_LAST];

	last[0] = c.number, last[1] = c.arg[0], last[2] = c.arg[1], last[3] = c.arg[2], last[4] = c.arg[3];
	last[5] = 1; /* no result yet */
	w->calling = c.number + 1;
	int64_t r = sys_call4(last[0], last[1], last[2], last[3], last[4]).rax;
	bool mine = w->calling == w->last[(w->steps - 1) % FUZZ_LAST][0] + 1; /* else an old context has come back to life here */
	w->calling = w->lost = 0;
	if (mine)
		check_answer(w, r);
}

/* ---- What isn't a call ---- */

/* Through the windows: reads, and writes of a word that nobody but a window's owner may ever see. */
static void touch(struct fuzz *w)
{
	va_t window = (FUZZ_WINDOW_SLOT + draw(w, FUZZ_WINDOWS)) * PLAN_LARGE;
	volatile uint64_t *p = (uint64_t *)(window + draw(w, 8) * FH_PAGE + draw(w, 512) * 8);

	w->touches++;
	if (draw(w, 2)) {
		(void)*p;
		return;
	}
	*p = WORD;
	w->poked++;
}

static void fault(struct fuzz *w)
{
	uint64_t va = draw(w, 2) ? edge(w) : draw(w, 2) ? edge(w) << 12 : fuzz_landing((unsigned)w->place);
	unsigned n = (unsigned)draw(w, 256);

	w->faults++;
	switch (draw(w, 8)) {
	case 0: __asm__ volatile("ud2"); break;
	case 1: __asm__ volatile("hlt"); break;
	case 2: __asm__ volatile("xorl %%ecx, %%ecx; divl %%ecx" : : : "rax", "rcx", "rdx"); break;
	case 3: __asm__ volatile("inb $0x60, %%al" : : : "rax"); break;
	case 4: *(volatile uint64_t *)va = WORD; break;
	case 5: __asm__ volatile("jmp *%0" : : "r"(va)); break;
	case 6: (void)*(volatile uint64_t *)va; break;
	default: __asm__ volatile("subq $128, %%rsp; call *%0; addq $128, %%rsp" : : "r"(fuzz_ints + 4 * n) : "memory"); break;
	}
}

/* Words of the upcall frame that the kernel reads; then it may be entered, at once or later. */
static void forge(struct fuzz *w)
{
	struct fh_upcall *u = upcall(w);

	switch (draw(w, 8)) {
	case 0: u->depth = edge(w), u->max_depth = draw(w, 2) ? -1ul : u->max_depth; break;
	case 1: u->max_depth = edge(w); break;
	case 2: u->mask = edge(w); break;
	case 3: u->stack_top = edge(w), u->stack_stride = edge(w); break;
	case 4: u->self_va = edge(w); break;
	case 5: u->resume_lo = draw(w, 2) ? 0 : edge(w), u->resume_hi = edge(w); break;
	case 6: u->entry = draw(w, 4) ? u->entry : edge(w), u->thread = u->env = u->cpu = edge(w); break;
	default: u->pending = edge(w);
	}
	if (draw(w, 3) == 0)
		fault(w);
}

/* FH_THREAD_RETURN to a context made up. */
static void give_back(struct fuzz *w)
{
	struct fh_upcall *u = upcall(w);
	unsigned depth = 1 + (unsigned)draw(w, FH_UPCALL_SLOTS);
	struct fh_context *c = &u->slot[depth - 1];

	fill_regs(w, &c->regs, fuzz_landing((unsigned)w->place));
	c->root = draw(w, 8) ? board()->place[w->place].frame[FUZZ_ROOT] : any_frame(w);
	u->depth = draw(w, 8) ? depth : edge(w);
	w->steps++;
	w->calling = RETURNING;
	count_call(w, FH_SYS_thread_ctl, fuzz_column(sys_thread_ctl(draw(w, 4) ? 0 : name(w, true), FH_THREAD_RETURN, 0)));
	w->calling = 0;
}

/* Spend the slice's forced flushes: whoever has to wait for quiet is then refused, and must put back what it has begun. */
static void spend(struct fuzz *w)
{
	for (int64_t r = 0; r == 0 && w->steps < w->target; w->steps++) {
		r = sys_tlb_flush(0, FH_TLB_ALL, 0, 0);
		count_call(w, FH_SYS_tlb_flush, fuzz_column(r));
	}
}

/* At the begin, after a fault, a doorbell, a context made up; on an empty stack. */
__attribute__((used)) _Noreturn void fuzz_landed(struct fuzz *w)
{
	struct fh_upcall *u = upcall(w);
	const struct fh_regs *regs = &u->slot[(u->depth - 1) % FH_UPCALL_SLOTS].regs;
	bool interrupted = w->calling == FH_SYS_thread_switch + 1 && regs->vector == FH_VEC_DOORBELL && (int64_t)regs->rax == -FH_EINTR;

	w->landed++;
	if (__builtin_ia32_readeflags_u64() & 0x7000 && w->bad++ == 0) /* IOPL, NT: from a context made up */
		w->wrong[0] = -1ul;
	if (w->calling)
		count_call(w, w->calling == RETURNING ? FH_SYS_thread_ctl : w->calling - 1, interrupted ? fuzz_column(-FH_EINTR) : FUZZ_AWAY);
	w->calling = 0;
	if (w->lost++ > LOST) { /* its calls have become upcalls, say: the fuzzer sets it up anew */
		w->lost = 0;
		u->max_depth = 0;
		__asm__ volatile("ud2");
	}
	w->random = random_begin(w->key, w->turn, 1); /* a landing is no turn */
	w->drawn = FUZZ_HASHED;
	u->entry = fuzz_landing((unsigned)w->place);
	u->resume_lo = u->resume_hi = 0;
	u->depth = 0, u->max_depth = 1 + draw(w, FH_UPCALL_SLOTS);
	u->mask = draw(w, 2) ? -1ul : edge(w);
	for (;;) {
		if (w->steps >= w->target) {
			sys_thread_switch(0, 0, 0, 0);
			w->lost = 0;
			continue;
		}
		begin_turn(w);
		uint64_t k = draw(w, 24), spends = draw(w, 4000) == 0;
		if (board()->ncpus > 1 && spends)
			spend(w);
		else if (k == 0)
			fault(w);
		else if (k == 1)
			forge(w);
		else if (k == 2)
			give_back(w);
		else if (k < 6)
			touch(w);
		else
			do_call(w);
	}
}
