/*
 * pt.h - page-table operations: the transitions that put entries into tables, and take them out (DESIGN 3, 4).
 */
#pragma once
#include "types.h"
#include <mach.h>

/*
 * Carry out one round of an operation: as much as may still come before the next look at interrupts. *work, below ROUND, says
 * how much has been done since the last, and is added to: 1 for the operation, 1 for each slot, more where frames or tables aren't
 * the caller's own, ROUND for one slot of a PT2 (which is done only if *work was 0). The caller's copy `op` is advanced:
 * count down, index and pfn up; when count is 0 the operation is done, and its entry and status are the results.
 * `owner` receives the table's owner. 0 or -errno; a refusal leaves what earlier rounds did.
 */
long pt_round(pfn_t me, struct fh_op *op, pfn_t *owner, uint64_t *work);

/* One operation of count 1: status, or -errno; *old is the old entry. */
long pt_set(pfn_t me, uint64_t what, pte_t entry, va_t va, pte_t *old);

/* n operations in `ops`, which user code may be changing meanwhile: each word is read once. 0 or -errno of the one
 * refused; *done counts the whole ones. Stops early after a forced flush, when an interrupt is pending, and after ROUNDS. */
long pt_update(pfn_t me, struct fh_op *ops, uint64_t n, uint64_t *done);

/* -EBUSY if table t, which is `owner`'s, is linked by a stranger's, and that isn't `tenant`; else 0. */
long pt_unlinked(pfn_t t, pfn_t owner, pfn_t tenant);
/* Unlink table t, if it still is `owner`'s, from the foreign table that its record names, unless that is of an ancestor of
 * the owner. 0, or -EAGAIN. */
long pt_unlink_foreign(pfn_t t, pfn_t owner);

static inline bool canonical(va_t va) { return (uint64_t)((int64_t)(va << 16) >> 16) == va; }
/* An address that user code may have mapped: canonical and outside the kernel's slot. */
static inline bool user_address(va_t va) { return canonical(va) && va < FH_KERNEL_BASE; }
