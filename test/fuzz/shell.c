/*
 * shell.c - the shell's line editor and parser on any keys: commands only look at their words. A byte 0xff stands for a
 * moment at which nothing was typed and something may be printed; 0xfe for console_read's end of a burst.
 */
#include "fuzz.h"
#include "syscall.h"
#define sys_thread_switch(to, give, mask, deadline) ((void)0)
#define main sh_main
#include "user/sh/line.c"
#include "user/sh/main.c"
#undef main

static struct input in;

int console_read(char *buffer, size_t n)
{
	size_t i = 0;
	if (in.n == 0)
		return -1;
	while (i < n && in.n) {
		buffer[i] = (char)take_bytes(&in, 1);
		if ((unsigned char)buffer[i] >= 0xfe)
			break;
		i++;
	}
	return (int)i;
}

bool run_notices(const char *before) { return *before && in.n && *in.at == 0xff; }

static void shown(const char *s, size_t n)
{
	FUZZ_CHECK(line.at <= line.n && line.n < SH_LINE && line.back <= HISTORY && line.back <= written);
	for (size_t i = 0; i < n; i++)
		FUZZ_CHECK(s[i] != 0);
}
void console_put(const char *s, size_t n) { shown(s, n); }
void kputs(const char *s) { shown(s, strlen(s)); }
int puts(const char *s) { kputs(s); return 0; }
int printf(const char *format, ...)
{
	char text[CONSOLE_LINE];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(text, sizeof text, format, args);
	va_end(args);
	kputs(text);
	return n;
}

static int words(int argc, char **argv)
{
	FUZZ_CHECK(argc >= 1 && argc <= SH_ARGS + 1 && argv[argc] == NULL);
	for (int i = 0; i < argc; i++)
		FUZZ_CHECK(argv[i] && *argv[i] && strlen(argv[i]) < SH_LINE && !strpbrk(argv[i], " \t;"));
	return argc % 5 == 3 ? SH_USAGE : argc % 5 == 4 ? SH_INTERRUPTED : SH_OK;
}

#define COMMAND(name) int name(int argc, char **argv) { return words(argc, argv); }
COMMAND(cmd_maps) COMMAND(cmd_frames) COMMAND(cmd_envs) COMMAND(cmd_ps) COMMAND(cmd_audit) COMMAND(cmd_why)
COMMAND(cmd_run) COMMAND(cmd_kill) COMMAND(cmd_modules) COMMAND(cmd_demo_layouts)
unsigned devices_take(void) { return 0; }
bool run_knows(const char *name) { return strncmp(name, "demo", 4) == 0; }
const char *error_name(int error) { (void)error; return "EPERM"; }
int module_get(unsigned i, struct module *m)
{
	static const char *const name[] = {"root", "sh", "demo", "demon"};
	if (i >= 4)
		return -1;
	strcpy(m->name, name[i]);
	return 0;
}

void fuzz_one(const uint8_t *bytes, size_t n)
{
	in = (struct input){bytes, n};
	memset(&line, 0, sizeof line);
	memset(history, 0, sizeof history);
	written = head = tail = 0;
	last_was_cr = ending = false;
	sh_main();
}
