/*
 * calls.c - garbage to every call (HOSTILE 53, 46): each returns, with success or with an error that docs/abi.md lists for
 * it; nobody else's memory changes; the kernel lives.
 *
 * The calls are made by a thread in a child env of five pages that may do to itself what it likes. It works through a page
 * of records that we fill and read; when it has made itself unable to run, it is buried and another takes its place.
 */
#include <stdio.h>
#include <string.h>

#include "cpus.h"
#include "documented.h"
#include "raw.h"
#include "tap.h"

struct record {
	uint64_t number, arg[4];
	int64_t result;
	uint64_t rdx, done;
};
#define RECORDS (FH_PAGE / sizeof(struct record))

/* rbx: the record; rbp: behind the last. */
__asm__(".pushsection .text.caller,\"ax\"\n"
        ".globl caller_begin, caller_end\n"
        "caller_begin:\n"
        "1:	mov (%rbx), %rax\n"
        "	mov 8(%rbx), %rdi\n"
        "	mov 16(%rbx), %rsi\n"
        "	mov 24(%rbx), %rdx\n"
        "	mov 32(%rbx), %r10\n"
        "	syscall\n"
        "	mov %rax, 40(%rbx)\n"
        "	mov %rdx, 48(%rbx)\n"
        "	movq $1, 56(%rbx)\n"
        "	add $64, %rbx\n"
        "	cmp %rbp, %rbx\n"
        "	jb 1b\n"
        "caller_end:\n"
        ".popsection\n");
extern const char caller_begin[], caller_end[];

#define QUOTA 200u
static struct raw r, sibling;
static pfn_t spare, pt1;     /* of r's env: a DATA frame that is mapped nowhere; the table of its pages */
static unsigned deaths, lost; /* envs that had to be buried; calls that did not return into their program */
static uint64_t made;         /* calls */

/* ---- The child ---- */

static void begin_child(void)
{
	int e = raw_new(&r, QUOTA);

	if (e < 0)
		panic("no child: %s", error_name(e));
	raw_code(&r, caller_begin, (size_t)(caller_end - caller_begin));
	spare = frame_get(&frames_first, 1, 1, r.env, 0);
	pt1 = frame_find(0, FH_PT1, r.env);
}

static void end_child(struct tally *t)
{
	int e = raw_end(&r);

	if (e < 0)
		count_bad(t, "a child can't be buried: %s", error_name(e));
}

/* Have the child make n calls. */
static void make_calls(struct record *calls, unsigned n, struct tally *t)
{
	struct record *page = (struct record *)r.page[RAW_DATA];

	for (unsigned i = 0; i < n; i++) {
		calls[i].done = 0;
		page[i] = calls[i];
	}
	made += n;
	for (unsigned i = 0; i < n;) {
		struct fh_regs regs = raw_regs(&r, 0);
		regs.rbx = raw_va(&r, RAW_DATA) + i * sizeof(*page);
		regs.rbp = raw_va(&r, RAW_DATA) + n * sizeof(*page);
		sys_env_ctl(r.env_name, FH_ENV_THAW, 0, 0); /* it may have frozen itself */
		unsigned state = raw_run(&r, &regs, 40);
		thread_stop(r.name, 0);
		unsigned before = i;
		for (; i < n && page[i].done; i++)
			calls[i] = page[i];
		if (i == n)
			break;
		lost++;
		if (state == FH_STOPPED || state == FH_SLEEPING || state == FH_READY) { /* it has stopped itself, or sleeps */
			i++;
			continue;
		}
		if (i > before || state == FH_FAULTED || (int)state < 0) { /* it can't go on */
			deaths++;
			if (i == before) /* not even begin: skip the call, too */
				i++;
			end_child(t);
			begin_child();
			page = (struct record *)r.page[RAW_DATA];
			for (unsigned k = i; k < n; k++)
				page[k] = calls[k];
		}
	}
	for (unsigned i = 0; i < n; i++) {
		struct record *c = &calls[i];
		if (c->done && !documented(c->number, c->result))
			count_bad(t, "call %ld %s(%#lx, %#lx, %#lx, %#lx) returns %ld%s%s", c->number,
			          c->number < FH_NSYSCALLS ? call_names[c->number] : "", c->arg[0], c->arg[1], c->arg[2], c->arg[3], c->result,
			          c->result < 0 && c->result > -4096 ? " " : "", c->result < 0 ? error_name((int)c->result) : "");
	}
}

/* ---- Values ---- */

#define VALUES 128u
static uint64_t value[VALUES];
static unsigned nvalues;

static void add(uint64_t v)
{
	if (nvalues < VALUES)
		value[nvalues++] = v;
}

/* Numbers at edges; frames of everyone; names; entries; operations. */
static void find_values(void)
{
	static const uint64_t edges[] = {
	    0, 1, 2, 3, 7, 8, 63, 64, 255, 256, 510, 511, 512, 4088, 4095, 4096, 4097, 1ul << 27, (1ul << 27) - 1, 1ul << 31,
	    (1ul << 32) - 1, 1ul << 32, (1ul << 32) + 1, 1ul << 47, (1ul << 47) - 1, 1ul << 55, 1ul << 56, 1ul << 62, 1ul << 63,
	    (1ul << 63) - 1, ~0ul, ~1ul, ~4095ul, FH_KERNEL_BASE, FH_KERNEL_BASE - 1, 0xffffffff80100000ul, 0xffff800000000000ul,
	};
	pfn_t me = env_self(), free = frames_first.next(&frames_first, 1, 1, 0);
	const pfn_t frames[] = {
	    0x100, 0x7c, info->info_pfn, info->table_pfn, info->clock_pfn, info->cpu_pfn[0], 0xb8, /* kernel, tables, CPU, VGA */
	    r.env, r.thread, r.root, pt1, r.frames + RAW_CODE, r.frames + RAW_BATCH, spare,      /* its own */
	    sibling.env, sibling.thread, sibling.root, sibling.frames + RAW_DATA, frame_find(0, FH_PT1, sibling.env),
	    me, fh_name_pfn(thread_self_name()), space_current()->root, frame_at(&spare), /* its parent's */
	    fh_name_pfn(info->root_env), fh_name_pfn(info->root_thread), free, info->nframes - 1, info->nframes, info->nframes + 1,
	};

	nvalues = 0;
	for (unsigned i = 0; i < sizeof(edges) / sizeof(edges[0]); i++)
		add(edges[i]);
	for (unsigned i = 0; i < sizeof(frames) / sizeof(frames[0]); i++)
		add(frames[i]);
	add(r.name), add(r.env_name), add(sibling.name), add(sibling.env_name), add(info->root_env), add(info->root_thread);
	add(r.name + (1ul << FH_PFN_BITS)), add(fh_name(spare, 1));
	add(raw_va(&r, RAW_CODE)), add(raw_va(&r, RAW_DATA));
	for (unsigned i = 0; i < 4; i++) {
		static const uint64_t flags[] = {7, 5, 0x87, FH_NX | 7};
		add(spare << 12 | flags[i]), add((sibling.frames + RAW_DATA) << 12 | flags[i]), add(pt1 << 12 | flags[i]);
	}
	for (unsigned op = 0; op < 16; op++)
		add(fh_what(op, 0, op % 2 ? pt1 : r.root, op % 3 ? 300 : 511, 1));
	add(fh_what(FH_OP_SET, 0, sibling.root, 3, 1)), add(fh_what(FH_OP_SET, 0, space_current()->root, 3, 1));
}

/* Arguments with which each call could well succeed. */
static void plausible(uint64_t number, uint64_t arg[4])
{
	pfn_t free = frames_first.next(&frames_first, 1, 1, 0);
	const uint64_t good[FH_NSYSCALLS][4] = {
	    [FH_SYS_thread_switch] = {r.name, 1, 1, 1},
	    [FH_SYS_thread_ctl] = {0, FH_THREAD_RETURN, 0, 0},
	    [FH_SYS_frame_alloc] = {free, 1, 0, 0},
	    [FH_SYS_frame_free] = {spare, 1, 0, 0},
	    [FH_SYS_frame_retype] = {spare, FH_PT1, 0, 0},
	    [FH_SYS_pt_set] = {fh_what(FH_OP_SET, 0, pt1, 77, 1), spare << 12 | FH_P | FH_W | FH_U | FH_NX, 0, 0},
	    [FH_SYS_pt_update] = {0, 4, 0, 0},
	    [FH_SYS_tlb_flush] = {0, FH_TLB_LOCAL, RAW_BASE, 1},
	    [FH_SYS_env_ctl] = {0, FH_ENV_CALLER, 3, sibling.env_name},
	    [FH_SYS_thread_write] = {0, 0, 0, 0},
	    [FH_SYS_cpu_slice] = {info->cpu_pfn[0], 200, r.name, 0},
	    [FH_SYS_console_write] = {0, 8, 0, 0},
	    [FH_SYS_console_read] = {0, 8, 0, 0},
	};

	memcpy(arg, good[number], 4 * sizeof(*arg));
}

/* ---- The canary ---- */

static uint64_t canary_states[RAW_PAGES];

static void canary_set(void)
{
	for (unsigned i = 0; i < RAW_PAGES; i++) {
		if (i != RAW_CODE && i != RAW_UPCALL)
			for (unsigned k = 0; k < FH_PAGE / 8; k++)
				((uint64_t *)sibling.page[i])[k] = 0xca9a51e5ul * (k + 1) + i;
		canary_states[i] = frame_record(sibling.frames + i)->state;
	}
}

static void canary_check(struct tally *t)
{
	for (unsigned i = 0; i < RAW_PAGES; i++) {
		for (unsigned k = 0; i != RAW_CODE && i != RAW_UPCALL && k < FH_PAGE / 8; k++)
			if (((uint64_t *)sibling.page[i])[k] != 0xca9a51e5ul * (k + 1) + i)
				count_bad(t, "page %u, word %u has changed", i, k);
		if (frame_record(sibling.frames + i)->state != canary_states[i])
			count_bad(t, "page %u: state %#lx, was %#lx", i, frame_record(sibling.frames + i)->state, canary_states[i]);
	}
}

/* ---- The tests ---- */

static void check_numbers(void)
{
	struct tally t = {0};
	struct record calls[RECORDS];
	unsigned n = 0, total = 0;

	for (unsigned shift = 4; shift <= 64; shift++) {
		for (int k = -2; k < (int)FH_NSYSCALLS + 2; k++) {
			uint64_t number = (shift < 64 ? 1ul << shift : 0) + (uint64_t)(int64_t)k;
			if (number < FH_NSYSCALLS)
				continue;
			calls[n++] = (struct record){.number = number, .arg = {~0ul, 2, 0x5eed, 4}};
			if (n < RECORDS)
				continue;
			make_calls(calls, n, &t);
			for (unsigned i = 0; i < n; i++)
				if (!calls[i].done || calls[i].rdx != 0x5eed)
					count_bad(&t, "number %#lx: rdx changed, or it did not return", calls[i].number);
			total += n;
			n = 0;
		}
	}
	none_bad(&t, "%u numbers that are no call, at every power of two and at -1, return ENOSYS (HOSTILE 53)", total);
}

/* Every value at every argument, the others all zero, all ones, 1, or plausible. */
static void check_arguments(uint64_t number, unsigned nargs)
{
	struct tally t = {0};
	struct record calls[RECORDS];
	unsigned n = 0;
	uint64_t before = made;

	begin_child();
	find_values();
	for (unsigned base = 0; base < 4; base++) {
		for (unsigned k = 0; k < nargs; k++) {
			for (unsigned v = 0; v < nvalues; v++) {
				struct record *c = &calls[n++];
				*c = (struct record){.number = number};
				for (unsigned i = 0; i < 4; i++)
					c->arg[i] = base == 1 ? ~0ul : base == 2 ? 1 : 0;
				if (base == 3)
					plausible(number, c->arg);
				c->arg[k] = value[v];
				if (number == FH_SYS_env_ctl && c->arg[1] == FH_ENV_AUDIT && v % 16)
					c->arg[1] = 6; /* that one is slow */
				if (n == RECORDS) {
					make_calls(calls, n, &t);
					n = 0;
				}
			}
		}
	}
	make_calls(calls, n, &t);
	end_child(&t);
	if (number == FH_SYS_console_write)
		kputs("\n");
	none_bad(&t, "%s: %lu calls with edges, addresses, and frames of everyone return what docs/abi.md lists", call_names[number],
	         made - before);
}

/* ---- Random ---- */

static uint64_t random_value(void)
{
	switch (random64() % 8) {
	case 0: return random64();
	case 1: return random64() % 8;
	case 2: return random64() % info->nframes;
	case 3: return 0;
	default: return value[random64() % nvalues];
	}
}

static uint64_t random_entry(void)
{
	static const uint64_t flags[] = {0, 1, 3, 5, 7, 0x87, 0x67, 0x107, 0x1f, 0xfff};
	uint64_t pfn = random64() % 2 ? r.frames + RAW_DATA : random64() % 4 ? value[37 + random64() % 29] : random64() % info->nframes;

	if (random64() % 4 == 0) /* CLAIM, LINK_NEW */
		pfn = frames_first.next(&frames_first, 1, 1, 0);
	return random64() % 8 == 0 ? random64() : pfn << 12 | flags[random64() % 10] | (random64() % 2 ? FH_NX : 0);
}

static uint64_t random_what(void)
{
	uint64_t table = random64() % 16 == 0 ? random_value() : random64() % 8 ? pt1 : value[37 + random64() % 29];
	/* the five pages and the tables over them are at low indices: mostly leave them alone, so that the child lives */
	unsigned index = random64() % 16 == 0 ? 511 : 8 + random64() % 500;
	unsigned op = random64() % 16 == 0 ? random64() % 16 : random64() % FH_NOPS, count = random64() % 4 ? 1 : random64() % 64;

	return random64() % 16 == 0 ? random64() : fh_what(op, random64() % 32 == 0 ? random64() % 16 << 4 : 0, table, index, count);
}

static void random_batch(bool text)
{
	for (unsigned i = 0; i < FH_BATCH_OPS; i++)
		r.batch[i] = text ? (struct fh_op){0, 0} : (struct fh_op){random_what(), random_entry()};
	struct fh_thread_args *a = (struct fh_thread_args *)r.batch;
	if (!text && random64() % 4 == 0) { /* thread_write(0, 0) */
		uint64_t *words = (uint64_t *)a;
		for (unsigned i = 0; i < sizeof(*a) / 8; i++)
			words[i] = random_value();
		a->fields = random64() % 4 ? 1ul << random64() % 8 : random64() % 512;
	}
}

#define RANDOM_CALLS 20480u

static void check_random(void)
{
	struct record calls[RECORDS];
	struct tally t = {0};
	unsigned good = 0;

	deaths = lost = 0;
	begin_child();
	find_values();
	for (unsigned done = 0; done < RANDOM_CALLS; done += RECORDS) {
		bool text = done % (4 * RECORDS) == 0;
		random_batch(text);
		for (unsigned i = 0; i < RECORDS; i++) {
			struct record *c = &calls[i];
			*c = (struct record){.number = random64() % FH_NSYSCALLS};
			if (c->number == FH_SYS_console_write && !text)
				c->number = random64() % 2 ? FH_SYS_pt_set : FH_SYS_pt_update;
			unsigned spoil = random64() % 5; /* of 4 arguments, about so many */
			if (random64() % 4)
				plausible(c->number, c->arg);
			for (unsigned k = 0; k < 4; k++)
				if (random64() % 4 < spoil)
					c->arg[k] = random_value();
			if (c->number == FH_SYS_pt_set && random64() % 4) {
				c->arg[0] = random_what();
				c->arg[1] = random_entry();
			} else if (c->number == FH_SYS_pt_update || c->number == FH_SYS_thread_write) {
				c->arg[c->number == FH_SYS_thread_write] = random64() % 4 ? 0 : random64() % 256 * 16;
				c->arg[1] = c->number == FH_SYS_pt_update ? random64() % 64 : c->arg[1];
			} else if (c->number == FH_SYS_env_ctl && c->arg[1] == FH_ENV_AUDIT && random64() % 64) {
				c->arg[1] = FH_ENV_CALLER;
			} else if (c->number == FH_SYS_thread_switch && random64() % 8) {
				c->arg[2] = 0; /* or it sleeps until we look again */
			}
		}
		make_calls(calls, RECORDS, &t);
		for (unsigned i = 0; i < RECORDS; i++)
			good += calls[i].done && calls[i].result >= 0;
	}
	end_child(&t);
	kputs("\n");
	none_bad(&t, "%u random calls from one env return what docs/abi.md lists (HOSTILE 53)", RANDOM_CALLS);
	note("%u succeeded; %u slept, or stopped their thread; %u envs made an end of themselves", good, lost, deaths);
	ok(good > RANDOM_CALLS / 10 && deaths < RANDOM_CALLS / 20, "enough of them did something, and few ended their env");
}

/* A call keeps every register but rax, rcx and r11 (and rdx where there is a second result). */
static void check_registers(void)
{
	struct tally t = {0};
	struct raw h;

	if (raw_new(&h, 64) < 0)
		panic("no child");
	static const uint64_t calls[] = {FH_SYS_tlb_flush, FH_SYS_frame_free, FH_SYS_env_ctl, FH_SYS_thread_switch,
	                                 FH_SYS_cpu_slice, FH_SYS_console_read, FH_SYS_thread_write, 99};
	for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		struct fh_regs a = raw_regs(&h, 0);
		uint64_t *words = (uint64_t *)&a;
		for (unsigned k = 0; k < 15; k++)
			words[k] = 0x1111111111111111ul * (k + 1);
		a.rdi = a.rsi = a.rdx = a.r10 = 0;
		a.rsi = calls[i] == FH_SYS_env_ctl ? 77 : 0;
		a.rax = calls[i];
		a.rflags = 0xcd5 | 2; /* arithmetic flags and DF */
		raw_code(&h, "\x0f\x05\x0f\x0b", 4);
		unsigned state = raw_run(&h, &a, RAW_PATIENCE);
		struct fh_regs b = h.view->regs;
		if (state != FH_FAULTED || b.rip != a.rip + 2)
			count_bad(&t, "%s did not return: state %u, rip %#lx", calls[i] < FH_NSYSCALLS ? call_names[calls[i]] : "none", state, b.rip);
		for (unsigned k = 0; k < 15; k++) {
			uint64_t was = ((uint64_t *)&a)[k], is_now = ((const uint64_t *)&b)[k];
			if (was != is_now && k != 14 && k != 12 && k != 4) /* rax, rcx, r11 */
				count_bad(&t, "%s: register %u was %#lx, is %#lx", calls[i] < FH_NSYSCALLS ? call_names[calls[i]] : "none", k, was,
				          is_now);
		}
		if (b.rcx != a.rip + 2 || b.rsp != a.rsp || ((b.rflags ^ a.rflags) & 0xcd5))
			count_bad(&t, "call %lu: rcx %#lx, rsp %#lx, flags %#lx", calls[i], b.rcx, b.rsp, b.rflags);
	}
	none_bad(&t, "a call keeps all registers but rax, rcx, r11, and the flags, on the short path and on the slow one");
	returns(raw_end(&h), 0, "the env is buried");
}

/* What a CPU counts (enum fh_count): calls once it has left the thread that made them. */
static void check_counts(void)
{
	char *pages = (char *)mm_map(0, 10 * FH_PAGE, RIGHT_R | RIGHT_W, 0);

	thread_sleep(1);
	uint64_t calls = counted(FH_COUNT_CALLS), upcalls = counted(FH_COUNT_UPCALLS);
	for (unsigned i = 0; i < 1000; i++)
		sys_tlb_flush(0, FH_TLB_NONE, 0, 0);
	for (unsigned i = 0; i < 10; i++)
		pages[i * FH_PAGE] = 1;
	thread_sleep(1);
	calls = counted(FH_COUNT_CALLS) - calls;
	upcalls = counted(FH_COUNT_UPCALLS) - upcalls;
	ok(calls > 1000 && calls < 1200, "1000 calls are counted");
	ok(upcalls >= 10 && upcalls < 20, "10 page faults are counted as upcalls");
	note("%lu calls, %lu upcalls", calls, upcalls);
	mm_unmap((va_t)pages, 10 * FH_PAGE);
}

int main(void)
{
	struct tally t = {0};

	tap_begin();
	check_counts();
	if (raw_new(&sibling, 64) < 0)
		panic("no canary");
	canary_set();
	check_registers();
	begin_child();
	check_numbers();
	end_child(&t);
#define FH_X(number, name, nargs, args) check_arguments(number, nargs);
	FH_SYSCALLS(FH_X)
#undef FH_X
	check_random();
	canary_check(&t);
	none_bad(&t, "another env's memory and its records are as they were (invariants 1, 2, 4)");
	returns(raw_end(&sibling), 0, "the canary is buried");
	return tap_end();
}
