/*
 * osvheap.c - malloc of the layouts osv and osv_2022: the area that an address is in says what the block is.
 *
 *   mempool  [record | objects of one size ...]   a page; the record at its start is found from any object by its address
 *   page     [object]                             a page, and nothing else
 *   main     [ ... record | object .............]  a run of frames; the record right before the object
 *
 * Each is mapped once, where it is used; the other areas show it when they are touched (fault_alias).
 */
#include <stdio.h>
#include <string.h>

#include "env.h"
#include "osv.h"
#include "spacewalk.h"
#include "start.h"

#define RW (RIGHT_R | RIGHT_W)
#define SMALLEST 16u
#define POOLS 7u /* 16, 32, ... 1024 */
#define POOL_MAGIC 0x6c6f6f706d656dul

struct pool { /* at the start of its page */
	uint64_t magic;
	struct pool *next, *prev;
	void **free; /* each free object begins with the address of the next */
	uint32_t bytes, used;
};

struct run { /* before the object */
	pfn_t pfn;
	size_t frames;
};

static struct {
	uint64_t env;                /* whose this is: a fork's child has other frames */
	struct pool *pool[POOLS][2]; /* lists: with free objects; without */
} heap;

/* In the child of a fork: nothing of the parent's. */
static void own(void)
{
	if (heap.env != env_self_name())
		memset(&heap, 0, sizeof(heap));
	heap.env = env_self_name();
}

/* ---- Frames ---- */

/* n frames, one after the other, their addresses in `area` aligned; mapped. NULL: there are no such. */
static char *take(enum osv_area area, size_t n, size_t align)
{
	struct space *s = space_current();
	size_t unit = n >= FH_LARGE_FRAMES && align < PLAN_LARGE ? FH_LARGE_FRAMES : align <= FH_PAGE ? 1 : align / FH_PAGE;
	pfn_t pfn = n < info->nframes ? frame_get(n <= FH_LARGE_FRAMES ? s->frames : &frames_first, n, unit, 0, 0) : 0;

	if (!pfn && n >= FH_LARGE_FRAMES && unit == FH_LARGE_FRAMES && align <= FH_PAGE)
		pfn = n < info->nframes ? frame_get(&frames_first, n, 1, 0, 0) : 0;
	if (!pfn)
		return NULL;
	char *p = osv_at(area, pfn * FH_PAGE);
	space_lock(s);
	int r = space_map(s, (va_t)p, pfn, n, RW | RIGHT_LARGE);
	if (r < 0) {
		space_unmap(s, (va_t)p, n);
		frame_put(pfn, n);
	}
	space_unlock(s);
	return r < 0 ? NULL : p;
}

/* Under the lock, so that nobody's touch maps one again in between. */
static void give(uint64_t pa, size_t n)
{
	struct space *s = space_current();

	space_lock(s);
	for (unsigned area = OSV_MAIN; area < OSV_DEBUG; area++)
		space_unmap(s, (va_t)osv_at(area, pa), n);
	if (frame_put(pa / FH_PAGE, n) < 0) /* another space of this env shows it still */
		for (size_t i = 0; i < n; i++)
			orphan_note(pa / FH_PAGE + i);
	space_unlock(s);
}

/* ---- The mempool area ---- */

static unsigned class_of(size_t n)
{
	return n <= SMALLEST ? 0 : 60 - (unsigned)__builtin_clzl(n - 1);
}

/* Where the objects begin: they are aligned to their size. */
static size_t first_of(size_t bytes) { return bytes > sizeof(struct pool) ? bytes : (sizeof(struct pool) + bytes - 1) & ~(bytes - 1); }
static unsigned capacity(size_t bytes) { return (unsigned)((FH_PAGE - first_of(bytes)) / bytes); }

static struct pool **list_of(const struct pool *p) { return &heap.pool[class_of(p->bytes)][!p->free]; }

static void link_pool(struct pool *p)
{
	struct pool **list = list_of(p);

	p->prev = NULL;
	p->next = *list;
	if (*list)
		(*list)->prev = p;
	*list = p;
}

static void unlink_pool(struct pool *p)
{
	if (p->next)
		p->next->prev = p->prev;
	if (p->prev)
		p->prev->next = p->next;
	else
		*list_of(p) = p->next;
}

static struct pool *pool_new(size_t bytes)
{
	char *page = take(OSV_MEMPOOL, 1, FH_PAGE);
	struct pool *p = (struct pool *)page;

	if (!p)
		return NULL;
	*p = (struct pool){.magic = POOL_MAGIC, .bytes = (uint32_t)bytes};
	for (size_t at = first_of(bytes) + (capacity(bytes) - 1) * bytes; at >= first_of(bytes); at -= bytes) {
		*(void **)(page + at) = p->free;
		p->free = (void **)(page + at);
	}
	link_pool(p);
	return p;
}

static void *pool_alloc(size_t n)
{
	unsigned c = class_of(n);
	struct pool *p = heap.pool[c][0];

	if (!p && !(p = pool_new(SMALLEST << c)))
		return NULL;
	void **object = p->free;
	if (!*object) { /* the last one: it goes to the other list */
		unlink_pool(p);
		p->free = NULL;
		link_pool(p);
	}
	p->free = *object;
	p->used++;
	return object;
}

static void release_pool(struct pool *p)
{
	unlink_pool(p);
	p->magic = 0;
	give(osv_physical(p), 1);
}

static struct pool *pool_of(void *object)
{
	struct pool *p = (struct pool *)page_down((va_t)object);
	size_t at = (va_t)object % FH_PAGE;

	if (p->magic != POOL_MAGIC || at < first_of(p->bytes) || at % p->bytes)
		panic("free(%p): no block of the mempool area", object);
	return p;
}

static void pool_free(void *object)
{
	struct pool *p = pool_of(object);

	unlink_pool(p);
	*(void **)object = p->free;
	p->free = object;
	p->used--;
	link_pool(p);
	if (!p->used && (p->next || p->prev)) /* one empty page of each size is kept */
		release_pool(p);
}

/* ---- The main area ---- */

static void *run_alloc(size_t n, size_t align)
{
	size_t lead = align > sizeof(struct run) ? align : sizeof(struct run), frames = page_up(lead + n) / FH_PAGE;
	char *p = take(OSV_MAIN, frames, align);

	if (!p)
		return NULL;
	*((struct run *)(p + lead) - 1) = (struct run){osv_physical(p) / FH_PAGE, frames};
	return p + lead;
}

static struct run run_of(void *p)
{
	struct run r = (va_t)p % HEAP_ALIGN ? (struct run){0, 0} : *((struct run *)p - 1);
	uint64_t pa = osv_physical(p);

	if (!r.pfn || r.pfn > pa / FH_PAGE || r.pfn + r.frames <= (pa - 1) / FH_PAGE || !r.frames || r.pfn + r.frames > info->nframes)
		panic("free(%p): no block of the main area", p);
	return r;
}

/* ---- The allocator ---- */

static enum osv_area area_for(size_t n, size_t align)
{
	size_t most = n > align ? n : align;
	return most <= OSV_POOL_MAX ? OSV_MEMPOOL : most <= FH_PAGE ? OSV_PAGE : OSV_MAIN;
}

static void *osv_alloc(struct allocator *a, size_t n, size_t align)
{
	enum osv_area area = area_for(n, align);

	(void)a;
	own();
	if (area == OSV_MEMPOOL)
		return pool_alloc(n > align ? n : align);
	return area == OSV_PAGE ? take(OSV_PAGE, 1, FH_PAGE) : run_alloc(n, align);
}

static void osv_free(struct allocator *a, void *p)
{
	enum osv_area area = osv_area(p);

	(void)a;
	own();
	if (area == OSV_NONE || (area == OSV_PAGE && (va_t)p % FH_PAGE))
		panic("free(%p): no block of any area", p);
	if (area == OSV_DEBUG) {
		osv_debug_free(p);
	} else if (area == OSV_MEMPOOL) {
		pool_free(p);
	} else if (area == OSV_PAGE) {
		give(osv_physical(p), 1);
	} else {
		struct run r = run_of(p);
		give(r.pfn * FH_PAGE, r.frames);
	}
}

static size_t osv_size(struct allocator *a, void *p)
{
	enum osv_area area = osv_area(p);

	(void)a;
	if (area == OSV_DEBUG)
		return osv_debug_size(p);
	if (area == OSV_MAIN) {
		struct run r = run_of(p);
		return (r.pfn + r.frames) * FH_PAGE - osv_physical(p);
	}
	return area == OSV_MEMPOOL ? pool_of(p)->bytes : FH_PAGE;
}

/* It stays where it is if a new one would be as large. */
static void *osv_realloc(struct allocator *a, void *p, size_t n)
{
	size_t old = osv_size(a, p);
	enum osv_area area = osv_area(p);

	if (n <= old && area == area_for(n, HEAP_ALIGN) && (area == OSV_PAGE || n > old / 2 || old == SMALLEST))
		return p;
	void *q = a->alloc(a, n, HEAP_ALIGN);
	if (!q)
		return NULL;
	memcpy(q, p, old < n ? old : n);
	osv_free(a, p);
	return q;
}

static int check_pool(const struct pool *p, unsigned class, bool full)
{
	unsigned n = 0;
	size_t bytes = SMALLEST << class;

	if (p->magic != POOL_MAGIC || p->bytes != bytes || !p->free != full || osv_area(p) != OSV_MEMPOOL)
		return 1;
	for (void **f = p->free; f && n <= capacity(bytes); f = *f, n++)
		if (page_down((va_t)f) != (va_t)p || (va_t)f % bytes || (va_t)f % FH_PAGE < first_of(bytes))
			return 1;
	return p->used + n != capacity(bytes) || (p->next && p->next->prev != p);
}

static int osv_check(struct allocator *a)
{
	int bad = osv_debug_check();

	(void)a;
	own();
	for (unsigned i = 0; i < 2 * POOLS; i++)
		for (const struct pool *p = heap.pool[i / 2][i % 2]; p; p = p->next)
			if (check_pool(p, i / 2, i % 2))
				return bad + 1; /* its links lead anywhere */
	return bad;
}

static size_t osv_trim(struct allocator *a)
{
	struct space *s = space_current();
	size_t pages = 0;

	(void)a;
	own();
	for (unsigned i = 0; i < POOLS; i++)
		for (struct pool *p = heap.pool[i][0], *next; p; p = next) {
			next = p->next;
			if (!p->used)
				release_pool(p), pages++;
		}
	space_lock(s);
	for (unsigned area = OSV_MAIN; area < OSV_DEBUG; area++)
		pages += space_trim(s, osv_area_base(area), osv_area_base(area) + info->nframes * FH_PAGE);
	space_unlock(s);
	return pages * FH_PAGE;
}

static bool osv_explain(struct allocator *a, const void *address, char *text, size_t bytes)
{
	enum osv_area area = osv_area(address);
	uint64_t pa = (va_t)address - (area < OSV_NONE ? osv_area_base(area) : 0);
	uint64_t state = pa / FH_PAGE < info->nframes ? frame_record(pa / FH_PAGE)->state : 0;

	(void)a;
	if (area == OSV_NONE)
		return false;
	if (area == OSV_DEBUG)
		snprintf(text, bytes, "in the debug area: behind a block, or before one, or one that was freed");
	else if (pa / FH_PAGE >= info->nframes)
		snprintf(text, bytes, "physical address %#lx, past the machine's memory", pa);
	else
		snprintf(text, bytes, "physical address %#lx, a %s frame%s", pa, frame_type_name(fh_type(state)),
		         fh_type(state) == FH_FREE || fh_owner(state) == env_self() ? "" : " of another env");
	return true;
}

struct allocator allocator_osv = {
    .name = "osv",
    .alloc = osv_alloc,
    .free = osv_free,
    .size = osv_size,
    .check = osv_check,
    .realloc = osv_realloc,
    .trim = osv_trim,
    .explain = osv_explain,
};

struct allocator allocator_osv_debug = {
    .name = "osv_debug",
    .alloc = osv_debug_alloc,
    .free = osv_free,
    .size = osv_size,
    .check = osv_check,
    .trim = osv_trim,
    .explain = osv_explain,
};
