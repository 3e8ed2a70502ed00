/* blocks.h - the blocks that the runner holds, by address: do two of them overlap? In the grader's own memory. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct block {
	uint64_t lo, hi; /* hi: past its last byte; a block of 0 bytes has 1 here */
	uint64_t bytes;  /* as asked for */
	uint64_t key;    /* of its pattern (work.h) */
	uint32_t left, right, priority;
};

/* Forget all, and make room for ids 0 to n - 1. */
void blocks_reset(uint32_t n);
/* One that has a byte of [lo, hi); NULL: none. */
struct block *blocks_touching(uint64_t lo, uint64_t hi);
/* Enter block `id`, which overlaps none. */
struct block *blocks_add(uint32_t id, uint64_t p, uint64_t bytes);
void blocks_remove(uint32_t id);
/* Block `id`; NULL: not there. */
struct block *blocks_get(uint32_t id);
uint32_t blocks_id(const struct block *);
/* Ids made room for. */
uint32_t blocks_ids(void);
