/*
 * sh - the line shell. Looks at the machine, runs the modules, and ends with the worst status on its last line (root then
 * halts the machine with it).
 */
#include <stdlib.h>
#include <string.h>

#include "console.h"
#include "sh.h"
#include "share.h"
#include "start.h"

static int worst;    /* the highest status of any command on this line */
static bool ending;  /* halt was given */

static int cmd_help(int argc, char **argv);

/* halt [code] */
static int cmd_halt(int argc, char **argv)
{
	char *end = NULL;
	unsigned long code = argc > 1 ? strtoul(argv[1], &end, 0) : (unsigned long)worst;

	if (end && (*end || end == argv[1] || code > FH_HALT_MAX)) {
		printf("halt: the code is a number from 0 to %lu\n", FH_HALT_MAX);
		return SH_USAGE;
	}
	worst = code > FH_HALT_MAX ? (int)FH_HALT_MAX : (int)code;
	ending = true;
	return SH_OK;
}

static const struct {
	const char *name, *arguments, *help;
	command *run;
	int max; /* arguments at most; the rest is for the command to check */
} commands[] = {
    {"help", "", "this page", cmd_help, 0},
    {"maps", "[ENV]", "address space of the shell, or of an env: title or pfn", cmd_maps, 1},
    {"frames", "", "the ownership table by type and owner; free runs", cmd_frames, 0},
    {"envs", "", "the tree of envs: frames owned, quota", cmd_envs, 0},
    {"ps", "", "all threads", cmd_ps, 0},
    {"run", "NAME [ARG...] [&]", "run a module (& doesn't wait); `run` may be left out", cmd_run, SH_ARGS},
    {"run layout", "[NAME] [seed=N]", "run the program that lives in that layout; without NAME, list them. seed=random draws one", cmd_run, SH_ARGS},
    {"demo layouts", "", "all of these, one after another and at once", cmd_demo_layouts, 2},
    {"kill", "ENV", "end an env and all below it, free what they own", cmd_kill, 1},
    {"modules", "", "programs that can be run", cmd_modules, 0},
    {"ls", "", "the same", cmd_modules, 0},
    {"audit", "", "recompute all invariants of the table (DEBUG=1 kernels)", cmd_audit, 0},
    {"why", "", "what was refused of late, and why (DEBUG=1 kernels)", cmd_why, 0},
    {"halt", "[CODE]", "power off with CODE, or this line's worst status", cmd_halt, 1},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static int cmd_help(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	for (unsigned i = 0; i < COMMANDS; i++) {
		int n = printf("  %s %s", commands[i].name, commands[i].arguments);
		printf("%*s%s\n", n < 24 ? 24 - n : 1, "", commands[i].help);
	}
	puts("Commands are separated by `;`. 0 is success; `a; b; halt` tells of a failure.\n"
	     "Ctrl-C ends the program in the foreground, or clears the line. Ctrl-D is halt.\n"
	     "Ctrl-P, at any time, has the kernel print its state; Ctrl-L draws the line again.\n"
	     "Arrows, Home, End, Backspace, Delete, Ctrl-A E K U W and Tab edit the line.");
	return SH_OK;
}

const char *command_name(unsigned n)
{
	static struct module m;

	if (n < COMMANDS)
		return commands[n].name;
	return module_get(n - COMMANDS, &m) == 0 ? m.name : NULL;
}

/* Are these words this command? Its name may be two. */
static bool is_command(const char *name, int argc, char **argv)
{
	size_t n = strcspn(name, " ");

	if (strncmp(argv[0], name, n) != 0 || argv[0][n])
		return false;
	return !name[n] || (argc > 1 && strcmp(argv[1], name + n + 1) == 0);
}

/* One command. Its words lie in argv, argv[argc] is NULL. */
static int execute(int argc, char **argv)
{
	for (unsigned i = 0; i < COMMANDS; i++) {
		if (!is_command(commands[i].name, argc, argv))
			continue;
		int status = argc - 1 > commands[i].max ? SH_USAGE : commands[i].run(argc, argv);
		if (status == SH_USAGE)
			printf("usage: %s%s%s\n", commands[i].name, *commands[i].arguments ? " " : "", commands[i].arguments);
		return status;
	}
	if (run_knows(argv[0])) {
		memmove(argv + 1, argv, (size_t)(argc + 1) * sizeof(*argv));
		return cmd_run(argc + 1, argv);
	}
	printf("%s: no such command or module (help and modules list them)\n", argv[0]);
	return SH_UNKNOWN;
}

/* Cut one command into words; "&" is a word of its own. Returns how many, or -1: too many. */
static int split(char *text, char **argv)
{
	int argc = 0;

	for (char *word = strtok(text, " \t"); word; word = strtok(NULL, " \t")) {
		size_t n = strlen(word);
		bool background = n > 1 && word[n - 1] == '&';
		if (argc + background >= SH_ARGS - 1)
			return -1;
		if (background)
			word[n - 1] = '\0';
		argv[argc++] = word;
		if (background)
			argv[argc++] = "&";
	}
	argv[argc] = NULL;
	return argc;
}

static void execute_line(char *text)
{
	char *argv[SH_ARGS + 1];

	worst = 0;
	for (char *next; text && !ending; text = next) {
		if ((next = strchr(text, ';')))
			*next++ = '\0';
		int argc = split(text, argv), status = SH_OK;
		if (argc < 0) {
			printf("a command has at most %d words\n", SH_ARGS - 1);
			status = SH_USAGE;
		} else if (argc > 0) {
			status = execute(argc, argv);
		}
		if (!ending && status > worst)
			worst = status;
		if (status == SH_INTERRUPTED) /* Ctrl-C: the rest of the line is not wanted either */
			return;
	}
}

int main(void)
{
	static char text[SH_LINE];

	devices_take(); /* for programs that we start */
	puts("Freehold. `help` lists the commands.");
	while (!ending) {
		run_notices("");
		int r = line_read(text);
		if (r < 0) {
			printf("sh: the console is another env's: %s\n", error_name(r));
			return SH_FAILED;
		}
		execute_line(r == LINE_END ? strcpy(text, "halt") : text);
	}
	return worst;
}
