/*
 * run.c - modules as programs: start, wait, bury; and count the frames before and after, because a program that ends must
 * leave none behind.
 */
#include <stdlib.h>
#include <string.h>

#include "console.h"
#include "sh.h"
#include "start.h"
#include "syscall.h"

bool run_knows(const char *name)
{
	struct module m;
	return module_named(name, &m) == 0;
}

int cmd_modules(int argc, char **argv)
{
	struct module m;

	(void)argc;
	(void)argv;
	for (unsigned i = 0; module_get(i, &m) == 0; i++)
		printf("%-12s %8lu bytes  %s\n", m.name, m.bytes, m.command);
	return SH_OK;
}

/* Frames that are FREE, or that this env has in use: data that is mapped, and tables. The difference of two counts is
 * what is lost, though the kit has mapped a page more for its records meanwhile. */
static uint64_t frames_at_hand(void)
{
	pfn_t me = env_self();
	uint64_t n = 0;

	for (pfn_t p = 0; p < info->nframes; p++) {
		uint64_t state = frame_record(p)->state;
		unsigned type = fh_type(state);
		n += type == FH_FREE || (type >= FH_DATA && type <= FH_PT4 && fh_owner(state) == me && fh_refs(state));
	}
	return n;
}

/* How the child ended, in words and as a status. */
static int report(struct env *e)
{
	if (env_state(e) == ENV_FAULTED) {
		struct fh_thread t;
		unsigned vector = thread_look(e->thread, &t) < 0 ? 0 : (unsigned)t.regs.vector;
		env_report(e);
		return 128 + (int)(vector & 31);
	}
	int status = env_status(e);
	if (status)
		printf("%s: exit status %d\n", e->title, status);
	return status;
}

/* `before`: frames_at_hand when it was started, 0: unknown. */
static int bury(struct env *e, uint64_t before)
{
	char title[ENV_TITLE];
	uint64_t freed = 0;

	strcpy(title, e->title);
	int r = env_reap(&e, &freed);
	if (r < 0) {
		printf("%s: can't be reaped: %s\n", title, error_name(r));
		return SH_FAILED;
	}
	if (!before || env_list) /* others run beside us: the count says nothing */
		return SH_OK;
	int64_t lost = (int64_t)(before - frames_at_hand());
	if (lost)
		printf("%s: frames leaked: %ld (%lu given back)\n", title, lost, freed);
	return lost ? SH_FAILED : SH_OK;
}

bool run_notices(const char *before)
{
	bool said = false;

	for (struct env *e = env_list, *next; e; e = next) {
		next = e->next;
		if (env_state(e) == ENV_RUNNING)
			continue;
		if (!said)
			kputs(before);
		said = true;
		if (env_state(e) == ENV_EXITED && env_status(e) == 0)
			printf("%s: done\n", e->title);
		else
			report(e);
		bury(e, 0);
	}
	return said;
}

/* Wait for the program in the foreground, and for Ctrl-C. True: it was killed. */
static bool wait_for(struct env *e)
{
	bool killed = false;

	while (env_state(e) == ENV_RUNNING) {
		if (line_interrupted() && !killed) {
			kputs("^C\n");
			killed = true;
		}
		if (killed)
			env_kill(e); /* waits until it has stopped; again if it didn't in time */
		if (env_state(e) == ENV_RUNNING)
			sys_thread_switch(0, 0, 1ul << BELL_CHILD | 1ul << BELL_CONSOLE, 0);
	}
	return killed;
}

/* Is it a program that lives in a layout of its own? Then it is in a directory that says so. */
static bool in_layout(const struct module *m) { return strstr(m->command, "layout/") != NULL; }

static int list_layouts(void)
{
	struct module m;

	kputs("run layout NAME:");
	for (unsigned i = 0; module_get(i, &m) == 0; i++)
		if (in_layout(&m))
			printf(" %s", m.name);
	kputs("\n");
	return SH_OK;
}

/* Takes seed=N or seed=random out of the words. False: N is no number. */
static bool take_seed(int *argc, char **argv, uint64_t *seed)
{
	char *end;

	*seed = 0;
	if (*argc < 3 || strncmp(argv[2], "seed=", 5) != 0)
		return true;
	while (strcmp(argv[2], "seed=random") == 0 && !*seed)
		*seed = cpu_tsc() * 0x9e3779b97f4a7c15; /* so that near ones look different */
	if (!*seed) {
		*seed = strtoul(argv[2] + 5, &end, 0);
		if (*end || end == argv[2] + 5)
			return false;
	}
	for (int i = 2; i < *argc; i++)
		argv[i] = argv[i + 1];
	(*argc)--;
	printf("seed=%#lx\n", *seed);
	return true;
}

/* One after another, each with its maps; then as many of them at once as have room, with so many frames for each at least. */
#define DEMO_FRAMES 1400u
int cmd_demo_layouts(int argc, char **argv)
{
	enum { MOST = 32 };
	struct env *e, *all[MOST];
	uint64_t before = frames_at_hand();
	struct module m;
	unsigned n = 0;
	int worst = 0;

	(void)argc, (void)argv;
	for (unsigned i = 0; module_get(i, &m) == 0; i++) {
		char *words[] = {"run", m.name, NULL};
		int status = in_layout(&m) ? cmd_run(2, words) : 0;
		if (status == SH_INTERRUPTED)
			return status;
		worst = status > worst ? status : worst;
		n += in_layout(&m);
	}
	struct fh_env me;
	uint64_t left = env_look(env_self(), &me) == 0 ? fh_quota(me.account) - fh_owned(me.account) : 0;
	unsigned most = left / DEMO_FRAMES > MOST ? MOST : left >= DEMO_FRAMES ? (unsigned)(left / DEMO_FRAMES) : 1;
	most = most < n ? most : n;
	printf("all %u, %u at once, on %u CPU%s:\n", n, most, info->ncpus, info->ncpus == 1 ? "" : "s");
	struct spawn_options o = {.slots = slot_count() / (most + 1), .quota = left / (most + 1)};
	n = 0;
	for (unsigned i = 0, end = 0; !end;) {
		char *words[] = {m.name, "-q", NULL};
		end = module_get(i++, &m) != 0;
		if (!end && in_layout(&m) && spawn(&all[n], m.data, m.bytes, words, &o) == 0)
			n++;
		else if (!end && in_layout(&m))
			worst = SH_FAILED;
		while ((end || n == most) && n > 0) {
			e = all[--n];
			int status = wait_for(e) ? SH_INTERRUPTED : report(e), buried = bury(e, n ? 0 : before);
			worst = status > worst ? status : buried > worst ? buried : worst;
		}
	}
	return worst;
}

int cmd_run(int argc, char **argv)
{
	bool background = strcmp(argv[argc - 1], "&") == 0;
	struct spawn_options o = {.envp = (char *const[]){"SHELL=sh", "TERM=vt100", NULL}};
	struct module m;
	struct env *e;

	argv[argc -= background] = NULL;
	if (argc > 1 && strcmp(argv[1], "layout") == 0) {
		if (argc == 2)
			return list_layouts();
		argv++;
		argc--;
		if (!take_seed(&argc, argv, &o.seed)) {
			printf("%s: give seed=N, a number, or seed=random\n", argv[2]);
			return SH_FAILED;
		}
	}
	if (argc < 2)
		return SH_USAGE;
	if (module_named(argv[1], &m) < 0) {
		printf("%s: no such module (modules lists them)\n", argv[1]);
		return SH_UNKNOWN;
	}
	uint64_t before = frames_at_hand();
	o.devices = in_layout(&m);
	int r = spawn(&e, m.data, m.bytes, argv + 1, &o);
	if (r < 0) {
		printf("%s: can't be started: %s\n", argv[1], error_name(r));
		return SH_FAILED;
	}
	if (background) {
		printf("%s: env %#lx\n", e->title, e->pfn);
		return SH_OK;
	}
	bool killed = wait_for(e);
	int status = killed ? SH_INTERRUPTED : report(e), buried = bury(e, before);
	return status ? status : buried;
}

const char *env_title(pfn_t env)
{
	if (env == env_self())
		return program_name;
	if (env == fh_name_pfn(info->root_env))
		return "root";
	for (struct env *e = env_list; e; e = e->next)
		if (e->pfn == env)
			return e->title;
	return "";
}

pfn_t env_named(const char *word)
{
	pfn_t found = 0;
	unsigned titled = 0;

	for (pfn_t env = env_next(0); env; env = env_next(env)) {
		if (strcmp(env_title(env), word) == 0) {
			found = env;
			titled++;
		}
	}
	if (titled == 1)
		return found;
	if (titled > 1) {
		printf("%s: %u envs have this title: name one by its pfn (envs lists them)\n", word, titled);
		return 0;
	}
	char *end;
	found = strtoul(word, &end, 16);
	if (!*end && end > word && found < info->nframes && fh_type(frame_record(found)->state) == FH_ENV)
		return found;
	printf("%s: no such env (envs lists them)\n", word);
	return 0;
}

int cmd_kill(int argc, char **argv)
{
	uint64_t freed = 0;
	pfn_t env;

	if (argc != 2)
		return SH_USAGE;
	if (!(env = env_named(argv[1])))
		return SH_FAILED;
	if (env == env_self() || !env_below(env, env_self())) {
		printf("kill: %s is not below the shell: that is another's to decide\n", argv[1]);
		return SH_FAILED;
	}
	int r = env_reap_pfn(env, &freed);
	if (r < 0) {
		printf("kill: %s\n", error_name(r));
		return SH_FAILED;
	}
	printf("env %#lx ended, %lu frames given back\n", env, freed);
	return SH_OK;
}
