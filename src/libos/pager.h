/*
 * pager.h - an external pager: a parent that answers the page faults of a child which has no handler, or whose handlers are
 * past their depth. The kernel stops such a thread FAULTED and rings its keeper; the pager maps the page and starts it again.
 */
#pragma once

#include "env.h"

struct pager {
	va_t lo, hi;      /* it answers faults in [lo, hi) */
	unsigned rights;  /* of the pages it maps */
	/* Fill the page that belongs at va; it comes zeroed. False: there is none. NULL: zeroes will do. */
	bool (*fill)(struct pager *, va_t va, void *page);
	void *arg;        /* fill's own */
	uint64_t answered; /* faults so far */
};

/* Be the pager of the child's first thread, until it exits or faults otherwise: which of the two. The pages are frames of the
 * child, against its quota. */
enum env_state pager_run(struct env *, struct pager *);
