/* commit.c - see commit.h. */
#include "commit.h"

#include <errno.h>

#include "env.h"
#include "region.h"

#define RESERVE_MOST (128ul << 20) /* bytes; init_user_reserve */

struct commit commit;

static uint64_t ram(void) { return fh_quota(env_view()->account); }

uint64_t commit_limit(void)
{
	return commit.kbytes ? commit.kbytes * 1024 / FH_PAGE : ram() * commit.ratio / 100;
}

/* total_vm: pages that are accessible. */
static uint64_t mapped(struct space *s)
{
	uint64_t pages = 0;

	for (unsigned i = 0; i < s->nregions; i++)
		if (s->regions[i]->fork != REGION_SKIP)
			pages += (s->regions[i]->end - s->regions[i]->base) / FH_PAGE;
	return pages;
}

static bool never_may(struct space *s, int64_t pages)
{
	uint64_t reserve = mapped(s) / 32;

	reserve = reserve < commit.reserve ? reserve : commit.reserve;
	return __atomic_load_n(&commit.pages, __ATOMIC_RELAXED) + pages < (int64_t)commit_limit() - (int64_t)reserve;
}

int commit_may(struct space *s, int64_t pages)
{
	if (!commit.on || pages <= 0 || commit.mode == COMMIT_ALWAYS)
		return 0;
	return (commit.mode == COMMIT_NEVER ? never_may(s, pages) : (uint64_t)pages <= ram()) ? 0 : -ENOMEM;
}

void commit_count(int64_t pages)
{
	__atomic_add_fetch(&commit.pages, pages, __ATOMIC_RELAXED);
}

void commit_begin(struct space *s)
{
	uint64_t left = ram() - fh_owned(env_view()->account), most = RESERVE_MOST / FH_PAGE;

	commit = (struct commit){.on = true, .mode = COMMIT_GUESS, .ratio = 50, .reserve = left / 32 < most ? left / 32 : most};
	for (unsigned i = 0; i < s->nregions; i++) {
		struct region *r = s->regions[i];
		r->charged = r->fork != REGION_SKIP && r->rights & RIGHT_W;
	}
	commit_count((int64_t)region_charged(s, 0, FH_KERNEL_BASE));
}
