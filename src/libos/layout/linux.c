/*
 * linux.c - where Linux puts a program on x86-64, by the rules of its arch/x86/mm/mmap.c, fs/binfmt_elf.c, mm/mmap.c:
 * with a seed each place is random, without one it is where `setarch -R` has it.
 */
#include "linux.h"

#include <cpuid.h>
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "commit.h"
#include "mm.h"
#include "spawn.h"

#define RX (RIGHT_R | RIGHT_X)
#define RW (RIGHT_R | RIGHT_W)

#define GAP_LEAST (128ul << 20)
#define GAP_MOST (LINUX_TASK_SIZE / 6 * 5)
#define STACK_FIRST (128ul << 10) /* what exec adds to the stack below the arguments */
#define STACK_PAGES 4u            /* mapped below them before the program starts; start.c must not fault */
#define STRINGS_MOST (6ul << 20)  /* three quarters of the usual stack limit */
#define STRINGS_LEAST (128ul << 10)

/* ---- Places ---- */

enum draw { DRAW_STACK, DRAW_MMAP, DRAW_PIE, DRAW_HEAP, DRAW_SP, DRAW_BYTES };

/* The n-th random number of a seed (splitmix64): the same seed, the same program. Not for secrets. */
static uint64_t draw(uint64_t seed, unsigned n)
{
	uint64_t z = seed + (n + 1) * 0x9e3779b97f4a7c15ul;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ul;
	z = (z ^ z >> 27) * 0x94d049bb133111ebul;
	return z ^ z >> 31;
}

/* Below `range`, a power of two; 0 without a seed. */
static uint64_t random_below(const struct places *p, enum draw n, uint64_t range)
{
	return p->seed ? draw(p->seed, n) & (range - 1) : 0;
}

/* Room for the stack to grow into, wherever it is put. */
static va_t mmap_base(const struct places *p)
{
	uint64_t gap = p->stack_limit, pad = (p->seed ? (LINUX_STACK_RND_PAGES - 1) * FH_PAGE : 0) + LINUX_STACK_GUARD * FH_PAGE;

	if (gap + pad > gap) /* else it is next to infinite */
		gap += pad;
	gap = gap < GAP_LEAST ? GAP_LEAST : gap > GAP_MOST ? GAP_MOST : gap;
	return page_up(LINUX_TASK_SIZE - gap - random_below(p, DRAW_MMAP, LINUX_RND_PAGES) * FH_PAGE);
}

static int arrange(const struct layout *l, struct places *p)
{
	struct extent *heap = &p->area[layout_index(l, AREA_HEAP)], *mmap = &p->area[layout_index(l, AREA_MMAP)];
	struct extent *stack = &p->area[layout_index(l, AREA_STACK)];

	if (!p->stack_limit)
		p->stack_limit = LINUX_STACK_LIMIT;
	p->bias = LINUX_PIE_BASE + random_below(p, DRAW_PIE, LINUX_RND_PAGES) * FH_PAGE;
	p->heap_gap = random_below(p, DRAW_HEAP, LINUX_HEAP_RND_PAGES) * FH_PAGE;
	*mmap = (struct extent){LINUX_MMAP_MIN, mmap_base(p)};
	stack->hi = LINUX_TASK_SIZE - random_below(p, DRAW_STACK, LINUX_STACK_RND_PAGES) * FH_PAGE;
	stack->lo = stack->hi - (p->stack_limit < GAP_LEAST ? page_up(p->stack_limit) : GAP_LEAST); /* at first: see start */
	heap->hi = LINUX_TASK_SIZE; /* as far as nobody is in its way; mmap_base is below an ET_DYN if the stack limit is high */
	return 0;
}

/* From the base down; when that is full, from a third of the address space upward. */
static va_t choose(struct space *s, uint64_t bytes, uint64_t align)
{
	va_t va = region_gap(s, layout_mmap.lo, layout_mmap.hi, bytes, align);
	return va ? va : region_gap_up(s, page_up(LINUX_TASK_SIZE / 3), LINUX_TASK_SIZE, bytes, align);
}

/* ---- The stack of a new program: System V ABI, AMD64 supplement, 3.4.1 ---- */

/* A part of memory under construction: its first byte will be at `va`. */
struct under {
	char *bytes;
	va_t va;
};
static void *at(const struct under *u, va_t va) { return u->bytes + (va - u->va); }

static size_t count(char *const *v)
{
	size_t n = 0;

	while (v && v[n])
		n++;
	return n;
}

/* Bytes of the strings; *error if one is too long. */
static uint64_t measure(char *const *v, int *error)
{
	uint64_t bytes = 0;

	for (size_t i = 0; v && v[i]; i++) {
		size_t n = strlen(v[i]) + 1;
		if (n > LINUX_STRING_MOST)
			*error = -E2BIG;
		bytes += n;
	}
	return bytes;
}

/* Where the program headers will be: in the segment that holds their place in the file. 0: in none. */
static va_t headers_at(const struct program *p)
{
	const Elf64_Ehdr *h = (const Elf64_Ehdr *)p->image.elf;
	const Elf64_Phdr *s = (const Elf64_Phdr *)(p->image.elf + h->e_phoff);

	for (unsigned i = 0; i < h->e_phnum; i++)
		if (s[i].p_type == PT_LOAD && h->e_phoff >= s[i].p_offset && h->e_phoff - s[i].p_offset < s[i].p_filesz)
			return p->places.bias + s[i].p_vaddr + (h->e_phoff - s[i].p_offset);
	return 0;
}

static unsigned cpu_features(void)
{
	unsigned a, b, c, d;

	__cpuid(1, a, b, c, d);
	return d;
}

struct strings {
	va_t argv, envp, name, platform, bytes; /* where each begins */
};

enum { AUX_WORDS = 2 * 18 };

static void auxiliary(const struct program *p, const struct strings *s, uint64_t *to)
{
	const Elf64_Ehdr *h = (const Elf64_Ehdr *)p->image.elf;
	const uint64_t words[AUX_WORDS] = {
	    AT_HWCAP, cpu_features(), AT_PAGESZ, FH_PAGE, AT_CLKTCK, 100, AT_PHDR, headers_at(p), AT_PHENT, sizeof(Elf64_Phdr),
	    AT_PHNUM, h->e_phnum, AT_BASE, 0, AT_FLAGS, 0, AT_ENTRY, p->image.entry, AT_UID, 0, AT_EUID, 0, AT_GID, 0, AT_EGID, 0,
	    AT_SECURE, 0, AT_RANDOM, s->bytes, AT_EXECFN, s->name, AT_PLATFORM, s->platform, AT_NULL, 0,
	};
	memcpy(to, words, sizeof(words));
}

/* Copy the strings to `to` in the program, its pointers and NULL to `words`. Returns where the next ones go. */
static uint64_t *vector(const struct under *u, char *const *v, va_t to, uint64_t *words)
{
	for (size_t i = 0; v && v[i]; i++) {
		size_t n = strlen(v[i]) + 1;
		memcpy(at(u, to), v[i], n);
		*words++ = to;
		to += n;
	}
	*words++ = 0;
	return words;
}

/*
 * From the top down: a null word, the file's name, the environment's strings, the arguments', [random], platform, 16 random
 * bytes, the auxiliary vector, envp, argv, argc.
 */
static int stack(struct child *c, const struct program *p, struct fh_regs *regs)
{
	static const char platform[] = "x86_64";
	size_t argc = count(p->argv), envc = count(p->envp);
	const char *name = argc ? p->argv[0] : "";
	struct strings s;
	va_t top = p->places.area[layout_index(p->image.layout, AREA_STACK)].hi;
	uint64_t most = p->places.stack_limit / 4 < STRINGS_MOST ? p->places.stack_limit / 4 : STRINGS_MOST;
	int r = 0;

	most = most > STRINGS_LEAST ? most : STRINGS_LEAST;
	va_t end = top - sizeof(uint64_t);
	s.name = end - (strlen(name) + 1);
	s.envp = s.name - measure(p->envp, &r);
	s.argv = s.envp - measure(p->argv, &r);
	if (r < 0 || (argc + envc) * sizeof(char *) >= most || end - s.argv > most - (argc + envc) * sizeof(char *))
		return -E2BIG;
	s.platform = ((s.argv - random_below(&p->places, DRAW_SP, LINUX_SP_RND)) & ~15ul) - sizeof(platform);
	s.bytes = s.platform - 16;
	va_t sp = ((s.bytes & ~15ul) - (1 + argc + 1 + envc + 1 + AUX_WORDS) * sizeof(uint64_t)) & ~15ul, low = page_down(sp);
	if (top - low + STACK_PAGES * FH_PAGE > p->places.stack_limit)
		return -E2BIG;
	int64_t copy = mm_map(0, top - low, RW, 0);
	if (mm_failed(copy))
		return (int)copy;

	struct under u = {(char *)copy, low};
	uint64_t *words = at(&u, sp);
	*words++ = argc;
	words = vector(&u, p->argv, s.argv, words);
	words = vector(&u, p->envp, s.envp, words);
	auxiliary(p, &s, words);
	memcpy(at(&u, s.name), name, strlen(name) + 1);
	memcpy(at(&u, s.platform), platform, sizeof(platform));
	memcpy(at(&u, s.bytes), (uint64_t[]){draw(p->places.seed, DRAW_BYTES), draw(p->places.seed, DRAW_BYTES + 1)}, 16);
	if ((r = child_place(&c->space, low, (top - low) / FH_PAGE, RW, u.bytes, top - low, 0)) == 0 &&
	    (r = child_place(&c->space, low - (STACK_PAGES - 1) * FH_PAGE, STACK_PAGES - 1, RW, NULL, 0, 0)) == 0)
		/* The kit's word to the program, where the stack will grow over it: start.c reads it first. */
		r = child_place(&c->space, low - STACK_PAGES * FH_PAGE, 1, RW, &p->places, sizeof(p->places), 0);
	regs->rsp = sp;
	regs->rsi = low - STACK_PAGES * FH_PAGE;
	mm_unmap((va_t)copy, top - low);
	return r;
}

/* ---- The stack grows ---- */

static uint64_t stack_limit;

uint64_t linux_stack_limit(void) { return stack_limit; }
void linux_stack_limit_set(uint64_t bytes) { stack_limit = bytes; }

/* May the stack begin at `base`? Within its limit, and far from what is accessible below it; another stack may be near. */
static bool may_begin(struct space *s, const struct region *r, va_t base)
{
	const struct region *below = region_before(s, base);
	bool near = below && below->grow != REGION_GROW_OPEN && below->base < below->end &&
	            base - below->end < r->guard * FH_PAGE && region_page_rights(s, below, below->end - FH_PAGE);

	return r->end - base <= stack_limit && !near;
}

static enum answer fault_stack(struct region *r, struct fault *f)
{
	va_t base = page_down(f->address);
	int64_t pages = (int64_t)(r->lo - base) / (int64_t)FH_PAGE;

	if (base < r->lo) {
		if (!may_begin(f->space, r, base) || commit_may(f->space, pages) < 0)
			return FAULT_KILL;
		commit_count(pages);
		r->lo = r->base = base;
	}
	return fault_zero(r, f);
}

/* In the new program: its stack reserves nothing, it grows into what is free. And promises are counted. */
static int start(void)
{
	struct space *s = space_current();
	struct region *r = region_find(s, layout_stack.hi - FH_PAGE);
	va_t base = r->base - STACK_FIRST;

	stack_limit = layout_here.stack_limit;
	r->lo = r->base = base > layout_stack.lo ? base : layout_stack.lo;
	r->grow = REGION_GROW_OPEN;
	r->guard = LINUX_STACK_GUARD;
	r->fault = fault_stack;
	commit_begin(s);
	return 0;
}

const struct layout layout_linux = {
    .name = "linux",
    .seed = "002_18d436c398ec6f73.txt, second half",
    .title = "Linux on x86-64, with and without randomisation",
    .teaches = "Why a debugger shows 0x555555554000 and 0x7ffff7fff000: the gap under the stack is its limit, and what randomness and "
               "the guard need, at least 128 MiB. Nothing of it is reserved: the stack grows into what happens to be free, and stops "
               "where something accessible comes within 256 pages. `run layout linux seed=random` prints a seed; `seed=` that number "
               "draws the same places again. Programs come as ET_EXEC (linux) and as a static-pie (linux_pie). Memory may be promised "
               "that is not there: the three overcommit modes are in src/libos/commit.h.",
    .said = "It has areas of their own for arguments and environment, and [random] between areas: as in Linux, the strings are in the "
            "topmost pages of [stack], arguments below environment, and the random distances are addresses that nobody has. Its last "
            "address 0x7fffffffffff is one page past TASK_SIZE, which Linux leaves unused; here it is the guard [end]. Linux itself "
            "takes a static-pie for a dynamic linker and puts it among the mappings; here it is put where Linux puts a PIE.",
    .area = {
        {"[null]", 0, LINUX_MMAP_MIN, AREA_GUARD, 0, .note = "vm.mmap_min_addr: nobody may map it"},
        {"[text]", 0x400000, 0, AREA_TEXT, RX, .note = "of an ET_EXEC; an ET_DYN is moved up by 0x555555554000, plus up to 1 TiB at random"},
        {"[rodata]", 0, 0, AREA_RODATA, RIGHT_R, .after = true},
        {"[data]", 0, 0, AREA_DATA, RW, .after = true},
        {"[bss]", 0, 0, AREA_BSS, RW, .after = true},
        {"[heap]", 0, 0, AREA_HEAP, RW, REGION_GROW_UP, .after = true, .meets = "ENOMEM where it meets a mapping",
         .note = "up to 1 GiB after .bss, at random"},
        {"[mmap]", 0, 0x7ffff7fff000, AREA_MMAP, RW, REGION_GROW_DOWN, .after = true, .meets = "ENOMEM where it meets [heap]",
         .note = "its end is TASK_SIZE - clamp(stack limit + stack randomness + guard gap, 128 MiB, 5/6 TASK_SIZE) - up to 1 TiB at random"},
        {"[stack]", 0x7fffff7ff000, LINUX_TASK_SIZE, AREA_STACK, RW, REGION_GROW_DOWN, .guard = LINUX_STACK_GUARD,
         .meets = "stops 256 pages above what is accessible",
         .note = "up to 16 GiB lower, at random, and then its pointer up to 8 KiB; 8 MiB is the stack limit that a program begins with"},
        {"[end]", LINUX_TASK_SIZE, 0x800000000000, AREA_GUARD, 0, .note = "document: the environment reaches to its last byte"},
    },
    .arrange = arrange,
    .stack = stack,
    .start = start,
    .choose = choose,
};
