/* frames.c - the ownership table in figures, from one pass over it. */
#include "console.h"
#include "sh.h"
#include "start.h"

#define RUNS 4u    /* longest free runs shown */
#define OWNERS 64u /* envs told apart */
#define KIB(frames) ((frames) * (FH_PAGE / 1024))

struct owner {
	pfn_t env;
	uint64_t data, tables, other;
};

static struct {
	uint64_t type[FH_NTYPES];
	struct { pfn_t pfn; uint64_t n; } run[RUNS]; /* longest first */
	struct owner owner[OWNERS];
	unsigned nowners;
	uint64_t unlisted; /* frames of envs beyond OWNERS */
} count;

static void count_run(pfn_t pfn, uint64_t n)
{
	unsigned i = RUNS;

	if (n <= count.run[RUNS - 1].n)
		return;
	while (i > 0 && n > count.run[i - 1].n)
		i--;
	for (unsigned j = RUNS - 1; j > i; j--)
		count.run[j] = count.run[j - 1];
	count.run[i].pfn = pfn;
	count.run[i].n = n;
}

static struct owner *owner_of(pfn_t env)
{
	for (unsigned i = 0; i < count.nowners; i++)
		if (count.owner[i].env == env)
			return &count.owner[i];
	if (count.nowners == OWNERS)
		return NULL;
	count.owner[count.nowners].env = env;
	return &count.owner[count.nowners++];
}

static void count_owned(pfn_t env, unsigned type)
{
	struct owner *o = owner_of(env);

	if (!o)
		count.unlisted++;
	else if (type == FH_DATA)
		o->data++;
	else if (type >= FH_PT1 && type <= FH_PT4)
		o->tables++;
	else
		o->other++;
}

static void count_table(void)
{
	uint64_t run = 0;

	__builtin_memset(&count, 0, sizeof(count));
	for (pfn_t p = 0; p < info->nframes; p++) {
		uint64_t state = frame_record(p)->state;
		unsigned type = fh_type(state);
		if (type < FH_NTYPES)
			count.type[type]++;
		if (type == FH_FREE) {
			run++;
			continue;
		}
		count_run(p - run, run);
		run = 0;
		if (fh_owner(state))
			count_owned(fh_owner(state), type);
	}
	count_run(info->nframes - run, run);
}

int cmd_frames(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	count_table();
	printf("%-10s %10s %12s\n", "type", "frames", "KiB");
	for (unsigned i = 0; i < FH_NTYPES; i++)
		if (count.type[i])
			printf("%-10s %10lu %12lu\n", frame_type_name(i), count.type[i], KIB(count.type[i]));
	printf("%-10s %10lu %12lu, free %lu%%\n", "all", info->nframes, KIB(info->nframes),
	       count.type[FH_FREE] * 100 / info->nframes);
	puts("longest free runs:");
	for (unsigned i = 0; i < RUNS && count.run[i].n; i++)
		printf("  %#9lx-%#-9lx %10lu %12lu\n", count.run[i].pfn, count.run[i].pfn + count.run[i].n - 1, count.run[i].n,
		       KIB(count.run[i].n));
	printf("%-10s %10s %12s %10s\n", "owner", "DATA", "page tables", "other");
	for (unsigned i = 0; i < count.nowners; i++) {
		struct owner *o = &count.owner[i];
		printf("%#-10lx %10lu %12lu %10lu  %s\n", o->env, o->data, o->tables, o->other, env_title(o->env));
	}
	if (count.unlisted)
		printf("%-10s %10lu\n", "others", count.unlisted);
	return SH_OK;
}
