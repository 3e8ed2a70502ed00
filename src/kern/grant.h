/*
 * grant.h - what passes from one env to another: windows and frames (DESIGN 5); what a parent asks back (DESIGN 7).
 */
#pragma once
#include "types.h"

/* A granted frame of these types may be taken; a PT1 or PT2, a window, may be linked. */
static inline bool takeable(unsigned type) { return type == FH_DATA || type == FH_DEVICE || type == FH_CPU; }
static inline bool grantable(unsigned type) { return takeable(type) || type == FH_PT1 || type == FH_PT2; }

long frame_grant(pfn_t me, uint64_t n, uint64_t name);
long frame_take(pfn_t me, uint64_t first, uint64_t n);
long frame_sync(uint64_t first, uint64_t n);

/* Post a request for n frames of e, to be met before a TSC deadline. 0 or -EBUSY. */
long env_revoke(pfn_t e, uint64_t n, uint64_t deadline);
