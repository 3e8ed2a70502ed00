/*
 * slab.c - the slab allocator: Bonwick, "The Slab Allocator: An Object-Caching Kernel Memory Allocator", USENIX Summer 1994.
 * A cache hands out objects of one size. It gets its memory in slabs, a run of pages cut into objects, with a struct slab at
 * the end and a list of the free ones; a slab goes back to the system as a whole, when its last object is freed.
 *
 *   | colour | object | object | ....................... | object | rest | struct slab |
 *   ^ aligned to SPAN                                                                   ^
 *
 * malloc takes the smallest cache that fits, as Solaris' kmem_alloc did. Slabs of a cache begin their objects at different
 * offsets (its colours), so that the first objects of all slabs don't compete for the same lines of the CPU's cache.
 *
 * Invariants: a slab with a free object is in its cache's list, others are in none. Of empty slabs a cache keeps one.
 *
 * Cost: malloc and free take a few steps, always; no head before an object. Good at: many objects of few sizes; memory that
 * freed objects leave serves other sizes as soon as a slab is empty. Bad at: sizes between classes (up to 1/4 is lost), a few
 * objects of each of many sizes (a slab each), a slab with one long-lived object; many threads (one lock: see cpus.c).
 */
#include "heap.h"
#include "source.h"
#include "spans.h"

struct cache;
struct slab {
	struct slab *next, *prev; /* in its cache's list */
	struct cache *cache;
	void *free;        /* a list through the objects' first words */
	char *first;       /* object */
	unsigned used, n;  /* objects in use; in all */
};

struct cache {
	size_t size;
	struct slab *partial; /* slabs that have a free object */
	unsigned colour, empty;
};

static struct cache caches[] = {
    {.size = 16},  {.size = 32},   {.size = 48},   {.size = 64},   {.size = 80},   {.size = 96},   {.size = 128},
    {.size = 160}, {.size = 192},  {.size = 256},  {.size = 320},  {.size = 384},  {.size = 512},  {.size = 640},
    {.size = 768}, {.size = 1024}, {.size = 1344}, {.size = 1792}, {.size = 2688}, {.size = 4032}, {.size = 8128},
};
#define CACHES (sizeof(caches) / sizeof(caches[0]))
#define LARGEST 8128ul
#define LINE 64u

static struct spans spans;

static struct slab *slab_of(void *p) { return (struct slab *)((char *)span_of(p) + SPAN) - 1; }

static void list_in(struct slab *s)
{
	struct cache *c = s->cache;

	s->prev = NULL;
	s->next = c->partial;
	if (s->next)
		s->next->prev = s;
	c->partial = s;
}

static void list_out(struct slab *s)
{
	if (s->next)
		s->next->prev = s->prev;
	if (s->prev)
		s->prev->next = s->next;
	else
		s->cache->partial = s->next;
}

/* ---- kmem_cache_grow, kmem_cache_reap ---- */

static struct slab *slab_new(struct cache *c)
{
	char *span = span_new(&spans);

	if (!span)
		return NULL;
	struct slab *s = slab_of(span);
	size_t room = SPAN - sizeof(*s), rest = room % c->size;
	*s = (struct slab){.cache = c, .n = (unsigned)(room / c->size)};
	s->first = span + c->colour;
	c->colour = c->colour + LINE <= rest ? c->colour + LINE : 0;
	for (unsigned i = s->n; i-- > 0;) {
		void **object = (void **)(s->first + i * c->size);
		*object = s->free;
		s->free = object;
	}
	c->empty++;
	list_in(s);
	return s;
}

static void slab_end(struct slab *s)
{
	s->cache->empty--;
	list_out(s);
	span_free(&spans, span_of(s));
}

/* ---- kmem_cache_alloc, kmem_cache_free ---- */

static void *cache_alloc(struct cache *c)
{
	struct slab *s = c->partial ? c->partial : slab_new(c);

	if (!s)
		return NULL;
	void **object = s->free;
	s->free = *object;
	c->empty -= s->used++ == 0;
	if (!s->free)
		list_out(s);
	return object;
}

static void cache_free(void *p)
{
	struct slab *s = slab_of(p);

	if (!s->free)
		list_in(s);
	*(void **)p = s->free;
	s->free = p;
	if (--s->used == 0 && s->cache->empty++ > 0)
		slab_end(s);
}

/* ---- What malloc calls ---- */

/* Objects of multiples of 64 bytes are aligned to 64, since colours are; more goes to large blocks. */
static struct cache *cache_for(size_t n, size_t align)
{
	for (unsigned i = 0; n <= LARGEST && align <= LINE && i < CACHES; i++)
		if (caches[i].size >= n && caches[i].size % align == 0)
			return &caches[i];
	return NULL;
}

static void *slab_alloc(struct allocator *a, size_t n, size_t align)
{
	struct cache *c = cache_for(n, align);

	(void)a;
	return c ? cache_alloc(c) : large_new(&spans, n, align);
}

static void slab_free(struct allocator *a, void *p)
{
	(void)a;
	if (span_holds(&spans, p))
		cache_free(p);
	else
		large_free(&spans, p);
}

static size_t slab_size(struct allocator *a, void *p)
{
	(void)a;
	return span_holds(&spans, p) ? slab_of(p)->cache->size : large_size(p);
}

/* Which objects of a slab are free: one bit each. How many. */
static unsigned free_objects(const struct slab *s, uint64_t *bits)
{
	unsigned n = 0;

	memset(bits, 0, SPAN / 16 / 8);
	for (void **p = s->free; p && n <= s->n; p = *p, n++) {
		size_t i = (size_t)((char *)p - s->first) / s->cache->size;
		if (i >= s->n || (size_t)((char *)p - s->first) % s->cache->size)
			return ~0u;
		bits[i / 64] |= 1ul << i % 64;
	}
	return n;
}

static void slab_walk(struct allocator *a, heap_visitor *visit, void *arg)
{
	uint64_t bits[SPAN / 16 / 64];
	size_t place = 0;

	(void)a;
	for (char *span; (span = span_next(&spans, &place)) != NULL;) {
		struct slab *s = slab_of(span);
		free_objects(s, bits);
		for (unsigned i = 0; i < s->n; i++)
			visit(arg, s->first + i * s->cache->size, s->cache->size, !(bits[i / 64] >> i % 64 & 1));
	}
	large_walk(&spans, visit, arg);
}

static int slab_check(struct allocator *a)
{
	uint64_t bits[SPAN / 16 / 64];
	size_t place = 0, partial = 0, listed = 0;
	int bad = large_check(&spans);

	(void)a;
	for (char *span; (span = span_next(&spans, &place)) != NULL;) {
		struct slab *s = slab_of(span);
		bad += free_objects(s, bits) != s->n - s->used;
		partial += s->free != NULL;
	}
	for (unsigned i = 0; i < CACHES; i++) {
		unsigned empty = 0;
		for (struct slab *s = caches[i].partial, *prev = NULL; s && listed <= partial; prev = s, s = s->next, listed++) {
			bad += s->cache != &caches[i] || s->prev != prev || !s->free;
			empty += s->used == 0;
		}
		bad += empty != caches[i].empty;
	}
	return bad + (partial != listed);
}

static size_t slab_trim(struct allocator *a)
{
	size_t before = spans.count;

	(void)a;
	for (unsigned i = 0; i < CACHES; i++)
		for (struct slab *s = caches[i].partial, *next; s; s = next) {
			next = s->next;
			if (s->used == 0)
				slab_end(s);
		}
	before -= spans.count;
	spans_end(&spans);
	return before * SPAN;
}

struct allocator allocator_slab = {
    .name = "slab",
    .alloc = slab_alloc,
    .free = slab_free,
    .size = slab_size,
    .check = slab_check,
    .walk = slab_walk,
    .trim = slab_trim,
};
