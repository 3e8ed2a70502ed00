/*
 * share.h - memory shared between envs that needn't trust each other, and pages passed on (DESIGN 5).
 *
 * Envs find each other by name: a parent has its children's (struct env) and hands them on; each has its own
 * (env_self_name). What is granted to whom stands in the ownership table, for all to read: granted_next.
 *
 * Functions return 0 or -errno unless said otherwise; addresses are page-aligned, n counts pages of 4 KiB.
 */
#pragma once

#include "env.h"
#include "region.h"

/* Let the threads of `caller` (a name) ring those of `env` (a name; 0: this env): env is ours or below us. -ENOSPC: it
 * lists FH_ENV_CALLERS already. */
int env_admit(uint64_t env, uint64_t caller);
/* The first frame after pfn `after` that is granted to this env, of this type and owner (an ENV frame); 0: none. */
pfn_t granted_next(pfn_t after, unsigned type, pfn_t owner);
/* Device memory (frames of type DEVICE, root's at first) goes from parent to child, if both want it: take what the parent has
 * granted us; grant what we have to `env` (a name), our child. Each returns how many frames. A reaped child's come back. */
unsigned devices_take(void);
unsigned devices_give(uint64_t env);

/* ---- Windows: the owner's side. A window is a page table of ours with entries to pages of ours. It is granted to one
 *      tenant, who links it into its own tree. What stands in it, and whether it is linked at all, we say at any time. ---- */
#define WINDOW_PAGES 512u
struct window {
	pfn_t table;
};

/* A window without pages. -ENOMEM. */
int window_new(struct window *);
/*
 * Show the n pages mapped here from va on as pages [at, at + n) of the window, with `rights` (RIGHT_R|W|X); they stay
 * mapped here. Pages that this env may be forked with should be MM_SHARED, or a fork parts the two sides.
 * -EINVAL: past the window's end; -ENOENT: a page is not mapped; -EPERM: a page is our parent's, which a fork shares.
 */
int window_show(struct window *, unsigned at, va_t va, size_t n, unsigned rights);
/* Take pages [at, at + n) back: on return no CPU can reach them through the window. */
int window_hide(struct window *, unsigned at, size_t n);
/* Make `env` (a name) the tenant. -EBUSY: there is one already. */
int window_grant(struct window *, uint64_t env);
/* No tenant any more: on return no CPU can reach the window from anybody else's tree. */
int window_withdraw(struct window *);
/* Withdraw it and free its table. The pages are not touched. */
int window_free(struct window *);

/* ---- The tenant's side ---- */
/*
 * Link the window `table` at an address of the kit's choice (2 MiB-aligned). Rights not in `rights` are taken away in it,
 * whatever the owner shows. Faults in its 2 MiB are answered by `fault` (NULL: fault_guard) with region.arg = arg: when the
 * owner takes a page, or the window, back. A fork's child doesn't have the window. Returns the address, -EPERM (not
 * granted to us), -EBUSY (linked already), -ENOMEM.
 */
int64_t window_link(pfn_t table, unsigned rights, region_fault *fault, void *arg);
/* Unlink what window_link linked at va, withdrawn or not. */
int window_unlink(va_t va);

/* ---- Pages passed on, like a message: the frame changes its owner, with what is in it ---- */
/*
 * Unmap the page at va and grant its frame to `env` (a name). The frame counts as ours until it is taken; a touch of va is
 * answered by the region there. Returns the pfn, -ENOENT (nothing mapped), -EBUSY (somebody else refers to the frame: a
 * fork, a window), -EPERM (our parent's).
 */
int64_t page_give(va_t va, uint64_t env);
/* Become the owner of a frame that is granted to us, against our quota, and map it at va, where nothing is mapped. */
int page_take(pfn_t, va_t va, unsigned rights);
/* Ours again, mapped at va: a frame given that nobody has taken. -EPERM: it is somebody else's now. */
int page_recall(pfn_t, va_t va, unsigned rights);
