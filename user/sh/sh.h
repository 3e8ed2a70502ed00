/*
 * sh.h - between the parts of the shell: main.c cuts lines into commands, line.c edits lines, run.c runs programs,
 * look.c and frames.c show what the ownership table says.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "env.h"

#define SH_LINE 256 /* bytes of a command line, its end included */
#define SH_ARGS 32
#define SH_PROMPT "fh> "

/* Exit statuses of commands, after the Unix shells. */
enum { SH_OK = 0, SH_FAILED = 1, SH_USAGE = 2, SH_UNKNOWN = 127, SH_INTERRUPTED = 130 };

/* A command: 0, or a status that says it failed, after it has said why. argv[argc] is NULL. */
typedef int command(int argc, char **argv);
command cmd_maps, cmd_frames, cmd_envs, cmd_ps, cmd_audit, cmd_why; /* look.c, frames.c */
command cmd_run, cmd_kill, cmd_modules, cmd_demo_layouts;          /* run.c */

/* -- line.c -- */
enum { LINE_DONE, LINE_END };
/* Read a line, with editing and history; LINE_END: Ctrl-D on an empty one. Prints the prompt. -errno: no console. */
int line_read(char line[SH_LINE]);
/* Take in what was typed, for the next line_read. True: Ctrl-C was typed; everything before it is dropped. */
bool line_interrupted(void);

/* -- main.c -- */
/* The n-th name that a command may begin with: built-in commands, then modules. NULL past the last. */
const char *command_name(unsigned n);

/* -- run.c -- */
/* Bury programs in the background that have ended, and say how, after `before`. True: something was printed. */
bool run_notices(const char *before);
/* Is there a module of this name? */
bool run_knows(const char *name);
/* The env that a word names: a title ("sh", "root", "demo") or the pfn of its ENV frame in hexadecimal. 0: says what is
 * wrong. */
pfn_t env_named(const char *word);
/* "root", our own name, or the title of a child; "" if we don't know. */
const char *env_title(pfn_t env);
