/*
 * audit.h - debug builds: every invariant of DESIGN 2, recomputed from scratch and compared with the records.
 */
#pragma once
#include "types.h"

#ifdef DEBUG
/* Two counters for each frame, to recount into: references; of an ENV the frames it owns, of a table its foreign links. */
struct audit_count { uint32_t refs, owned; };
extern struct audit_count *audit_counts;
void audit_init(void);
/* How many violations; each is reported in a line. Nothing else may run meanwhile. */
long audit(void);
void audit_report(const char *invariant, uint64_t frame, uint64_t found, uint64_t expected);
#else
static inline void audit_init(void) {}
#endif
