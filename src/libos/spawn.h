/* spawn.h - between spawn.c and layouts that make the stack of a new program themselves. */
#pragma once

#include "image.h"

/* A program about to be started. */
struct program {
	struct image image;
	struct places places;    /* all of it is known, but where areas begin that come `after` another */
	char *const *argv;
	char *const *envp;       /* or NULL */
};

/*
 * The kit's way to make a stack: its highest pages, in the topmost of them argc, argv, envp, an empty auxv and the strings,
 * and on top of all the struct places. Sets rsp, and rsi, which start.c finds the places by. -E2BIG: more than fits a page.
 */
int spawn_stack(struct child *, const struct program *, struct fh_regs *);
