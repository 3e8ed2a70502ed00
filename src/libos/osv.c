/* osv.c - the areas of the layouts osv and osv_2022, and the namespaces that libraries are loaded in: see osv.h. */
#include "osv.h"

#include <errno.h>

#include "console.h"
#include "image.h"
#include "mm.h"
#include "spacewalk.h"
#include "start.h"
#include "syscall.h"

#define RW (RIGHT_R | RIGHT_W)

/* ---- Areas ---- */

static va_t base_of[OSV_NONE];

enum osv_area osv_area(const void *p)
{
	unsigned i = OSV_MAIN;

	while (i < OSV_NONE && (va_t)p - base_of[i] >= OSV_AREA_BYTES)
		i++;
	return i;
}

va_t osv_area_base(enum osv_area area) { return base_of[area]; }

uint64_t osv_physical(const volatile void *p)
{
	enum osv_area area = osv_area((const void *)p);

	if (area < OSV_DEBUG)
		return (va_t)p - base_of[area];
	pte_t e = space_get(space_current(), page_down((va_t)p));
	if (!(e & FH_P))
		return 0;
	uint64_t page = e & FH_PS ? PLAN_LARGE : FH_PAGE;
	return (fh_pte_pfn(e) * FH_PAGE & ~(page - 1)) + (va_t)p % page;
}

int osv_forget(const volatile void *p)
{
	struct space *s = space_current();
	va_t va = page_down((va_t)p);

	if (osv_area((const void *)p) >= OSV_DEBUG)
		return -EINVAL;
	space_lock(s);
	int r = space_drop(s, va, 1);
	space_trim(s, va, va + FH_PAGE);
	space_unlock(s);
	return r;
}

/* Only programs that use malloc have it. */
extern __typeof__(malloc_default) malloc_default __attribute__((weak));

int osv_start(void)
{
	static const char *const names[] = {"[main]", "[page]", "[mempool]", "[debug]"};

	for (unsigned i = 0; i < OSV_NONE; i++) {
		struct extent at = layout_named(names[i]);
		struct region r = {
		    .base = at.lo,
		    .end = at.hi,
		    .rights = RW,
		    .fork = REGION_SKIP,
		    .fault = i == OSV_DEBUG ? fault_guard : fault_alias,
		    .name = names[i],
		};
		int e = region_add(&space_main, &r);
		if (e < 0)
			return e;
		base_of[i] = at.lo;
	}
	if (&malloc_default && malloc_default == &allocator_tags)
		malloc_default = &allocator_osv;
	return 0;
}

/* ---- Namespaces ---- */

static struct mutex loading;
static struct {
	bool used;
	va_t next; /* where the last object that moved ends: the next one is put behind it, if it fits there */
} namespaces[OSV_NAMESPACES];

va_t osv_namespace_base(unsigned i)
{
	return i ? layout_named("[namespaces]").lo + (i - 1) * OSV_NAMESPACE_BYTES : layout_named("[program]").lo;
}

static bool exists(unsigned i)
{
	if (!namespaces[0].used) {
		namespaces[0].used = true;
		namespaces[0].next = osv_namespace_base(0);
	}
	return i < OSV_NAMESPACES && namespaces[i].used;
}

int osv_namespace_new(void)
{
	unsigned i = 1;

	mutex_lock(&loading);
	while (exists(i))
		i++;
	if (i < OSV_NAMESPACES) {
		namespaces[i].used = true;
		namespaces[i].next = osv_namespace_base(i);
	}
	mutex_unlock(&loading);
	return i < OSV_NAMESPACES ? (int)i : -ENOSPC;
}

static int unload(va_t lo, va_t hi)
{
	struct space *s = space_current();

	space_lock(s);
	int r = region_cut(s, lo, hi);
	if (r == 0)
		r = space_drop(s, lo, (hi - lo) / FH_PAGE);
	space_trim(s, lo, hi);
	space_unlock(s);
	return r;
}

int osv_namespace_end(unsigned i)
{
	int r = -EINVAL;

	mutex_lock(&loading);
	if (i && exists(i) && (r = unload(osv_namespace_base(i), osv_namespace_base(i) + OSV_NAMESPACE_BYTES)) == 0)
		namespaces[i].used = false;
	mutex_unlock(&loading);
	return r;
}

int osv_unload(struct osv_object *o)
{
	int r = unload(o->lo, o->hi);

	if (r == 0)
		*o = (struct osv_object){0, 0, 0};
	return r;
}

/* A segment becomes a region: the file's part now, the zeroes when they are touched. */
static int place(void *name, va_t va, size_t pages, unsigned rights, const void *src, size_t bytes, size_t lead)
{
	struct space *s = space_current();
	struct region r = {
	    .base = va,
	    .end = va + pages * FH_PAGE,
	    .rights = (uint8_t)rights,
	    .fault = fault_zero,
	    .name = name,
	};

	space_lock(s);
	int e = region_add(s, &r);
	space_unlock(s);
	return e < 0 ? e : child_place(s, va, bytes ? page_up(lead + bytes) / FH_PAGE : 0, rights, src, bytes, lead);
}

/* Room for an object that moves; 0: none. Where others were unloaded it is used last. */
static va_t room(unsigned i, uint64_t bytes)
{
	struct space *s = space_current();
	va_t base = osv_namespace_base(i), end = base + OSV_NAMESPACE_BYTES;

	space_lock(s);
	va_t lo = region_gap_up(s, namespaces[i].next, end, bytes, FH_PAGE);
	lo = lo ? lo : region_gap_up(s, base, end, bytes, FH_PAGE);
	space_unlock(s);
	return lo;
}

/* May an object that doesn't move be there? In its namespace; the program's own also where no namespace could be. */
static bool belongs(unsigned i, va_t lo, va_t hi)
{
	va_t base = osv_namespace_base(i);

	if (lo >= base && hi <= base + OSV_NAMESPACE_BYTES)
		return true;
	return i == 0 && (hi <= base || lo >= osv_namespace_base(OSV_NAMESPACES - 1) + OSV_NAMESPACE_BYTES);
}

static const char *load(unsigned i, const struct image *im, struct osv_object *o)
{
	struct space *s = space_current();
	va_t bytes = im->hi - im->lo, lo = im->moves ? room(i, bytes) : im->lo;

	if (!lo && im->moves)
		return "no room for it in the 8 GiB of its namespace";
	if (!im->moves && !belongs(i, lo, lo + bytes))
		return "not in the 8 GiB of its namespace";
	if (lo < layout_heap.hi && lo + bytes > layout_named("[text]").lo)
		return "overlaps the kernel";
	space_lock(s);
	bool busy = region_busy(s, lo, lo + bytes);
	space_unlock(s);
	if (busy)
		return "something is mapped at its addresses";
	*o = (struct osv_object){lo, lo + bytes, im->entry + (lo - im->lo)};
	int r = image_each(im, NULL, lo - im->lo, place, i ? "[namespaces]" : "[program]");
	if (r < 0) {
		osv_unload(o);
		return error_name(r);
	}
	if (im->moves)
		namespaces[i].next = o->hi;
	return NULL;
}

const char *osv_load(unsigned i, const void *elf, size_t bytes, struct osv_object *o)
{
	struct image im;
	const char *wrong = image_open(&im, elf, bytes, NULL);

	if (wrong)
		return wrong;
	mutex_lock(&loading);
	wrong = exists(i) ? load(i, &im, o) : "no such namespace";
	mutex_unlock(&loading);
	return wrong;
}
