/*
 * root - the first program. Owns all free memory, all CPUs and the modules; hands nearly everything to one child, and
 * stays behind to bury the dead and to count the frames.
 *
 *   kernel command line    what root does
 *   (nothing)              starts the module `sh`, again if it faults; halts with its exit status
 *   test=NAME              starts the module NAME, halts with its exit status, or 1 if frames were lost
 */
#include <stdio.h>
#include <string.h>

#include "kit.h"

#define RESERVE 2048ul /* frames root keeps for itself: tables, records */
#define SLOTS 127u     /* CPU slots for the child, on each CPU */
#define SLOTS_ALL 255u /* with slots=all on the kernel's command line */
#define FAULTS_MAX 5   /* restarts of a shell that faults before root gives up */
#define ARGS_MAX 32

static unsigned slots(void)
{
	char which[4];

	return boot_option("slots", which, sizeof(which)) ? SLOTS_ALL : SLOTS;
}

/* Frames that root can hand out. */
static uint64_t quota_left(void)
{
	struct fh_env me;

	if (env_look(env_self(), &me) < 0)
		return 0;
	return fh_quota(me.account) - fh_owned(me.account);
}

/* Cut a module's command line into argv, in a buffer of its own. Returns argc. */
static int split(const char *command, char *buffer, size_t n, char **argv)
{
	int argc = 0;

	strncpy(buffer, command, n - 1);
	buffer[n - 1] = '\0';
	for (char *word = strtok(buffer, " "); word && argc < ARGS_MAX - 1; word = strtok(NULL, " "))
		argv[argc++] = word;
	argv[argc] = NULL;
	return argc;
}

/* Start a module with the console, the modules and all we can spare. */
static int start(const struct module *m, struct env **child)
{
	static char words[256];
	char *argv[ARGS_MAX];
	uint64_t left = quota_left();
	struct spawn_options o = {
	    .quota = left > 2 * RESERVE ? left - RESERVE : 0,
	    .slots = slots() * info->ncpus,
	    .bootfs = true,
	    .devices = true,
	    .stopped = true,
	};

	split(m->command, words, sizeof(words), argv);
	int r = spawn(child, m->data, m->bytes, argv, &o);
	if (r < 0)
		return r;
	sys_env_ctl((*child)->name, FH_ENV_CONSOLE, 0, 0);
	return (int)sys_thread_ctl((*child)->thread_name, FH_THREAD_START, 0);
}

/* Frames that are free, or hold our own records (whose memory is kept for the next child). */
static uint64_t books(void) { return frame_count_free() + (meta_end() - META_VA) / FH_PAGE; }

/* Bury a child, and say so if it took frames with it. `before`: the books when it was started. */
static bool bury(struct env **child, uint64_t before)
{
	uint64_t freed = 0;
	int r = env_reap(child, &freed);

	space_trim(space_current(), layout_mmap.lo, layout_stack.hi);
	uint64_t after = books();
	if (r < 0)
		printf("root: reaping failed: %s\n", error_name(r));
	if (after == before)
		return r == 0;
	printf("root: %ld frames lost: %lu before, %lu after, %lu were given back\n", (long)(before - after), before, after,
	       freed);
	return false;
}

static int test(const char *name)
{
	struct module m;
	struct env *child;

	if (module_named(name, &m) < 0) {
		printf("root: no module %s\n", name);
		return 1;
	}
	uint64_t before = books();
	int r = start(&m, &child);
	if (r < 0) {
		printf("root: %s: %s\n", name, error_name(r));
		return 1;
	}
	enum env_state state = env_wait(child);
	int status = state == ENV_EXITED ? env_status(child) : 1;
	if (state == ENV_FAULTED)
		env_report(child);
	bool whole = bury(&child, before);
	printf("root: %s ended with status %d, %lu frames free, as before: %s\n", name, status, frame_count_free(), whole ? "yes" : "NO");
	return status ? status : whole ? 0 : 1;
}

static int shell(void)
{
	struct module m;
	struct env *child;

	if (module_named("sh", &m) < 0) {
		printf("root: no module sh\n");
		return 1;
	}
	for (int faults = 0; faults < FAULTS_MAX; faults++) {
		uint64_t before = books();
		int r = start(&m, &child);
		if (r < 0) {
			printf("root: sh: %s\n", error_name(r));
			return 1;
		}
		if (env_wait(child) == ENV_EXITED) {
			int status = env_status(child);
			return bury(&child, before) || status ? status : 1;
		}
		env_report(child);
		bury(&child, before);
		printf("root: starting the shell again\n");
	}
	return 1;
}

int main(void)
{
	char name[32];
	int r = slot_claim(0, slots() + 1);

	if (r < 0 || (r = module_map_all()) < 0) {
		printf("root: %s\n", error_name(r));
		return 1;
	}
	printf("root: %lu frames free (%lu MiB), %u CPU%s, %u modules\n", frame_count_free(), frame_count_free() / 256,
	       info->ncpus, info->ncpus == 1 ? "" : "s", info->nmodules);
	return boot_option("test", name, sizeof(name)) ? test(name) : shell();
}
