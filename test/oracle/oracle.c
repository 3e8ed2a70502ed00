/*
 * oracle.c - the ownership table against a slow model of the contract: main program. See model.h.
 *
 *	oracle          what `make test` runs        oracle --quick    what each seeded mistake is tried on first
 *	oracle --long   larger machines              oracle windows    parts and machines with this in their name
 */
#include "oracle.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>

bool quick, long_form;
static const char *only;

bool wanted(const char *part) { return !only || strstr(part, only); }

void machine_begin(struct model *m, unsigned frames, unsigned cpus)
{
	memset(m, 0, sizeof *m);
	m->nframes = m->special = frames;
	m->ncpus = cpus;
	m->width = 39;
	m->clock = 5;
	for (unsigned c = 0; c < cpus; c++) {
		m->epoch[c] = 5;
		m->loaded[c] = M_NO_ROOT;
	}
	m->f[0].type = m->f[M_NO_ROOT].type = FH_KERNEL;
	for (unsigned n = 2; n < frames; n++) {
		m->f[n].type = FH_FREE;
		for (unsigned s = 0; s < M_SLOTS; s++)
			m->f[n].slot[s] = M_POISON;
	}
	machine_give(m, 2, FH_ENV, 2, frames);
}

void machine_give(struct model *m, unsigned f, unsigned type, unsigned env, long quota)
{
	m->f[f] = (struct m_frame){.type = type, .owner = env, .quota = quota};
	if (type == FH_DATA)
		for (unsigned s = 0; s < M_SLOTS; s++)
			m->f[f].slot[s] = M_MARK;
	if (type == FH_PT4)
		m->f[f].slot[3] = M_KERNEL_ENTRY;
	if (type == FH_ENV || type == FH_THREAD)
		m->f[f].serial = 2;
	if (type == FH_ENV)
		m->f[f].depth = env == f ? 0 : m->f[env].depth + 1;
}

static void crashed(int signal)
{
	disagree(signal == SIGVTALRM ? "watchdog: a call doesn't return" : "the kernel's code crashed (signal %d)", signal);
}

/* A call that hangs is told by the CPU time that it alone has taken: far more than any, on any host. */
static uint64_t seen;
static void watch(int signal)
{
	if (transitions == seen)
		crashed(signal);
	seen = transitions;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--quick") == 0)
			quick = true;
		else if (strcmp(argv[i], "--long") == 0)
			long_form = true;
		else
			only = argv[i];
	signal(SIGSEGV, crashed);
	signal(SIGBUS, crashed);
	signal(SIGFPE, crashed);
	signal(SIGILL, crashed);
	signal(SIGVTALRM, watch);
	setitimer(ITIMER_VIRTUAL, &(struct itimerval){{5, 0}, {5, 0}}, NULL);
	if (quick) /* most mistakes are seen soon */
		test_states(12);
	test_entries();
	test_states(200);
	struct rusage used;
	getrusage(RUSAGE_SELF, &used);
	printf("# %lu calls compared, %lu of them accepted; %lu s of CPU time, %ld MB\n", transitions, accepted,
	       used.ru_utime.tv_sec + used.ru_stime.tv_sec, used.ru_maxrss / 1024);
	tap("kernel and model agreed on every one of %lu calls", transitions);
	printf("1..%u\n", tap_count());
}
