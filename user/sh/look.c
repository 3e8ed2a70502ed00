/* look.c - maps, envs, ps, audit, why: what the table, frames of descendants and the refusal ring say. */
#include <stdio.h>
#include <string.h>

#include "console.h"
#include "maps.h"
#include "sh.h"
#include "start.h"
#include "syscall.h"

int cmd_maps(int argc, char **argv)
{
	pfn_t env = argc > 1 ? env_named(argv[1]) : env_self();
	unsigned printed = 0;

	if (!env)
		return SH_FAILED;
	if (env == env_self()) {
		maps_print(space_current());
		return SH_OK;
	}
	if (!env_below(env, env_self())) {
		printf("maps: %s is not below the shell: its tables are not for us to read\n", argv[1]);
		return SH_FAILED;
	}
	for (pfn_t root = frame_find(0, FH_PT4, env); root; root = frame_find(root, FH_PT4, env)) {
		if (printed++)
			printf("another address space, PT4 %#lx:\n", root);
		int r = maps_print_root(root);
		if (r < 0) {
			printf("maps: PT4 %#lx: %s\n", root, error_name(r));
			return SH_FAILED;
		}
	}
	if (!printed)
		puts("no address space");
	return SH_OK;
}

static void env_line(pfn_t env, unsigned depth)
{
	char name[2 * FH_ENV_DEPTH + 16];
	struct fh_env e;

	snprintf(name, sizeof(name), "%*s%#lx", (int)(2 * depth), "", env);
	printf("%-20s %#10lx", name, fh_owner(frame_record(env)->state));
	if (env_below(env, env_self()) && env_look(env, &e) == 0)
		printf(" %10lu %10lu  %s%s%s\n", fh_owned(e.account), fh_quota(e.account), env_title(env),
		       e.account & FH_ACCOUNT_FROZEN ? " frozen" : "", env == env_self() ? " (this shell)" : "");
	else
		printf(" %10s %10s  %s\n", "-", "-", env_title(env));
}

/* The envs whose parent is `parent`, each followed by those below it. */
static void env_tree(pfn_t parent, unsigned depth)
{
	env_line(parent, depth);
	if (depth == FH_ENV_DEPTH)
		return;
	for (pfn_t env = env_next(0); env; env = env_next(env))
		if (env != parent && fh_owner(frame_record(env)->state) == parent)
			env_tree(env, depth + 1);
}

int cmd_envs(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	printf("%-20s %10s %10s %10s  %s\n", "env", "parent", "owned", "quota", "title");
	env_tree(fh_name_pfn(info->root_env), 0);
	return SH_OK;
}

/* The CPU that runs the thread now, or -1. Every CPU frame says so to everybody. */
static int running_on(pfn_t thread)
{
	for (unsigned i = 0; i < info->ncpus; i++)
		if (fh_name_pfn(cpu_view(i)->thread) == thread)
			return (int)i;
	return -1;
}

static void thread_line(pfn_t thread)
{
	pfn_t env = fh_owner(frame_record(thread)->state);
	int cpu = running_on(thread);
	struct fh_thread t;

	printf("%#10lx %#10lx ", thread, env);
	if (!env_below(env, env_self()) || thread_look(thread, &t) < 0)
		printf("%-9s %18s", cpu < 0 ? "-" : "running", "-");
	else if (t.state == FH_RUNNING) /* its registers are in the CPU */
		printf("%-9s %18s", thread_state_name(t.state), "-");
	else
		printf("%-9s %#18lx", thread_state_name(t.state), t.regs.rip);
	if (cpu >= 0)
		printf(" %4d  %s\n", cpu, env_title(env));
	else if (env_below(env, env_self()))
		printf(" %4lu  %s\n", t.home, env_title(env));
	else
		printf(" %4s  %s\n", "-", env_title(env));
}

int cmd_ps(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	printf("%10s %10s %-9s %18s %4s  %s\n", "thread", "env", "state", "rip", "cpu", "title");
	for (pfn_t p = frame_find(0, FH_THREAD, 0); p; p = frame_find(p, FH_THREAD, 0))
		thread_line(p);
	return SH_OK;
}

static int needs_debug(const char *what)
{
	printf("%s: needs a kernel built with DEBUG=1\n", what);
	return SH_FAILED;
}

int cmd_audit(int argc, char **argv)
{
	(void)argc;
	if (!info->debug)
		return needs_debug(argv[0]);
	int64_t broken = sys_env_ctl(0, FH_ENV_AUDIT, 0, 0);
	if (broken == 0)
		printf("audit: every invariant holds, %lu frames\n", info->nframes);
	else if (broken > 0)
		printf("audit: %ld invariants broken\n", broken);
	else
		printf("audit: %s\n", error_name((int)broken));
	return broken ? SH_FAILED : SH_OK;
}

int cmd_why(int argc, char **argv)
{
	const volatile struct fh_refusals *ring = (const void *)info->refusals_va;
	char text[sizeof(ring->entry[0].text)];

	(void)argc;
	if (!info->refusals_va)
		return needs_debug(argv[0]);
	uint64_t next = ring->next;
	if (!next)
		puts("nothing was refused yet");
	for (uint64_t seq = next > FH_REFUSALS ? next - FH_REFUSALS : 0; seq < next; seq++) {
		const volatile __typeof__(ring->entry[0]) *e = &ring->entry[seq % FH_REFUSALS];
		uint32_t env = e->env, error = e->error;
		for (unsigned i = 0; i < sizeof(text); i++)
			text[i] = e->text[i];
		text[sizeof(text) - 1] = '\0';
		if (e->seq == seq) /* else it was overwritten while we read */
			printf("%6lu  env %#-8x %-10s %s\n", seq, env, error_name((int)error), text);
	}
	return SH_OK;
}
