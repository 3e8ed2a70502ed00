/* solution.c - assignment 1. */
#include "lab1.h"

void census(uint64_t count[FH_NTYPES])
{
	for (unsigned t = 0; t < FH_NTYPES; t++)
		count[t] = 0;
	for (pfn_t p = 0; p < info->nframes; p++) {
		unsigned type = fh_type(frame_record(p)->state);
		if (type < FH_NTYPES)
			count[type]++;
	}
}

uint64_t census_of(pfn_t env)
{
	uint64_t n = 0;

	for (pfn_t p = 0; p < info->nframes; p++)
		n += fh_owner(frame_record(p)->state) == env;
	return n;
}

/* The first run in [from, to), or 0. */
static pfn_t search(pfn_t from, pfn_t to, size_t n, size_t align)
{
	pfn_t p = (from + align - 1) & ~(align - 1);

	while (p + n <= to) {
		size_t i = 0;
		while (i < n && frame_is_free(p + i))
			i++;
		if (i == n)
			return p;
		p = (p + i + 1 + align - 1) & ~(align - 1);
	}
	return 0;
}

pfn_t my_next(struct frames *f, size_t n, size_t align, uint64_t hint)
{
	(void)hint;
	pfn_t p = search(f->cursor, f->hi, n, align);

	if (!p) /* around: a run may begin before the cursor and end behind it */
		p = search(f->lo, f->hi, n, align);
	if (p)
		f->cursor = p + n;
	return p;
}

/* Claim [p, p + n): 0, or -errno with nothing kept. */
static int claim(pfn_t p, size_t n)
{
	size_t done = 0;

	while (done < n) {
		int64_t r = sys_frame_alloc(p + done, n - done, 0, 0);
		if (r == -FH_EAGAIN) {
			wait_quiet();
		} else if (r < 0) {
			if (done)
				my_put(p, done);
			return (int)r;
		} else {
			done += (size_t)r;
		}
	}
	return 0;
}

pfn_t my_get(struct frames *f, size_t n, size_t align)
{
	for (unsigned tries = 0; tries < MY_TRIES; tries++) {
		pfn_t p = f->next(f, n, align, 0);
		int r = p ? claim(p, n) : -FH_ENOSPC;
		if (r == 0)
			return p;
		if (r != -FH_EBUSY)
			return 0;
	}
	return 0;
}

int my_put(pfn_t pfn, size_t n)
{
	while (n > 0) {
		int64_t r = sys_frame_free(pfn, n);
		if (r < 0)
			return (int)r;
		pfn += (pfn_t)r;
		n -= (size_t)r;
	}
	return 0;
}
