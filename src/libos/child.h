/*
 * child.h - the parts of making a child env that spawn and fork have in common. Order: child_new, then fill its space
 * with child_place and others, then child_start. If any step fails: child_abandon.
 */
#pragma once

#include "env.h"

/* env_list and its lock: env.c. */
void env_list_add(struct env *);
void env_list_remove(struct env *);
struct env *env_list_find(pfn_t env); /* NULL: it isn't our child */
void env_list_reset(void);            /* in a fork's child: it has none */

struct child {
	struct env *env;
	struct space space; /* its tables; peeked into until child_start */
};

/*
 * Make ENV and THREAD frame, quota (0: half of what we have left), PT4, and map what every program of the kit finds:
 * info, clock, refusals, ownership table (`share`: by a table of ours), recursive window. 0 or -errno.
 */
int child_new(struct child *, const char *title, uint64_t quota, struct frames *, bool share);

/* The space of a child's first thread, to be looked at and mapped into from here; space_unpeek it at the end. */
static inline struct space child_space(const struct env *e)
{
	return (struct space){.root = e->view->root, .env = e->pfn, .frames = space_current()->frames};
}

/* n pages of new frames, owned by the space's env, at va in it. Their first `lead` bytes are zero, then come `bytes` bytes
 * from src, then zeroes. */
int child_place(struct space *, va_t va, size_t n, unsigned rights, const void *src, size_t bytes, size_t lead);

/* Registers and bases of its first thread; its upcall and batch frames are at info's addresses in its space. Then CPU
 * slots (0: half of the spare ones), and off it goes unless `stopped`. */
int child_start(struct child *, const struct fh_regs *, uint64_t fs_base, unsigned slots, bool stopped);

/* Undo; returns `error`. */
int child_abandon(struct child *, int error);
