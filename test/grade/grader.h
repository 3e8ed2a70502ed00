/* grader.h - what is done with the graded program: traces (trace.c), memory that runs out (exhaust.c), threads (threads.c). */
#pragma once

#include "blocks.h"
#include "subject.h"

#define TRACE_QUOTA 16384ul /* frames, 64 MiB */

extern const struct job *job;
extern const struct module *graded;

/* A line for tools/grade.py. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

void trace_run(const struct job_trace *, unsigned lanes);
void exhaust_run(void);
void threads_calibrate(unsigned work);
void threads_run(unsigned work);

/*
 * One call, with all that must hold after it; `what` says which in messages, as "trace binary, operation 3121". False:
 * something doesn't, and `trouble` says what. A NULL for memory is *id's block missing after it, and true.
 */
struct caller {
	char what[64];
	unsigned lane;
	struct spent spent;
	uint64_t live, most, held; /* bytes in use; at most; frames held at most */
	uint64_t pages, pages_most; /* if each block in use had pages of its own; at most */
};
static inline uint64_t block_pages(uint64_t bytes) { return bytes ? (bytes + FH_PAGE - 1) / FH_PAGE : 1; }
bool check_alloc(struct caller *, uint32_t id, uint64_t bytes, uint64_t align);
bool check_realloc(struct caller *, uint32_t id, uint64_t bytes);
bool check_free(struct caller *, uint32_t id);
/* Every block is as it was left. */
bool check_all(struct caller *);
/* The allocator's own check finds nothing. */
bool check_heap(struct caller *);
/* Free what is left, and ask for the memory back. *left: frames held then. */
bool check_end(struct caller *, uint64_t *left);
/* Note the frames that are held now. */
void count_held(struct caller *);
/*
 * Quota is there to be used: false if a quarter of it was held and more, ten times what was in use, twice what pages of its own
 * for each block would take. (Who gives each block a power of two of pages is far from the second, guard.c from the third.)
 */
bool check_held(const struct caller *, uint64_t quota);
extern bool hoarded; /* it was false once */
