/*
 * bugs.c - mistakes made on purpose, one for each situation that docs/debugging.md takes apart: the program to try a
 * debugger on.
 */
#include "kit.h"
#include "trace.h"

#define PAGE_VA 0x500000000000ul /* nobody has mapped anything near */
#define RW (RIGHT_R | RIGHT_W)

/* One operation on the entry for `va` in the table of `level`. */
static int64_t operate(unsigned op, va_t va, unsigned level, uint64_t entry)
{
	pfn_t table = space_table(space_current(), va, level);
	return sys_pt_set(fh_what(op, FH_FLUSH_NONE, table, va >> (12 + 9 * (level - 1)) & 511, 1), entry, va).rax;
}

/* "My page faults at an address that I mapped." */
static int lost(void)
{
	volatile char *p = (volatile char *)PAGE_VA;

	space_fill(space_current(), PAGE_VA, 1, RW);
	*p = 1;
	operate(FH_OP_NARROW, PAGE_VA, 3, FH_P | FH_U); /* as a fork does: 1 GiB read-only by one entry. For good? */
	sys_tlb_flush(0, FH_TLB_LOCAL, 0, 0);
	*p = 2;
	return 0;
}

/* "My entry is refused." */
static int refused(void)
{
	pfn_t table = space_table(space_current(), PAGE_VA, 1);
	int64_t r = operate(FH_OP_SET, PAGE_VA, 1, pte_make(table, RW)); /* a page table is not for writing */

	printf("bugs: %s\n", error_name((int)r));
	return r < 0;
}

/* "A frame won't free." */
static int busy(void)
{
	pfn_t f = frame_get(&frames_first, 1, 1, 0, 0);

	space_map(space_current(), PAGE_VA, f, 1, RW);
	space_map(space_current(), PAGE_VA + 16 * FH_PAGE, f, 1, RIGHT_R);
	space_unmap(space_current(), PAGE_VA, 1);
	int r = frame_put(f, 1);
	printf("bugs: frame %#lx: %s\n", f, error_name(r));
	return r < 0;
}

/* "Two CPUs disagree." */
static void counts(void *arg)
{
	volatile uint64_t *p = arg;

	for (;;)
		++*p;
}

/* Our slots of CPU 0 are its, those of the others ours: who runs where is not left to chance. */
static void part(uint64_t its)
{
	for (unsigned c = 0; info->ncpus > 1 && c < info->ncpus; c++)
		for (unsigned i = 0; i < FH_CPU_SLICES; i++)
			if (cpu_view(c)->slice[i] == its || cpu_view(c)->slice[i] == thread_self_name())
				sys_cpu_slice(info->cpu_pfn[c], i, c ? thread_self_name() : its);
}

static int disagree(void)
{
	volatile uint64_t *p = (volatile uint64_t *)PAGE_VA;

	space_fill(space_current(), PAGE_VA, 1, RW);
	part(thread_new(counts, (void *)p, NULL)->name);
	while (*p < 1000 || (info->ncpus > 1 && upcall_word(UPCALL_OFFSET(cpu)) == 0))
		cpu_pause();
	operate(FH_OP_NARROW, PAGE_VA, 1, FH_P | FH_U | FH_NX); /* nobody may write any more; FH_FLUSH_NONE */
	MAGIC_BREAK();
	uint64_t before = *p, end = cpu_tsc() + 3 * info->tsc_khz; /* 3 ms: a tick, after 10, would flush for us */
	while (cpu_tsc() < end)
		cpu_pause();
	uint64_t after = *p;
	printf("bugs: the page is read-only, and was written %lu times since\n", after - before);
	return after != before;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(void);
	} bugs[] = {{"lost", lost}, {"refused", refused}, {"busy", busy}, {"disagree", disagree}};

	for (unsigned i = 0; argc == 2 && i < sizeof(bugs) / sizeof(bugs[0]); i++)
		if (__builtin_strcmp(argv[1], bugs[i].name) == 0) {
			MAGIC_BREAK();
			return bugs[i].run();
		}
	puts("usage: bugs lost | refused | busy | disagree   (docs/debugging.md)");
	return 2;
}
