/* blocks.c - a treap (Seidel, Aragon 1996) of intervals that don't overlap, its nodes in an array by id. Index 0: none. */
#include "blocks.h"

#include "kit.h"

#include "work.h"

static struct block *nodes;
static uint32_t count, capacity, root;
static uint64_t lot = 1;

void blocks_reset(uint32_t n)
{
	if (n > capacity) {
		int64_t p = mm_map(0, (n + 1ul) * sizeof(struct block), RIGHT_R | RIGHT_W, 0);
		if (mm_failed(p))
			panic("no memory for %u blocks", n);
		nodes = (struct block *)p;
		capacity = n;
	}
	count = n;
	root = 0;
	for (uint32_t i = 0; i <= n; i++)
		nodes[i] = (struct block){0};
}

struct block *blocks_touching(uint64_t lo, uint64_t hi)
{
	uint32_t i = root;

	while (i && (hi <= nodes[i].lo || lo >= nodes[i].hi))
		i = hi <= nodes[i].lo ? nodes[i].left : nodes[i].right;
	return i ? &nodes[i] : NULL;
}

/* Those below `at` to *l, the others to *r. */
static void split(uint32_t t, uint64_t at, uint32_t *l, uint32_t *r)
{
	if (!t) {
		*l = *r = 0;
	} else if (nodes[t].lo < at) {
		*l = t;
		split(nodes[t].right, at, &nodes[t].right, r);
	} else {
		*r = t;
		split(nodes[t].left, at, l, &nodes[t].left);
	}
}

static uint32_t merge(uint32_t l, uint32_t r)
{
	if (!l || !r)
		return l ? l : r;
	if (nodes[l].priority > nodes[r].priority) {
		nodes[l].right = merge(nodes[l].right, r);
		return l;
	}
	nodes[r].left = merge(l, nodes[r].left);
	return r;
}

struct block *blocks_add(uint32_t id, uint64_t p, uint64_t bytes)
{
	struct block *b = &nodes[id + 1];
	uint32_t *link = &root;

	*b = (struct block){.lo = p, .hi = p + (bytes ? bytes : 1), .bytes = bytes, .priority = (uint32_t)(work_random(&lot) >> 32)};
	while (*link && nodes[*link].priority >= b->priority)
		link = p < nodes[*link].lo ? &nodes[*link].left : &nodes[*link].right;
	split(*link, p, &b->left, &b->right);
	*link = id + 1;
	return b;
}

void blocks_remove(uint32_t id)
{
	struct block *b = &nodes[id + 1];
	uint32_t *link = &root;

	while (*link != id + 1)
		link = b->lo < nodes[*link].lo ? &nodes[*link].left : &nodes[*link].right;
	*link = merge(b->left, b->right);
	*b = (struct block){0};
}

struct block *blocks_get(uint32_t id) { return id < count && nodes[id + 1].hi ? &nodes[id + 1] : NULL; }
uint32_t blocks_id(const struct block *b) { return (uint32_t)(b - nodes) - 1; }
uint32_t blocks_ids(void) { return count; }
