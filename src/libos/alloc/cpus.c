/*
 * cpus.c - size classes with a cache of free objects for each CPU: the magazine layer of Bonwick and Adams, "Magazines and
 * Vmem: Extending the Slab Allocator to Many CPUs and Arbitrary Resources", USENIX 2001, in the form of tcmalloc (Ghemawat and
 * Menage) and its per-CPU mode.
 *
 *   CPU 0: 16 [o-o-o] 32 [o] ...   CPU 1: 16 [] 32 [o-o] ...        a list of free objects for each class
 *              |   ^ a batch at a time
 *              v   |
 *   class 16: spans with free objects      class 32: ...            one lock each
 *              |   ^ a span at a time
 *              v   |
 *   spans.h: the arena, large blocks                                 one lock
 *
 * A thread uses the cache of the CPU that it is on. It may be moved to another one in between, or interrupted: so each cache
 * has a lock, which is nearly always free, and lies in cache lines of its own. An object freed on another CPU than it was
 * allocated on goes to that CPU's cache; a cache that has too many gives a batch back to the class: so producers and consumers
 * pass memory round, and no CPU hoards it.
 *
 * Invariants: a free object is in one cache or in its span's list. A span with an object in its list is in its class's list.
 * Locks are taken from the top of the picture down.
 *
 * Cost: malloc and free are a list operation under a lock that nobody else wants. Good at: many threads. Bad at: space, when
 * there is little of it: a span for each class in use, and what the caches hold.
 */
#include "heap.h"
#include "source.h"
#include "spans.h"
#include "sync.h"

static const uint16_t sizes[] = {16,  32,  48,  64,  80,  96,   112,  128,  160,  192,  224,  256,  320,  384,
                                 448, 512, 640, 768, 896, 1024, 1344, 1792, 2688, 4032, 8128};
#define CLASSES (sizeof(sizes) / sizeof(sizes[0]))
#define LARGEST 8128ul
#define CACHES 16u /* CPUs beyond share them */
#define BATCH_BYTES 2048u
#define BATCH_MAX 16u

struct span {
	struct span *next, *prev; /* in its class's list */
	void *free;               /* through the objects' first words */
	unsigned class, used, n;  /* used: objects not in `free`, those in caches too */
};

static struct {
	struct mutex lock;
	struct span *partial;
} classes[CLASSES];

static struct cache {
	struct mutex lock;
	struct {
		void *first;
		unsigned n;
	} list[CLASSES];
} __attribute__((aligned(64))) caches[CACHES];

static struct mutex spans_lock;
static struct spans spans;

static struct span *span_head(void *p) { return (struct span *)((char *)span_of(p) + SPAN) - 1; }
/* Objects that go to or from a cache at once. */
static unsigned batch(unsigned class)
{
	return sizes[class] * BATCH_MAX <= BATCH_BYTES ? BATCH_MAX : 1 + BATCH_BYTES / sizes[class];
}


static unsigned class_for(size_t n, size_t align)
{
	if (n <= 128 && align <= HEAP_ALIGN)
		return n ? (unsigned)(n - 1) / 16 : 0;
	for (unsigned i = 0; n <= LARGEST && align <= 64 && i < CLASSES; i++)
		if (sizes[i] >= n && sizes[i] % align == 0)
			return i;
	return CLASSES;
}

/* ---- A class and its spans; the class is locked ---- */

static void list_in(struct span *s)
{
	s->prev = NULL;
	s->next = classes[s->class].partial;
	if (s->next)
		s->next->prev = s;
	classes[s->class].partial = s;
}

static void list_out(struct span *s)
{
	if (s->next)
		s->next->prev = s->prev;
	if (s->prev)
		s->prev->next = s->next;
	else
		classes[s->class].partial = s->next;
}

static struct span *new_span(unsigned class)
{
	mutex_lock(&spans_lock);
	char *span = span_new(&spans);
	mutex_unlock(&spans_lock);
	if (!span)
		return NULL;
	struct span *s = span_head(span);
	*s = (struct span){.class = class, .n = (unsigned)(SPAN - sizeof(*s)) / sizes[class]};
	for (unsigned i = s->n; i-- > 0;) {
		void **object = (void **)(span + i * sizes[class]);
		*object = s->free;
		s->free = object;
	}
	list_in(s);
	return s;
}

static void end_span(struct span *s)
{
	list_out(s);
	mutex_lock(&spans_lock);
	span_free(&spans, span_of(s));
	mutex_unlock(&spans_lock);
}

/* An object of the class; NULL: no memory. */
static void *class_take(unsigned class)
{
	struct span *s = classes[class].partial ? classes[class].partial : new_span(class);

	if (!s)
		return NULL;
	void **object = s->free;
	s->free = *object;
	s->used++;
	if (!s->free)
		list_out(s);
	return object;
}

/* An object comes back. An empty span goes, if it isn't the last one with something free. */
static void class_put(void *p)
{
	struct span *s = span_head(p);

	if (!s->free)
		list_in(s);
	*(void **)p = s->free;
	s->free = p;
	if (--s->used == 0 && (s->next || s->prev))
		end_span(s);
}

/* ---- A CPU's cache; it is locked ---- */

static void cache_push(struct cache *c, unsigned class, void *p)
{
	*(void **)p = c->list[class].first;
	c->list[class].first = p;
	c->list[class].n++;
}

static void *cache_pop(struct cache *c, unsigned class)
{
	void *p = c->list[class].first;

	if (p) {
		c->list[class].first = *(void **)p;
		c->list[class].n--;
	}
	return p;
}

static void cache_flush(struct cache *c, unsigned class, unsigned n)
{
	while (n-- > 0 && c->list[class].n)
		class_put(cache_pop(c, class));
}

static struct cache *cache_here(void)
{
	struct cache *c = &caches[source_cpu() % CACHES];

	mutex_lock(&c->lock);
	return c;
}

/* ---- What malloc calls ---- */

static void *cpus_alloc(struct allocator *a, size_t n, size_t align)
{
	unsigned class = class_for(n, align);
	void *p;

	(void)a;
	if (class == CLASSES) {
		mutex_lock(&spans_lock);
		p = large_new(&spans, n, align);
		mutex_unlock(&spans_lock);
		return p;
	}
	struct cache *c = cache_here();
	if (!(p = cache_pop(c, class))) {
		mutex_lock(&classes[class].lock);
		p = class_take(class);
		for (unsigned i = 1; p && i < batch(class) && classes[class].partial; i++) /* no new span for the rest */
			cache_push(c, class, class_take(class));
		mutex_unlock(&classes[class].lock);
	}
	mutex_unlock(&c->lock);
	return p;
}

static void cpus_free(struct allocator *a, void *p)
{
	(void)a;
	if (!span_holds(&spans, p)) {
		mutex_lock(&spans_lock);
		large_free(&spans, p);
		mutex_unlock(&spans_lock);
		return;
	}
	unsigned class = span_head(p)->class;
	struct cache *c = cache_here();
	cache_push(c, class, p);
	if (c->list[class].n > 2 * batch(class)) {
		mutex_lock(&classes[class].lock);
		cache_flush(c, class, batch(class));
		mutex_unlock(&classes[class].lock);
	}
	mutex_unlock(&c->lock);
}

static size_t cpus_size(struct allocator *a, void *p)
{
	(void)a;
	return span_holds(&spans, p) ? sizes[span_head(p)->class] : large_size(p);
}

/* ---- Everything stands still ---- */

static void lock_all(void)
{
	for (unsigned i = 0; i < CACHES; i++)
		mutex_lock(&caches[i].lock);
	for (unsigned i = 0; i < CLASSES; i++)
		mutex_lock(&classes[i].lock);
	/* spans_lock is the last, and held only for moments: who needs it takes it */
}

static void unlock_all(void)
{
	for (unsigned i = CLASSES; i-- > 0;)
		mutex_unlock(&classes[i].lock);
	for (unsigned i = CACHES; i-- > 0;)
		mutex_unlock(&caches[i].lock);
}

static void flush_all(void)
{
	for (unsigned i = 0; i < CACHES; i++)
		for (unsigned class = 0; class < CLASSES; class++)
			cache_flush(&caches[i], class, ~0u);
}

static void cpus_fork(struct allocator *a, enum heap_fork step)
{
	(void)a;
	if (step == HEAP_FORK_BEFORE) {
		lock_all();
		mutex_lock(&spans_lock);
	} else if (step == HEAP_FORK_PARENT) {
		mutex_unlock(&spans_lock);
		unlock_all();
	} else {
		spans_lock = (struct mutex){0};
		for (unsigned i = 0; i < CLASSES; i++)
			classes[i].lock = (struct mutex){0};
		for (unsigned i = 0; i < CACHES; i++)
			caches[i].lock = (struct mutex){0};
	}
}

static size_t cpus_trim(struct allocator *a)
{
	(void)a;
	lock_all();
	size_t before = spans.count;
	flush_all();
	for (unsigned i = 0; i < CLASSES; i++)
		for (struct span *s = classes[i].partial, *next; s; s = next) {
			next = s->next;
			if (s->used == 0)
				end_span(s);
		}
	mutex_lock(&spans_lock);
	before -= spans.count;
	spans_end(&spans);
	mutex_unlock(&spans_lock);
	unlock_all();
	return before * SPAN;
}

/* One bit for each free object of a span; how many. */
static unsigned free_objects(const struct span *s, const char *first, uint64_t *bits)
{
	unsigned n = 0;

	memset(bits, 0, SPAN / 16 / 8);
	for (void **p = s->free; p && n <= s->n; p = *p, n++) {
		size_t at = (size_t)((char *)p - first), i = at / sizes[s->class];
		if (i >= s->n || at % sizes[s->class])
			return ~0u;
		bits[i / 64] |= 1ul << i % 64;
	}
	return n;
}

static void cpus_walk(struct allocator *a, heap_visitor *visit, void *arg)
{
	uint64_t bits[SPAN / 16 / 64];
	size_t place = 0;

	(void)a;
	lock_all();
	flush_all();
	mutex_lock(&spans_lock);
	for (char *span; (span = span_next(&spans, &place)) != NULL;) {
		struct span *s = span_head(span);
		free_objects(s, span, bits);
		for (unsigned i = 0; i < s->n; i++)
			visit(arg, span + i * sizes[s->class], sizes[s->class], !(bits[i / 64] >> i % 64 & 1));
	}
	large_walk(&spans, visit, arg);
	mutex_unlock(&spans_lock);
	unlock_all();
}

static int cpus_check(struct allocator *a)
{
	uint64_t bits[SPAN / 16 / 64];
	size_t place = 0, partial = 0, listed = 0;

	(void)a;
	lock_all();
	mutex_lock(&spans_lock);
	int bad = large_check(&spans);
	for (char *span; (span = span_next(&spans, &place)) != NULL;) {
		struct span *s = span_head(span);
		bad += free_objects(s, span, bits) != s->n - s->used;
		partial += s->free != NULL;
	}
	for (unsigned i = 0; i < CLASSES; i++)
		for (struct span *s = classes[i].partial, *prev = NULL; s && listed <= partial; prev = s, s = s->next, listed++)
			bad += s->class != i || s->prev != prev || !s->free;
	for (unsigned i = 0; i < CACHES; i++)
		for (unsigned class = 0; class < CLASSES; class++) {
			unsigned n = 0;
			for (void **p = caches[i].list[class].first; p && n <= caches[i].list[class].n; p = *p, n++)
				bad += !span_holds(&spans, p) || span_head(p)->class != class;
			bad += n != caches[i].list[class].n;
		}
	mutex_unlock(&spans_lock);
	unlock_all();
	return bad + (partial != listed);
}

struct allocator allocator_cpus = {
    .name = "cpus",
    .threads = true,
    .alloc = cpus_alloc,
    .free = cpus_free,
    .size = cpus_size,
    .check = cpus_check,
    .walk = cpus_walk,
    .trim = cpus_trim,
    .fork = cpus_fork,
};
