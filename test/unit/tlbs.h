/*
 * tlbs.h - a model of what two CPUs' TLBs may hold: every frame that the loaded root reaches at the end of a step, until the
 * CPU loads a root again. It says whether a frame was reused too early, and whether a link outlived its grant.
 */
#pragma once
#include "frame.h"

#define TLBS 2u

/* From here on: nothing is in any TLB. */
void tlbs_begin(void);
/* After each step, which env `me` made: 0, or what is wrong in words. */
const char *tlbs_wrong(pfn_t me);
bool in_tlb(unsigned cpu, pfn_t f);
/* Is f linked by a foreign table that was allowed to by a grant? */
bool tlbs_granted(pfn_t f);
extern pfn_t tlbs_freed[4]; /* frames freed lately: the likeliest to be in a TLB still */
