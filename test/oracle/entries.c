/*
 * entries.c - one call from each of many states: every bit of an entry, and every pair of bits, at every level, naming a frame
 * of every type and owner, whatever refers to it, by every env, into every kind of slot, by every operation.
 */
#include "oracle.h"
#include <string.h>

/* Root, its children A and C, A's child B. Each owns a frame of each type. */
enum {
	ROOT = 2, A, B, C, FIRST, NTYPES = 9,
	FREE_FRAME = FIRST + 4 * NTYPES, FREE_KNOWN, FREE_HOT, TABLE_FRAME, KERNEL_FRAME, END,
};
static const uint8_t types[NTYPES] = {FH_DATA, FH_PT1, FH_PT2, FH_PT3, FH_PT4, FH_ENV, FH_THREAD, FH_CPU, FH_DEVICE};
#define LARGE_RUN 512u

static struct model start, now;
static unsigned frame_of(unsigned env, unsigned type)
{
	for (unsigned i = 0; i < NTYPES; i++)
		if (types[i] == type)
			return FIRST + (env - ROOT) * NTYPES + i;
	return 0;
}

static void populate(struct model *m, unsigned frames, unsigned cpus)
{
	machine_begin(m, frames, cpus);
	m->special = END;
	m->f[ROOT].quota = 4000;
	machine_give(m, A, FH_ENV, ROOT, 2000);
	machine_give(m, B, FH_ENV, A, 2000);
	machine_give(m, C, FH_ENV, ROOT, 2000);
	for (unsigned e = ROOT; e <= C; e++)
		for (unsigned i = 0; i < NTYPES; i++)
			machine_give(m, frame_of(e, types[i]), types[i], e, 0);
	m->f[FREE_KNOWN].tenant = m_name_of(m, A);
	m->f[FREE_HOT].stamp = m->clock;
	m->f[TABLE_FRAME].type = FH_TABLE;
	m->f[KERNEL_FRAME].type = FH_KERNEL;
	for (unsigned s = 0; s < M_SLOTS; s++)
		m->f[TABLE_FRAME].slot[s] = m->f[KERNEL_FRAME].slot[s] = 0;
}

/* The call, from `start`. */
static void from_start(const struct call_of *c)
{
	if (machine_step(&now, c)) {
		machine_copy(&now, &start);
		machine_install(&now);
	}
}

static void begin(void)
{
	machine_copy(&now, &start);
	machine_install(&now);
}

static void pt_set(unsigned me, unsigned op, uint64_t flags, unsigned t, unsigned index, uint64_t e, unsigned budget)
{
	from_start(&(struct call_of){.call = PT_SET, .me = me, .budget = budget, .a = {fh_what(op, flags, t, index, 1), e}});
}

#define RW(f) ((uint64_t)(f) << 12 | FH_P | FH_U | FH_W | FH_NX)
#define RO(f) ((uint64_t)(f) << 12 | FH_P | FH_U | FH_NX)
#define RX(f) ((uint64_t)(f) << 12 | FH_P | FH_U)
#define RWX(f) ((uint64_t)(f) << 12 | FH_P | FH_U | FH_W)

/* Every word that differs from e in at most two bits. */
static void flips(unsigned me, unsigned op, unsigned t, uint64_t e, bool pairs)
{
	pt_set(me, op, 0, t, 0, e, 9);
	for (unsigned i = 0; i < 64; i++) {
		pt_set(me, op, 0, t, 0, e ^ 1ul << i, 9);
		for (unsigned j = 0; pairs && j < i; j++)
			pt_set(me, op, 0, t, 0, e ^ 1ul << i ^ 1ul << j, 9);
	}
}

static bool is_level(unsigned t, unsigned level) { return start.f[t].type == FH_PT1 + level - 1; }

static void every_bit(void)
{
	uint64_t from = transitions;
	populate(&start, END, 1);
	for (unsigned exec = 0; exec < 2; exec++) {
		start.large_exec = exec;
		start.width = exec ? 36 : 39;
		begin();
		for (unsigned t = FIRST; t < END; t++)
			for (unsigned me = ROOT; me <= C && m_is_table(start.f[t].type); me++) {
				if (quick && (me != start.f[t].owner || me != A))
					continue;
				for (unsigned f = 0; f <= END; f++) {
					bool owner = me == start.f[t].owner && me == A, pairs = owner && !quick && (exec || long_form);
					pairs &= long_form || f < FIRST + 2 * NTYPES || f >= FREE_FRAME;
					flips(me, FH_OP_SET, t, RW(f), pairs);
					flips(me, FH_OP_SET, t, RX(f), pairs && is_level(t, 1));
					flips(me, FH_OP_SET, t, (uint64_t)f << 12, pairs && f < 3);
					flips(me, FH_OP_CLEAR, t, (uint64_t)f << 12, false);
					flips(me, FH_OP_CLAIM, t, RW(f), false);
					flips(me, FH_OP_LINK_NEW, t, RW(f), false);
				}
			}
	}
	tap("%lu entries, every bit and pair of bits: accepted or refused as the contract says, with its effects",
	    transitions - from);
}

/* What stands in a slot before: kinds from 0; 0 if there are no more, or it can't be at this level. */
static uint64_t occupant(unsigned kind, unsigned t)
{
	unsigned owner = start.f[t].owner, type = start.f[t].type;
	unsigned lower = type == FH_PT1 ? 0 : frame_of(owner, type - 1);
	switch (kind) {
	case 0: return 0;
	case 1: return 0x7ful << 52 | 0x200; /* a word of the libOS's */
	case 2: return type == FH_PT1 ? RW(frame_of(owner, FH_DATA)) | FH_A | FH_D : RWX(lower) | FH_D;
	case 3: return type == FH_PT1 ? RX(frame_of(owner, FH_DATA)) : RO(lower) | FH_A;
	case 4: return type == FH_PT1 ? RW(frame_of(owner, FH_DEVICE)) | FH_PCD | FH_PAT : type == FH_PT4 ? RO(t) | FH_D : 0;
	case 5: return type == FH_PT1 ? RO(frame_of(owner, FH_PT4)) : 0;
	case 6: return type == FH_PT1 ? RO(frame_of(owner, FH_CPU)) | FH_D : 0;
	case 7: return type == FH_PT1 ? RO(TABLE_FRAME) : 0;
	case 8: return type == FH_PT1 ? RO(owner) : 0;
	case 9: return type == FH_PT1 && owner == B ? RO(frame_of(A, FH_DATA)) | FH_D : 0;
	case 10: return type == FH_PT1 && owner == A ? RX(frame_of(B, FH_DATA)) : 0;
	case 11: return type != FH_PT1 && type != FH_PT4 && owner == A ? RX(frame_of(C, type - 1)) : 0; /* a tenant's link */
	default: return 0;
	}
}

/* Every operation on every slot's contents, with every frame in every relation. */
static void every_operation(void)
{
	uint64_t from = transitions;
	static const unsigned extras[] = {0, 1, M_REFS_LIMIT - 1, M_REFS_LIMIT};
	for (unsigned t = FIRST; t < FREE_FRAME; t++)
		for (unsigned kind = 0; kind < 12; kind++)
			for (unsigned how = 0; how < 8; how++) {
				if (quick && how != 1 && how != 6 && how != 7)
					continue;
				populate(&start, END, 1);
				uint64_t there = occupant(kind, t);
				if (!m_is_table(start.f[t].type) || (kind && !there) ||
				    (quick && start.f[t].owner != A && start.f[t].owner != B))
					continue;
				start.f[t].slot[0] = there;
				unsigned child = fh_pte_pfn(there);
				if (kind == 11 && how & 1) /* it is granted still */
					start.f[child].tenant = m_name_of(&start, A);
				if ((how & 2) && child && start.f[child].type != FH_KERNEL && child > C && child != t)
					start.f[child].extra = 1;
				start.large_exec = how & 1;
				/* Frames that are referred to as often as can be counted; tables granted, or linked elsewhere. */
				for (unsigned f = FIRST; f < FREE_FRAME; f++) {
					bool counts = start.f[f].type != FH_CPU && f != child;
					if (how >= 4 && counts)
						start.f[f].extra = extras[how - 4];
					bool window = start.f[f].type == FH_PT1 || start.f[f].type == FH_PT2;
					if ((how & 1) && f != child && window)
						start.f[f].tenant = m_name_of(&start, start.f[f].owner == C ? A : C);
				}
				if (how == 3 && start.f[t].owner != ROOT) /* B's tables are linked by root's already */
					for (unsigned type = FH_PT2; type <= FH_PT4; type++)
						start.f[frame_of(ROOT, type)].slot[1] = RW(frame_of(B, type - 1));
				unsigned place;
				if (kind == 11 && how == 3 && m_foreign(&start, child, &place) != t)
					continue;
				begin();
				check_invariants = how < 4;
				for (unsigned me = quick && start.f[t].owner == B ? A : ROOT; me <= (quick ? A : C); me++)
					for (unsigned op = 0; op < FH_NOPS; op++) {
						uint64_t keep = how & 1 ? FH_KEEP : 0;
						for (unsigned f = 0; f <= END; f++) {
							pt_set(me, op, keep, t, 0, RW(f), how & 1);
							pt_set(me, op, keep, t, 0, RX(f), how & 1);
							if (!quick) {
								pt_set(me, op, keep, t, 0, RO(f) | FH_D | FH_AVL, how & 1);
								pt_set(me, op, keep, t, 0, RWX(f), how & 1);
							}
						}
						for (unsigned b = 0; b < 64; b++)
							pt_set(me, op, 0, t, 0, 1ul << b, 0);
						pt_set(me, op, 0, t, 0, there ^ FH_W, 0);
						pt_set(me, op, 0, t, 0, there ^ FH_NX, 0);
						pt_set(me, op, 0, t, 0, there ^ FH_W ^ FH_NX ^ FH_AVL, 0);
						pt_set(me, op, 0, t, 0, there, 0);
						pt_set(me, op, 0, t, 511, there, 0);
						pt_set(me, op, 0, t, 510, RW(frame_of(A, FH_DATA)), 0);
					}
			}
	check_invariants = true;
	tap("%lu operations on what stands in a slot, for every type, owner, caller, grant and count of references",
	    transitions - from);
}

/* Large pages: all 512 frames count. */
static void large_pages(void)
{
	uint64_t from = transitions;
	static const uint64_t bases[] = {FH_NX | FH_W, FH_NX, 0, FH_W};
	for (unsigned how = 0; how < 14; how++) {
		if (quick && how > 3 && how < 10 && how != 7)
			continue;
		populate(&start, LARGE_RUN * 2 + 8, 1);
		start.large_exec = how & 1;
		unsigned owner = how == 8 ? C : how == 9 ? B : A, type = FH_DATA;
		type = how == 2 || how == 7 ? FH_TABLE : how == 10 || how == 12 ? FH_FREE : how == 13 ? FH_DEVICE : type;
		for (unsigned f = LARGE_RUN; f < LARGE_RUN * 2; f++) {
			start.f[f].type = type;
			start.f[f].owner = type == FH_DATA || type == FH_DEVICE ? owner : 0;
			for (unsigned s = 0; s < M_SLOTS; s++)
				start.f[f].slot[s] = type == FH_DATA ? M_MARK : 0;
		}
		static const unsigned odd[] = {LARGE_RUN, LARGE_RUN + 1, LARGE_RUN + 256, LARGE_RUN * 2 - 1};
		for (unsigned o = 0; o <= 4; o++) { /* one of the frames is different */
			struct m_frame was = start.f[odd[o & 3]], *f = &start.f[odd[o & 3]];
			if (o == 4 && how > 1 && how < 7)
				break;
			if (o < 4 && how == 3)
				f->owner = B;
			if (o < 4 && how == 4)
				f->extra = M_REFS_LIMIT;
			if (o < 4 && how == 5)
				f->type = FH_FREE, f->owner = 0;
			if (o < 4 && how == 6)
				f->type = FH_TABLE, f->owner = 0;
			if (o < 4 && how == 7)
				f->type = FH_DATA, f->owner = A;
			if (o < 4 && how == 10)
				f->stamp = start.clock;
			if (o < 4 && how == 11)
				f->extra = 1;
			if (o < 4 && how == 12)
				f->type = FH_DATA, f->owner = C;
			check_invariants = true;
			for (unsigned set = 0; set < 2; set++) { /* is there such a page already? */
				unsigned t = frame_of(A, FH_PT2);
				bool mapped = set && (how <= 1 || how == 9 || how == 11 || (how == 2 && o == 0));
				if (set && !mapped)
					continue;
				start.f[t].slot[0] = mapped ? RO(LARGE_RUN) | FH_PS | FH_D : 0;
				start.f[t].slot[2] = RW(frame_of(A, FH_PT1));
				begin();
				for (unsigned me = ROOT; me <= C; me++)
					for (unsigned i = 0; i < 4 && !(quick && me != A); i++) {
						uint64_t e = (uint64_t)LARGE_RUN << 12 | FH_P | FH_U | FH_PS | bases[i];
						for (unsigned op = 0; op < FH_NOPS; op++) {
							pt_set(me, op, 0, t, 0, e, op & 1);
							pt_set(me, op, 0, t, 0, 0, op & 1);
						}
						for (unsigned b = 0; b < 64 && me == A && o == 4; b++) {
							pt_set(me, FH_OP_SET, 0, t, 0, e ^ 1ul << b, 1);
							pt_set(me, FH_OP_CLAIM, 0, t, 1, e ^ 1ul << b, 1);
						}
						pt_set(me, FH_OP_SET, 0, t, 0, RW(frame_of(A, FH_PT1)), 1);
						pt_set(me, FH_OP_SET, 0, t, 510, e, 1); /* over a link */
						pt_set(me, FH_OP_CLAIM, 0, t, 510, e, 1);
						pt_set(me, FH_OP_SET, 0, t, 0, (e & ~(1023ul << 21)) | 1ul << 22, 1); /* the ragged end */
						pt_set(me, FH_OP_SET, 0, frame_of(B, FH_PT2), 1, e, 1);
						pt_set(me, FH_OP_CLAIM, i & 1 ? FH_KEEP : 0, frame_of(B, FH_PT2), 1, e, 1);
						pt_set(me, FH_OP_SET, 0, frame_of(A, FH_PT3), 0, e, 1);
					}
			}
			*f = was;
		}
	}
	start.f[frame_of(A, FH_PT2)].slot[0] = 0;
	tap("%lu operations on 2 MiB pages, one of whose frames may be another's, of another type, stale or referenced",
	    transitions - from);
}

/* Every bit and edge of word 0, and the arguments of the other calls. */
static void every_argument(void)
{
	uint64_t from = transitions;
	static const uint64_t edges[] = {0, 1, 2, 3, END - 1, END, END + 1, 63, 64, 65, 0x7fffffff, 0x80000000, 0x7ffffff, 0x8000000,
	                                 1ul << 37, (1ul << 37) - 1, 1ul << 63, ~0ul, ~0ul - 1};
	const unsigned nedges = sizeof edges / sizeof *edges;
	for (unsigned cpus = quick ? 2 : 1; cpus <= M_CPUS; cpus++) {
		populate(&start, END, cpus);
		for (unsigned e = ROOT; e <= C; e++) { /* some are granted, dead or frozen */
			start.f[frame_of(e, FH_DATA)].tenant = m_name_of(&start, e == A ? C : A);
			start.f[frame_of(e, FH_CPU)].tenant = m_name_of(&start, e == C ? B : C);
			start.f[frame_of(e, FH_PT1)].stamp = start.f[frame_of(e, FH_DATA)].stamp = start.clock;
		}
		start.f[frame_of(A, FH_ENV)].dead = true;
		start.f[frame_of(B, FH_ENV)].frozen = true;
		start.f[frame_of(A, FH_PT4)].slot[1] = RX(frame_of(A, FH_PT3));
		for (unsigned e = ROOT; e <= C; e++)
			start.f[frame_of(e, FH_PT1)].slot[1] = FH_A | FH_D | FH_AVL; /* a word, not an entry */
		begin();
		for (unsigned me = quick ? B : ROOT; me <= C; me++)
			for (unsigned budget = 0; budget < 2; budget++) {
				for (unsigned op = 0; op < 16; op++)
					for (unsigned t = 0; t <= END; t++) {
						uint64_t w = fh_what(op, 0, t, 0, 1), e = RW(frame_of(A, FH_DATA));
						struct call_of c = {.call = PT_SET, .me = me, .budget = budget, .cpu = cpus - 1, .a = {w, e}};
						from_start(&c);
						for (unsigned b = 0; b < 64; b++) {
							c.a[0] = w ^ 1ul << b;
							unsigned index = fh_what_index(c.a[0]);
							if (m_slot(index) >= 0 || index + fh_what_count(c.a[0]) > 512)
								from_start(&c);
						}
						c.a[0] = fh_what(op, 0, t, 510, 2), from_start(&c);
						c.a[0] = fh_what(op, 0, t, 510, 1), from_start(&c);
						c.a[0] = fh_what(op, 0, t, 511, 1), from_start(&c);
						c.a[0] = fh_what(op, 0, t, 511, 2), from_start(&c);
						c.a[0] = fh_what(op, FH_FLUSH_MASK, t, 0, 1), from_start(&c);
						c.a[0] = fh_what(op, FH_FLUSH_LOCAL, t, 0, 1), c.a[2] = 1ul << 47, from_start(&c);
						c.a[2] = FH_KERNEL_BASE, from_start(&c);
						c.a[2] = FH_KERNEL_BASE - 4096, from_start(&c);
						c.a[2] = 4096, from_start(&c);
						c.call = PT_UPDATE, c.nops = 1;
						for (unsigned n = 0; n < 12; n++) {
							c.ops[0] = (struct fh_op){fh_what(op, 0, t, n < 4 ? 0 : n < 8 ? 510 : 511, n & 3), e};
							if (n != 3) /* the third slot isn't modelled */
								from_start(&c);
						}
					}
				for (unsigned i = 0; i < nedges + END; i++) {
					uint64_t n = i < nedges ? edges[i] : i - nedges;
					for (unsigned j = 0; j < nedges; j++) {
						struct call_of c = {.me = me, .budget = budget, .cpu = cpus - 1, .a = {n, edges[j]}};
						if (j < 14) { /* names */
							c.call = ALLOC, from_start(&c);
							c.a[3] = 1, from_start(&c);
							c.a[3] = 2, from_start(&c);
							c.a[3] = 0;
						}
						c.call = FREE, from_start(&c);
						c.call = RETYPE, from_start(&c);
						c.call = GRANT, from_start(&c);
						c.call = TAKE, from_start(&c);
						c.call = SYNC, from_start(&c);
						c.call = LOOKUP, from_start(&c);
					}
					struct call_of c = {.me = me, .budget = budget, .cpu = cpus - 1};
					for (unsigned type = 0; type < 18; type++)
						c.call = RETYPE, c.a[0] = n, c.a[1] = type, from_start(&c);
					for (unsigned e = 0; e <= END; e++)
						for (unsigned k = 0; k < 3; k++) {
							uint64_t serial = e >= END || k == 2 ? 77 : k ? start.f[e].serial : 0;
							c.a[1] = c.a[2] = fh_name(e, serial);
							c.call = GRANT, c.a[0] = n, from_start(&c);
							c.call = LOOKUP, c.a[0] = c.a[1], from_start(&c);
							c.call = ALLOC, c.a[0] = n, c.a[1] = 2, from_start(&c);
						}
				}
			}
		static const long amounts[] = {0, 1, -1, 1990, 2000, 3990, 4000, -1990, -2000, M_ACCOUNT_MAX,
		                               M_ACCOUNT_MAX + 1, -M_ACCOUNT_MAX, -M_ACCOUNT_MAX - 1, 1l << 62, -(1l << 62)};
		for (unsigned e = 0; e < END; e++)
			for (unsigned i = 0; i < sizeof amounts / sizeof *amounts && start.f[e].type == FH_ENV; i++)
				from_start(&(struct call_of){.call = QUOTA, .a = {e, amounts[i]}});
	}
	tap("%lu calls with every argument at its edges, for every frame, env and name", transitions - from);
}

/* Lines of envs as long as they may be, and one longer; the last serial numbers. */
static void limits(void)
{
	uint64_t from = transitions;
	for (unsigned depth = 13; depth <= 16; depth++) {
		machine_begin(&start, 30, 1);
		start.f[ROOT].quota = 100;
		for (unsigned i = 1; i <= depth; i++)
			machine_give(&start, ROOT + i, FH_ENV, ROOT + i - 1, 10);
		unsigned last = ROOT + depth, f = last + 1;
		machine_give(&start, f, FH_DATA, last, 0);
		machine_give(&start, f + 1, FH_PT1, last, 0);
		for (unsigned late = 0; late < 3; late++) {
			start.clock = late ? M_SERIAL_MAX + late - 1 : 5;
			start.epoch[0] = start.clock;
			start.f[f].stamp = late ? start.clock - 1 : 0;
			for (unsigned hot = 0; hot < 2; hot++, start.f[f].stamp = start.clock) {
				begin();
				for (unsigned me = ROOT; me <= last; me++)
					for (unsigned type = FH_DATA; type <= FH_THREAD; type++) {
						from_start(&(struct call_of){.call = RETYPE, .me = me, .budget = 1, .a = {f, type}});
						from_start(&(struct call_of){.call = FREE, .me = me, .budget = 1, .a = {f, 1}});
						from_start(&(struct call_of){.call = LOOKUP, .me = me, .a = {last}});
						pt_set(me, FH_OP_SET, 0, f + 1, 0, RW(f), 1);
						pt_set(me, FH_OP_UNMAP_FREE, 0, f + 1, 0, 0, 1);
					}
			}
		}
	}
	tap("%lu calls at the longest line of envs and the last serial numbers", transitions - from);
}

/* Runs of more frames than are handled at once. */
static void rounds(void)
{
	uint64_t from = transitions;
	machine_begin(&start, 200, 1);
	start.special = A + 1;
	machine_give(&start, A, FH_ENV, ROOT, 190);
	for (unsigned f = A + 1; f < 100; f++) {
		machine_give(&start, f, FH_DATA, ROOT, 0);
		start.f[f].tenant = m_name_of(&start, A);
	}
	begin();
	for (unsigned me = ROOT; me <= A; me++)
		for (unsigned f = A; f < 200; f += f < 34 || f > 98 ? 1 : 63)
			for (unsigned n = 62; n <= 130; n += n < 66 ? 1 : 64) {
				struct call_of c = {.me = me, .budget = 1, .a = {f, n}};
				c.call = ALLOC, from_start(&c);
				c.call = FREE, from_start(&c);
				c.call = TAKE, from_start(&c);
				c.call = SYNC, from_start(&c);
			}
	tap("%lu calls on longer runs than are handled at once", transitions - from);
}

void test_entries(void)
{
	if (wanted("rounds"))
		rounds();
	if (wanted("limits"))
		limits();
	if (wanted("large pages"))
		large_pages();
	if (wanted("arguments"))
		every_argument();
	if (wanted("bits"))
		every_bit();
	if (wanted("operations"))
		every_operation();
}
