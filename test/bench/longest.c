/*
 * longest.c - how long each system call, fault and interrupt keeps interrupts off, at its worst argument that we know: from the
 * instruction that enters the kernel to the first one after it. Zeroing is left out, 512 counts a frame; see bench.h.
 *
 * What makes calls long: frames and entries of an env 15 levels below the caller (each check of authority walks up), runs of 64,
 * large pages, slices full of threads that can't run, batches up to where the kernel looks for interrupts.
 * Each is measured REPEATS times in the same state; the least is taken, as an interrupt may come after it, and of several
 * arguments of one call the longest.
 */
#include <stdio.h>
#include <string.h>

#include "bench.h"

#define REPEATS 5
#define DEEP (FH_ENV_DEPTH - 2) /* envs below this one, one below the other */
#define LIMIT 20000u

static struct { const char *name; uint64_t longest; } rows[64];
static uint64_t overhead;

static void note_longest(const char *name, uint64_t count)
{
	unsigned i = 0;

	while (rows[i].name && strcmp(rows[i].name, name) != 0)
		i++;
	rows[i].name = name;
	rows[i].longest = count > rows[i].longest ? count : rows[i].longest;
}

/* `call`, made after `before` each time; it zeroes so many frames. */
#define LONGEST(name, frames, before, call)                                                                            \
	do {                                                                                                           \
		uint64_t least = ~0ul;                                                                                 \
		for (int repeat = 0; repeat < REPEATS; repeat++) {                                                     \
			before;                                                                                        \
			bench_begin();                                                                                 \
			bool worked = (call);                                                                          \
			uint64_t spent = bench_read() - samples->began;                                                \
			least = worked && spent < least ? spent : least; /* a batch may have been interrupted */       \
		}                                                                                                      \
		MUST(least != ~0ul);                                                                                   \
		note_longest(name, least - overhead - (frames) * REP_FRAME);                                           \
	} while (0)

/* ---- The line of envs, and frames of its last ---- */

static pfn_t env[DEEP + 1], deep; /* env[0] is this one */

static void make_envs(uint64_t quota)
{
	env[0] = env_self();
	for (unsigned i = 1; i <= DEEP; i++) {
		MUST(env[i] = frame_get_typed(&frames_first, env[i - 1] == env[0] ? 0 : env[i - 1], FH_ENV));
		MUST(sys_env_ctl(env[i], FH_ENV_QUOTA, (int64_t)(quota - 4 * i + (i == 1 ? 1000 : 0)), 0) == 0);
	}
	deep = env[DEEP];
}

static pfn_t make(pfn_t owner, unsigned type) { return frame_get_typed(&frames_first, owner == env[0] ? 0 : owner, type); }

static pfn_t run_of(pfn_t owner, uint64_t n, uint64_t align)
{
	pfn_t f = frame_get(n > 1 ? &frames_large : &frames_first, n, align, owner == env[0] ? 0 : owner, 0);

	MUST(f);
	return f;
}

static int64_t set(unsigned op, uint64_t flags, pfn_t table, unsigned index, uint64_t entry)
{
	int64_t r = sys_pt_set(fh_what(op, flags, table, index, 1), entry, 0).rax;

	return r;
}

#define LEAF(f) ((f) << 12 | FH_P | FH_W | FH_U | FH_NX)
#define BATCH thread_self()->batch
static void fill(unsigned i, unsigned op, uint64_t flags, pfn_t table, unsigned index, unsigned n, uint64_t entry)
{
	BATCH[i] = (struct fh_op){fh_what(op, flags, table, index, n), entry};
}
static bool update(unsigned n)
{
	struct sys_result r = sys_pt_update(0, n);

	return r.rax == 0 && r.rdx == n;
}
/* All of a batch, however often it is interrupted: not measured. */
static bool update_all(unsigned n)
{
	for (uint64_t done = 0; done < n;) {
		struct sys_result r = sys_pt_update(done * sizeof(struct fh_op), n - done);
		if (r.rax < 0)
			return false;
		done += r.rdx;
	}
	return true;
}

/* ---- Frames ---- */

static void free_all(pfn_t f, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		sys_frame_free(f + i, 1);
}

static bool alloc_all(pfn_t f, uint64_t n, pfn_t owner)
{
	for (uint64_t i = 0; i < n;) {
		int64_t r = sys_frame_alloc(f + i, n - i, owner, FH_ALLOC_KEEP);
		if (r < 0)
			return false;
		i += (uint64_t)r;
	}
	return true;
}

static void frames(void)
{
	pfn_t f = run_of(deep, 64, 64), mine, t;
	uint64_t name = env_self_name();
	struct fh_env e;

	LONGEST("frame_alloc", 64, free_all(f, 64), sys_frame_alloc(f, 64, deep, 0) == 64);
	LONGEST("frame_free", 0, free_all(f, 64); alloc_all(f, 64, deep), sys_frame_free(f, 64) == 64);
	LONGEST("frame_sync", 0, , sys_frame_sync(f, 64) == 64);
	MUST(alloc_all(f, 64, deep));
	for (unsigned i = 0; i < REPEATS; i++) { /* they become ours, so each time others are needed */
		mine = run_of(deep, 64, 64);
		for (unsigned k = 0; k < 64; k++)
			MUST(sys_frame_grant(mine + k, name) == 0);
		bench_begin();
		int64_t r = sys_frame_take(mine, 64);
		uint64_t spent = bench_read() - samples->began;
		MUST(r == 64);
		if (i + 1 == REPEATS)
			note_longest("frame_take", spent - overhead);
		free_all(mine, 64);
	}
	LONGEST("frame_grant", 0, sys_frame_grant(f, 0), sys_frame_grant(f, name) == 0);
	MUST(sys_frame_grant(f, 0) == 0);
	for (unsigned type = FH_PT1; type <= FH_THREAD; type++) {
		pfn_t owner = type == FH_ENV ? env[DEEP - 1] : deep;
		t = type == FH_ENV ? run_of(owner, 1, 1) : f;
		LONGEST("frame_retype", 1, sys_frame_retype(t, FH_DATA), sys_frame_retype(t, type) == 0);
		LONGEST("frame_retype", 1, sys_frame_retype(t, type), sys_frame_retype(t, FH_DATA) == 0);
		if (t != f)
			free_all(t, 1);
	}
	/* a window in a stranger's tree: taken out of it */
	MUST(env_look(env[1], &e) == 0);
	pfn_t window = make(0, FH_PT1), parent = make(env[1], FH_PT2);
	LONGEST("frame_grant", 0, set(FH_OP_SET, 0, parent, 0, window << 12 | FH_P | FH_U | FH_W), sys_frame_grant(window, 0) == 0);
	MUST(set(FH_OP_CLEAR, 0, parent, 0, 0) > 0);
	MUST(frame_put_typed(window) == 0 && frame_put_typed(parent) == 0);
	free_all(f, 64);
}

/* ---- Page tables ---- */

/* A batch up to where the kernel looks for interrupts (pt_round): LOOK of work, 1 for an operation and FOREIGN more if the table
 * is another's, 1 for a slot and FOREIGN more if the check of what it names walks; QUIET more where it asks whether all CPUs are
 * past a stamp. */
#define LOOK 64u
#define FOREIGN 3u
#define QUIET ((info->ncpus + 6) / 8)

/* The longest run, and as many single operations, from slot 0 of a table whose entries `before` sets. */
static void runs(unsigned op, uint64_t before, pfn_t table, uint64_t e, bool foreign, unsigned zeroed)
{
	unsigned weight = foreign ? 1 + FOREIGN : 1, slots = (LOOK - 1 + weight - 1) / weight;
	unsigned each = 1 + weight + (fh_owner(frame_record(table)->state) == env[0] ? 0 : FOREIGN), ops;

	each += zeroed ? QUIET : 0;
	ops = (LOOK + each - 1) / each;

	LONGEST("pt_update", zeroed * slots,
	        fill(0, FH_OP_UNMAP_FREE, 0, table, 0, 512, 0); MUST(update_all(1));
	        fill(0, before & FH_P ? FH_OP_SET : FH_OP_CLEAR, 0, table, 0, 512, before); MUST(update_all(1)); thread_sleep(20 * zeroed);
	        fill(0, op, FH_FLUSH_LOCAL, table, 0, slots, e),
	        update(1));
	LONGEST("pt_update", zeroed * ops,
	        fill(0, FH_OP_UNMAP_FREE, 0, table, 0, 512, 0); MUST(update_all(1));
	        fill(0, before & FH_P ? FH_OP_SET : FH_OP_CLEAR, 0, table, 0, 512, before); MUST(update_all(1)); thread_sleep(20 * zeroed);
	        for (unsigned k = 0; k < ops; k++) fill(k, op, FH_FLUSH_LOCAL, table, k, 1, zeroed ? e + (k << 12) : e),
	        update(ops));
	LONGEST("pt_set", zeroed,
	        fill(0, FH_OP_UNMAP_FREE, 0, table, 0, 512, 0); MUST(update_all(1));
	        fill(0, before & FH_P ? FH_OP_SET : FH_OP_CLEAR, 0, table, 0, 512, before); MUST(update_all(1)); thread_sleep(20 * zeroed),
	        set(op, FH_FLUSH_LOCAL, table, 0, e) > 0);
}

/* Tables of env `owner`, frames of `of`. */
static void tables_of(pfn_t owner, pfn_t of)
{
	bool foreign = of != env[0];
	pfn_t t1 = make(owner, FH_PT1), t2 = make(owner, FH_PT2), f = run_of(of, 512, 512), pin = make(of, FH_PT1), child[8];
	uint64_t e = LEAF(f) | FH_A | FH_D, link = f << 12 | FH_P | FH_U | FH_W;

	MUST(t1 && t2 && pin);
	/* another table has the frames too: none of these is freed by what makes room in the table for the next */
	fill(0, FH_OP_SET, 0, pin, 0, 512, e);
	MUST(update_all(1));
	runs(FH_OP_READ, e, t1, 0, false, 0);
	runs(FH_OP_HARVEST, e, t1, 0, false, 0);
	runs(FH_OP_CLEAR, e, t1, 0, false, 0);
	runs(FH_OP_NARROW, e & ~FH_NX, t1, FH_NX, false, 0);
	runs(FH_OP_PROTECT, e & ~FH_W, t1, FH_W, foreign, 0);
	runs(FH_OP_SET, 0, t1, e, foreign, 0);
	runs(FH_OP_SET, e, t1, e, foreign, 0);
	runs(FH_OP_UNMAP_FREE, e, t1, 0, foreign, 0);
	fill(0, FH_OP_UNMAP_FREE, 0, t1, 0, 512, 0);
	fill(1, FH_OP_UNMAP_FREE, 0, pin, 0, 512, 0);
	MUST(update_all(2));
	free_all(f, 512);
	runs(FH_OP_CLAIM, 0, t1, LEAF(f), false, 1);
	fill(0, FH_OP_UNMAP_FREE, 0, t1, 0, 512, 0);
	MUST(update_all(1));
	/* the last reference to each goes with the entry */
	unsigned slots = foreign ? LOOK / (1 + FOREIGN) : LOOK - 1;
	LONGEST("pt_update", 0,
	        alloc_all(f, slots, of); fill(0, FH_OP_SET, 0, t1, 0, slots, LEAF(f)); MUST(update_all(1));
	        fill(0, FH_OP_UNMAP_FREE, FH_FLUSH_LOCAL, t1, 0, slots, 0),
	        update(1));
	/* an operation on a PT2 stands alone: a link, or a 2 MiB page */
	LONGEST("pt_set", 1,
	        if (repeat) set(FH_OP_UNLINK_FREE, 0, t2, 0, 0); thread_sleep(20),
	        set(FH_OP_LINK_NEW, FH_FLUSH_LOCAL, t2, 0, link) > 0);
	LONGEST("pt_set", 0,
	        if (repeat) set(FH_OP_LINK_NEW, 0, t2, 0, link),
	        set(FH_OP_UNLINK_FREE, FH_FLUSH_LOCAL, t2, 0, 0) > 0);
	for (unsigned i = 0; i < 8; i++)
		MUST(child[i] = make(of, FH_PT1));
	for (unsigned i = 0; i < 8; i++) {
		uint64_t to = child[i] << 12 | FH_P | FH_U | FH_W;
		LONGEST("pt_set", 0, set(FH_OP_CLEAR, 0, t2, i, 0), set(FH_OP_SET, FH_FLUSH_LOCAL, t2, i, to) > 0);
	}
	fill(0, FH_OP_CLEAR, 0, t2, 0, 512, 0);
	MUST(update_all(1));
	for (unsigned i = 0; i < 8; i++)
		MUST(frame_put_typed(child[i]) == 0);
	LONGEST("pt_set", 512,
	        if (repeat) set(FH_OP_UNMAP_FREE, 0, t2, 0, 0); free_all(f, 512); thread_sleep(20),
	        set(FH_OP_CLAIM, FH_FLUSH_LOCAL, t2, 0, LEAF(f) | FH_PS) > 0);
	LONGEST("pt_set", 0,
	        if (repeat) { free_all(f, 512); MUST(set(FH_OP_CLAIM, 0, t2, 0, LEAF(f) | FH_PS) > 0); },
	        set(FH_OP_UNMAP_FREE, FH_FLUSH_LOCAL, t2, 0, 0) > 0);
	free_all(f, 512);
	MUST(alloc_all(f, 512, of));
	uint64_t large = e | FH_PS;
	LONGEST("pt_set", 0, set(FH_OP_CLEAR, 0, t2, 0, 0), set(FH_OP_SET, FH_FLUSH_LOCAL, t2, 0, large) > 0);
	LONGEST("pt_set", 0, set(FH_OP_CLEAR, 0, t2, 0, 0); set(FH_OP_SET, 0, t2, 0, large), set(FH_OP_HARVEST, FH_FLUSH_LOCAL, t2, 0, 0) > 0);
	LONGEST("pt_set", 0, set(FH_OP_PROTECT, 0, t2, 0, FH_W | FH_NX), set(FH_OP_PROTECT, FH_FLUSH_LOCAL, t2, 0, FH_NX) > 0);
	LONGEST("pt_set", 0, set(FH_OP_SET, 0, t2, 0, large), set(FH_OP_CLEAR, FH_FLUSH_LOCAL, t2, 0, 0) > 0);
	LONGEST("pt_set", 0, set(FH_OP_SET, 0, t2, 0, large); set(FH_OP_SET, 0, t2, 1, large), set(FH_OP_UNMAP_FREE, FH_FLUSH_LOCAL, t2, 0, 0) > 0);
	set(FH_OP_CLEAR, 0, t2, 1, 0);
	free_all(f, 512);
	MUST(frame_put_typed(t1) == 0 && frame_put_typed(t2) == 0 && frame_put_typed(pin) == 0);
}

/* ---- Threads and envs ---- */

static void threads(void)
{
	uint64_t size, offset;
	struct fh_thread_args *a = batch_area(&offset, &size);
	pfn_t t = make(deep, FH_THREAD), root = make(deep, FH_PT4), root2 = make(deep, FH_PT4), pins = run_of(deep, 4, 4);

	MUST(t && root && root2);
	*a = (struct fh_thread_args){.fields = FH_SET_ALL, .root = root, .upcall_root = root2, .keeper = thread_self_name(), .keeper_bits = 1ul << 40};
	LONGEST("thread_write", 0, a->upcall = pins + repeat % 2; a->batch = pins + 2 + repeat % 2, sys_thread_write(t, offset) == 0);
	MUST(sys_env_ctl(deep, FH_ENV_FREEZE, 0, 0) == 0);
	LONGEST("thread_ctl", 0, sys_thread_ctl(t, FH_THREAD_STOP, 0), sys_thread_ctl(t, FH_THREAD_START, 0) == 0);
	LONGEST("thread_ctl", 0, sys_thread_ctl(t, FH_THREAD_START, 0), sys_thread_ctl(t, FH_THREAD_STOP, 0) == 0);
	LONGEST("env_ctl", 0, sys_env_ctl(deep, FH_ENV_FREEZE, 0, 0), sys_env_ctl(deep, FH_ENV_THAW, 0, 0) == 0);
	LONGEST("env_ctl", 0, , sys_env_ctl(deep, FH_ENV_LISTENER, t, 0) == 0);
	LONGEST("env_ctl", 0, , sys_env_ctl(deep, FH_ENV_REVOKE, 1, 0) == 0);
	LONGEST("env_ctl", 0, , sys_env_ctl(deep, FH_ENV_QUOTA, repeat % 2 ? -1 : 1, 0) == 0);
	LONGEST("env_ctl", 0, , sys_env_ctl(deep, FH_ENV_CALLER, 15, env_self_name()) == 0);
	a->upcall = pins;
	a->batch = pins + 2;
	LONGEST("frame_retype", 1,
	        if (repeat) { MUST(sys_frame_retype(t, FH_THREAD) == 0); MUST(sys_thread_write(t, offset) == 0); },
	        sys_frame_retype(t, FH_DATA) == 0);
	sys_env_ctl(deep, FH_ENV_LISTENER, 0, 0);
	free_all(t, 1), free_all(pins, 4);
	MUST(frame_put_typed(root) == 0 && frame_put_typed(root2) == 0);
	pfn_t r4 = make(deep, FH_PT4);
	LONGEST("tlb_flush", 0, , sys_tlb_flush(r4, FH_TLB_LOCAL, 0, 32) == 0);
	LONGEST("tlb_flush", 0, , sys_tlb_flush(r4, FH_TLB_ALL, 0, 0) == 0);
	MUST(frame_put_typed(r4) == 0);
}

static void console(void)
{
	uint64_t size, offset;
	char *text = batch_area(&offset, &size);

	MUST(size >= 128);
	for (unsigned kind = 0; kind < 3; kind++) {
		memset(text, "\r\b "[kind], 128);
		LONGEST("console_write", 0, thread_sleep(300), sys_console_write(offset, 128) == 128);
	}
	memset(text, '\n', 128);
	LONGEST("console_write", 0, thread_sleep(300), sys_console_write(offset, 128) == 128);
	LONGEST("console_read", 0, , sys_console_read(offset, 128, 0) >= 0);
	thread_sleep(300);
}

/* ---- Slices full of threads that can't run ---- */

static pfn_t crowd[FH_CPU_SLICES];
static unsigned crowded;
static uint64_t my_slot;

__asm__(".pushsection .text.sleeper,\"ax\"\n"
        "longest_sleeper: xorl %eax, %eax; xorl %edi, %edi; xorl %esi, %esi; movl $1, %edx; xorl %r10d, %r10d; syscall; jmp longest_sleeper\n"
        ".popsection\n");
extern const char longest_sleeper[];

/* The longest pause between two readings of the clock, over some ticks, each with the screen to be drawn. Machine time goes on
 * while the simulator has turned to another CPU: the caller takes the shortest of several. */
static uint64_t longest_gap(unsigned ms)
{
	uint64_t size, offset, longest = 0;
	char *text = batch_area(&offset, &size);

	memset(text, '\r', 8);
	for (uint64_t end = cpu_tsc() + ms * info->tsc_khz, last; (last = cpu_tsc()) < end;) {
		sys_console_write(offset, 1);
		last = cpu_tsc();
		for (uint64_t now = last; now < last + 11 * info->tsc_khz;) {
			uint64_t next = cpu_tsc();
			longest = next - now > longest ? next - now : longest;
			now = next;
		}
	}
	return longest - overhead;
}

/* A sleep that is over when this thread's slot is looked at, the last of all; and one that is over by the time the CPU has set the
 * timer and halts: what comes after that is as long as the first, and not part of it. */
static void slices(void)
{
	uint64_t walk = ~0ul, idle = ~0ul, tick = ~0ul;

	for (int i = 0; i < REPEATS; i++) {
		bench_begin();
		sys_thread_switch(0, 0, 0, 0);
		uint64_t spent = bench_read() - samples->began - overhead;
		walk = spent < walk ? spent : walk;
	}
	for (int i = 0; i < REPEATS; i++) {
		bench_begin();
		sys_thread_switch(0, 0, 0, samples->began + walk);
		uint64_t spent = bench_read() - samples->began - overhead;
		idle = spent < idle ? spent : idle;
	}
	note_longest("thread_switch", walk);
	note_longest("thread_switch/idle", idle - walk);
	for (int i = 0; i < REPEATS; i++) {
		uint64_t gap = longest_gap(30);
		tick = gap < tick ? gap : tick;
	}
	note_longest("tick", tick);
	LONGEST("cpu_slice", 0, , sys_cpu_slice(info->cpu_pfn[0], my_slot, thread_main.name) == 0);
}

static void crowd_in(bool start, bool sleep, pfn_t owner)
{
	uint64_t size, offset;
	struct fh_thread_args *a = batch_area(&offset, &size);
	pfn_t root = sleep ? space_current()->root : make(owner, FH_PT4);
	const volatile struct fh_cpu *cpu = cpu_view(0);

	crowded = 0, my_slot = FH_CPU_SLICES;
	for (unsigned i = 0; i < FH_CPU_SLICES; i++) {
		if (cpu->slice[i] != thread_main.name)
			continue;
		if (my_slot == FH_CPU_SLICES) {
			my_slot = i;
			continue;
		}
		pfn_t t = crowd[crowded++] = make(owner, FH_THREAD);
		MUST(t);
		*a = (struct fh_thread_args){.fields = FH_SET_REGS | FH_SET_ROOT, .regs = {.rip = (uint64_t)longest_sleeper, .rflags = 2}, .root = root};
		MUST(sys_thread_write(t, offset) == 0 && sys_cpu_slice(info->cpu_pfn[0], i, t) == 0);
	}
	if (owner)
		MUST(sys_env_ctl(owner, FH_ENV_FREEZE, 0, 0) == 0);
	for (unsigned i = 0; start && i < crowded; i++)
		MUST(sys_thread_ctl(crowd[i], FH_THREAD_START, 0) == 0);
	thread_sleep(20);
}

static void crowd_out(void)
{
	for (unsigned i = 0; i < crowded; i++) {
		thread_stop(crowd[i], 0);
		struct fh_thread t;
		MUST(thread_look(crowd[i], &t) == 0);
		slot_take(crowd[i]);
		MUST(frame_put_typed(crowd[i]) == 0);
		if (i + 1 == crowded && t.root != space_current()->root)
			MUST(frame_put_typed(t.root) == 0);
	}
}

void bench_longest(void)
{
	bool over = false;

	bench_begin();
	overhead = bench_read() - samples->began;
	make_envs(1700);
	frames();
	tables_of(env[0], env[0]);
	tables_of(deep, deep);
	tables_of(env[1], deep);
	threads();
	console();
	crowd_in(false, false, 0);
	slices();
	crowd_out();
	crowd_in(true, false, env[1]);
	slices();
	crowd_out();
	crowd_in(true, true, 0);
	slices();
	crowd_out();
	printf("\n");
	for (unsigned i = 0; rows[i].name; i++) {
		printf("off/%-24s %8lu\n", rows[i].name, rows[i].longest);
		over |= rows[i].longest > LIMIT;
	}
	if (over)
		printf("bench: interrupts are off for more than %u instructions\n", LIMIT);
	for (unsigned i = DEEP; i >= 1; i--) {
		struct fh_env e;
		MUST(env_look(env[i], &e) == 0);
		sys_env_ctl(env[i], FH_ENV_QUOTA, -(int64_t)fh_quota(e.account), 0);
		MUST(frame_put_typed(env[i]) == 0);
	}
}
