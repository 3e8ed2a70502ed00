/* tlbs.c - see tlbs.h. */
#include "tlbs.h"
#include "pte.h"
#include "world.h"

static uint8_t tlb[TLBS][NFRAMES], held_type[NFRAMES];
static pfn_t held_owner[NFRAMES];
static struct { uint64_t at; bool granted; } linked[NFRAMES];
static char wrong[200];
pfn_t tlbs_freed[4];

bool in_tlb(unsigned cpu, pfn_t f) { return tlb[cpu][f.n]; }
bool tlbs_granted(pfn_t f) { return linked[f.n].granted; }
static void forget(unsigned cpu) { memset(tlb[cpu], 0, NFRAMES); }

static void walk(unsigned cpu, pfn_t t, unsigned level)
{
	tlb[cpu][t.n] = 1;
	for (unsigned i = 0; i < (level == 4 ? 511u : 512u); i++) {
		pte_t e = raw(t, i);
		pfn_t f = entry_pfn(e);
		if (!(e & FH_P))
			continue;
		if (level == 1)
			tlb[cpu][f.n] = 1;
		else if (e & FH_PS)
			memset(&tlb[cpu][f.n], 1, 512);
		else if (!same(f, t))
			walk(cpu, f, level - 1);
	}
}

/* A frame that left FREE, or changed type or owner, did so when no CPU could still reach it as what it was. */
static void check_tlbs(void)
{
	static unsigned next;
	for (uint64_t n = 0; n < nframes; n++) {
		unsigned type = type_of(pfn(n));
		pfn_t owner = owner_of(state_of(pfn(n)));
		bool taken = !same(owner, held_owner[n]) && type != FH_CPU, reused = (type != held_type[n] || taken) && type != FH_FREE;
		for (unsigned c = 0; reused && c < TLBS; c++)
			if (tlb[c][n])
				snprintf(wrong, sizeof wrong, "frame %lu from type %u of %lu to %u of %lu, still in CPU %u's TLB", n,
				         held_type[n], held_owner[n].n, type, owner.n, c);
		if (type == FH_FREE && held_type[n] != FH_FREE)
			tlbs_freed[next++ % LENGTH(tlbs_freed)] = pfn(n);
		held_type[n] = type;
		held_owner[n] = owner;
	}
	for (unsigned c = 0; c < TLBS; c++)
		if (!same(epoch_cpu[c].root, kernel_root))
			walk(c, epoch_cpu[c].root, 4);
}

/* Foreign links: by authority, which lasts, or by a grant, which must not have been withdrawn. */
static void check_links(pfn_t me)
{
	for (uint64_t n = 0; n < nframes; n++) {
		pfn_t c = pfn(n), owner = owner_of(state_of(c));
		uint64_t at = is_table(type_of(c)) ? linked_at(c) : 0;
		pfn_t parent = owner_of(state_of(pfn(at >> 32)));
		if (at && at != linked[n].at)
			linked[n].granted = !authority(me, owner);
		linked[n].at = at;
		if (at && linked[n].granted && record(c)->tenant != env_name(parent))
			snprintf(wrong, sizeof wrong, "table %lu is linked by %lu, to whom it isn't granted", n, parent.n);
	}
}

void tlbs_begin(void)
{
	memset(tlb, 0, sizeof tlb);
	memset(linked, 0, sizeof linked);
	memset(tlbs_freed, 0, sizeof tlbs_freed);
	machine.on_load = forget;
	check_tlbs();
	memset(tlb, 0, sizeof tlb);
}

const char *tlbs_wrong(pfn_t me)
{
	wrong[0] = 0;
	check_links(me);
	check_tlbs();
	return wrong[0] ? wrong : NULL;
}
