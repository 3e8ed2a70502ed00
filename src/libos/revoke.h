/*
 * revoke.h - visible revocation and the abort protocol (DESIGN 7). A parent asks for frames; the child decides which it can
 * best spare, and gives them back with the quota for them. If it doesn't, the parent takes what it likes after the deadline,
 * and the child finds the names of those frames in its repossession vector.
 */
#pragma once

#include "env.h"

/* -- the child's side -- */
/* Free `frames` frames, or as many as can be spared, by TSC `deadline`; return how many. It runs in an upcall, between any
 * two instructions of the thread that called revoke_listen, but not while that holds a lock of the kit. */
typedef uint64_t revoke_handler(uint64_t frames, uint64_t deadline);
/* This thread is the env's listener from now on: at a request it calls `give` for what unused quota does not cover, and gives
 * the quota back. NULL: revoke_spare. 0 or -errno. */
int revoke_listen(revoke_handler *give);
/* The kit's own policy: empty page tables, frames that a fork's child has let go of. A handler of yours may end with it. */
revoke_handler revoke_spare;
/*
 * Frames that ancestors took from this env: up to `max` names into pfn[], oldest first, from number *seen on (0 at first),
 * which is advanced. Returns how many; *lost (may be NULL) counts those that newer ones have overwritten.
 */
size_t repossessed_next(uint64_t *seen, pfn_t pfn[], size_t max, uint64_t *lost);

/* -- the parent's side -- */
/* Ask a child for frames, and wait until it has given quota for that many back, or `ms` milliseconds are over. Returns how
 * many came back, or -errno. */
int64_t env_revoke(struct env *, uint64_t frames, uint64_t ms);
/* Take so many frames out of the child's mappings (mm_map), ready or not, and the quota for them; its unused quota counts.
 * Returns how many that were: fewer if it has no more 4 KiB pages there that only it refers to; or -errno. */
int64_t env_repossess(struct env *, uint64_t frames);
