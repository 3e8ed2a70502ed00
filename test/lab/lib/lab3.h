/* lab3.h - assignment 3: demand paging. What you write, in user/lab3/pager.c; docs/lab/3-demand-paging.md tells the story. */
#pragma once

#include "kit.h"

enum paged_kind {
	PAGED_ZERO,  /* pages begin as zeroes */
	PAGED_STACK, /* the same, from hi down; the lowest page is a guard */
	PAGED_FILE,  /* pages begin as the file's bytes; writes are private */
};

/* What is asked for at [lo, hi). */
struct paged {
	enum paged_kind kind;
	va_t lo, hi;
	unsigned rights;  /* RIGHT_R, or RIGHT_R | RIGHT_W */
	const char *file; /* PAGED_FILE: mapped somewhere, readable */
	size_t bytes;     /* its length: what follows in its last page is zero; pages behind that aren't there */
	uint64_t yours[4]; /* the pager's own, 0 at first */
};

/* A stack may be touched down to this many pages below its lowest page so far; further down it's a wild pointer. */
#define STACK_REACH 16u

/* Where evicted pages go: the tests' "disk", DISK_BLOCKS blocks of 4 KiB. Reading and writing counts. */
#define DISK_BLOCKS 96u
void disk_write(unsigned block, const void *page);
void disk_read(unsigned block, void *page);

/* Called once, before the first fault: at most `frames` pages of all areas together may be there at a time; 0: no limit. */
#define FRAMES_MAX 64u
void pager_start(unsigned frames);

/* The fault function of the areas' regions (region.h): r->arg is the struct paged. FAULT_DONE: the page is there, the instruction
 * is tried again; FAULT_KILL: not allowed. */
enum answer pager_fault(struct region *r, struct fault *f);
