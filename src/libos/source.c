/*
 * source.c - source.h over the kit: ranges are regions (mm.c), pages are page-table entries (space.c).
 *
 * What is reserved is a region without rights. Pages put there by space_fill have rights of their own in their entries, so
 * that nothing but the region list needs the space's lock.
 */
#include "source.h"

#include <errno.h>
#include <stdio.h>

#include "console.h"
#include "machine.h"
#include "mm.h"
#include "start.h"
#include "thread.h"

_Static_assert(SOURCE_PAGE == FH_PAGE && SOURCE_LARGE == PLAN_LARGE, "units");

#define RW (RIGHT_R | RIGHT_W)

static void *pointer(int64_t r) { return mm_failed(r) ? NULL : (void *)r; }

void *source_grow(intptr_t n) { return pointer(heap_grow_eager(n)); }

void *source_reserve(size_t n, size_t align) { return pointer(mm_reserve(n, align)); }

int source_commit(void *p, size_t n)
{
	struct space *s = space_current();
	bool large = ((va_t)p | n) % SOURCE_LARGE == 0;
	int r = mm_commit((va_t)p, n) < 0 ? -ENOMEM : space_fill(s, (va_t)p, n / FH_PAGE, RW | (large ? RIGHT_LARGE : 0));

	if (r < 0)
		space_drop(s, (va_t)p, n / FH_PAGE);
	return r < 0 ? -ENOMEM : 0;
}

int source_discard(void *p, size_t n) { return space_drop(space_current(), (va_t)p, n / FH_PAGE); }

void *source_map(size_t n, size_t align)
{
	void *p = n ? source_reserve(n, align) : NULL;

	if (p && source_commit(p, n) < 0) {
		source_unmap(p, n);
		return NULL;
	}
	return p;
}

int source_unmap(void *p, size_t n) { return mm_unmap((va_t)p, n); }

int source_move(void *to, void *from, size_t n)
{
	return space_move(space_current(), (va_t)to, (va_t)from, n / FH_PAGE);
}

int source_alias(void *page, void *of)
{
	struct space *s = space_current();

	space_lock(s); /* a fault on it finds it whole */
	int r = space_alias(s, (va_t)page, (va_t)of);
	space_unlock(s);
	return r;
}

int source_hold(void *page, bool hold) { return space_hold(space_current(), (va_t)page, hold); }

unsigned source_cpu(void) { return (unsigned)upcall_word(UPCALL_OFFSET(cpu)); }
unsigned source_cpus(void) { return info->ncpus; }

_Noreturn void source_fatal(const char *format, ...)
{
	char text[CONSOLE_LINE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	panic("%s", text);
}
