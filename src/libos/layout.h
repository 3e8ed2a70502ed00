/*
 * layout.h - a layout: one table that says what lies where in an address space, and the few rules that only it has.
 *
 * Everybody reads the same table: the linker (where the image's parts go), the parent that loads a program (spawn.c), the
 * program itself (regions, heap, mmap, stacks), `maps`, the tests, gdb, docs/layouts.md. A new layout is one file,
 * layout/NAME.c, and one line in layout/list.h. Its programs are user/layout/NAME.c, its tests test/layout/NAME.c.
 */
#pragma once

#include "region.h"

enum area_kind {
	AREA_END,    /* after the last one */
	AREA_TEXT,   /* the image, in this order */
	AREA_RODATA,
	AREA_DATA,
	AREA_BSS,
	AREA_HEAP,   /* brk: heap_grow */
	AREA_MMAP,   /* mm_map without a fixed address; threads' stacks, unless AREA_STACK has room for them */
	AREA_STACK,  /* the first stack at its top */
	AREA_ARGS,   /* strings of the arguments and the environment, where they are not on the stack */
	AREA_GUARD,  /* nobody maps anything there; a touch kills */
	AREA_OWN,    /* what comes there is for the layout's own code */
	AREA_ALIAS,  /* the same: frames of this env at lo + physical address */
	AREA_WINDOW, /* the same: page tables, read through themselves */
	AREA_KERNEL, /* the original's kernel; here nothing */
};

#define LAYOUT_AREAS 24u /* at most, with the end */

/*
 * An area is [lo, hi), true addresses. `after`: it begins where the one before it ends, which only the program itself
 * knows (lo is 0 then). hi 0: it may reach up to where the next one begins; for the heap that is as far as the mmap area
 * after it is still free: the two share their room, and whoever comes first has it.
 */
struct area {
	const char *name; /* as maps prints it */
	va_t lo, hi;
	uint8_t kind;     /* enum area_kind */
	uint8_t rights;   /* RIGHT_R|W|X of its pages */
	uint8_t grow;     /* enum region_grow: the side to which it fills */
	bool after;
	uint16_t guard;   /* a stack: pages at its end that are never handed out */
	uint64_t bytes;   /* AREA_STACK: of the first stack; below it is room for other threads'. 0: it has the whole area */
	const char *meets; /* what happens where it meets its neighbour; for docs and pictures, NULL: nothing special */
	const char *note; /* what the seed says otherwise, what was moved and why; NULL: nothing */
};

/* Where an area lies in one program: the table's addresses, but where a rule of the layout moved them. */
struct extent {
	va_t lo, hi;
};
struct places {
	va_t bias;     /* added to the addresses in an ET_DYN file; else 0 */
	uint64_t seed; /* that a layout with random places has drawn them from; 0: none are random */
	uint64_t stack_limit; /* bytes that the first stack may have, where the layout lets the parent say; else 0 */
	uint64_t heap_gap;    /* bytes between the image's end and a heap that comes `after` it */
	struct extent area[LAYOUT_AREAS];
};

struct child;
struct program;
struct layout {
	const char *name;
	const char *seed;    /* the document it comes from, or NULL */
	const char *title;   /* one line */
	const char *teaches; /* what there is to be learnt from it: a paragraph of docs/layouts.md */
	const char *said;    /* where the seed contradicts itself, its system or this machine, and how that was settled */
	const char *untested; /* "NAME.N: why" for each numbered line that no test in test/layout has, a line each */
	struct area area[LAYOUT_AREAS]; /* ascending */
	/* Rules of its own; NULL: the kit's. */
	/* In the parent: move areas, all page-aligned; p comes as the table says. 0 or -errno. */
	int (*arrange)(const struct layout *, struct places *p);
	/* In the parent: make the stack and what comes with it; sets rsp and rsi (spawn_stack does it for the others). */
	int (*stack)(struct child *, const struct program *, struct fh_regs *);
	/* In the program, before main: map what is there from the start. 0 or -errno. */
	int (*start)(void);
	/* Where the next mapping of `bytes` goes, a multiple of `align`; 0: nowhere. The space's lock is held. */
	va_t (*choose)(struct space *, uint64_t bytes, uint64_t align);
};

#define X(name) extern const struct layout layout_##name;
#include "layout/list.h"
#undef X

/* All layouts, NULL at the end; the one with that name, or NULL. */
extern const struct layout *const layouts[];
const struct layout *layout_find(const char *name);

/* The one that this program was linked for. */
extern const struct layout *const program_layout;
/* Where its areas lie in this program, by their index in the table. */
extern struct places layout_here;
/* Those that are asked for often: heap and mmap where they may grow, the first stack, where other stacks go. */
extern const char *layout_mmap_name;
extern struct extent layout_heap, layout_mmap, layout_stack, layout_stacks;

/* Where mappings go, if that isn't the highest free place: the layout's rule, or the lowest. */
extern va_t (*layout_choose)(struct space *, uint64_t bytes, uint64_t align);

/* Index of the first area of that kind; its length if there is none (an AREA_END). */
unsigned layout_index(const struct layout *, enum area_kind);
/* The area of this program with that name; {0, 0}: none. */
struct extent layout_named(const char *name);
/* How far area i may reach. */
va_t layout_limit(const struct layout *, const struct places *, unsigned i);
/* The table's addresses, then the layout's own rule. stack_limit 0: the layout's own. 0 or -errno. */
int layout_arrange(const struct layout *, uint64_t seed, uint64_t stack_limit, struct places *);
/* For start.c: `given` by the parent; NULL (root): as the table says. */
void layout_begin(const struct places *given);

/* The note in a program's file by which its loader finds the layout: System V gABI, chapter 5. */
#define LAYOUT_NOTE 0x4648u
#define LAYOUT_NOTE_OWNER "Freehold"
struct layout_note {
	uint32_t owner_bytes, name_bytes, type;
	char owner[12], name[20];
};
