/* resea.c - a microkernel's: a vm server that maps all memory straight, and tasks that it pages. */
#include "layout.h"

#include <errno.h>
#include <string.h>

#include "env.h"
#include "resea.h"
#include "spawn.h"
#include "start.h"

#define RX (RIGHT_R | RIGHT_X)
#define RW (RIGHT_R | RIGHT_W)

static int start(void);
static int stack(struct child *, const struct program *, struct fh_regs *);

const struct layout layout_resea = {
    .name = "resea",
    .seed = "000_75df7952b298c244.txt",
    .title = "a microkernel's tasks, and their vm server",
    .teaches = "Paging from outside: a task has no handler, and each of its faults is an event of another program, which decides, by "
               "this table, whether there is a page, and from where: the file, zeroes, memory shared with somebody. The server itself "
               "needs no tables for what it looks at: virtual is physical.",
    .said = ".data is 16 MiB, not 48: stack and table say so. The 10 TiB begin at 0x10000000 and end where the size says, at "
            "0xa0000000000; its own code stops a little earlier. \"0x0000_6000 - 0x0000_5fff\" and the two rows of BSP boot code are slips. "
            "Physical memory from 0x5000000 is this machine's free memory, as there (docs/design.md). The kernel's 4 GiB at "
            "0xffff8000_00000000 are nothing here: a touch kills. The straight mapping covers the frames that the server holds at or above "
            "0x10000000; those below serve its image, its tables and its tasks. Messages have a window, which the seed doesn't name.",
    .area = {
        {"[null]", 0, 0x1000, AREA_GUARD, 0, .grow = REGION_FIXED},
        {"[text]", 0x1000000, 0, AREA_TEXT, RX, .grow = REGION_FIXED},
        {"[rodata]", 0, 0, AREA_RODATA, RIGHT_R, .after = true, .meets = "a longer image is refused: [cmdline] is in its way"},
        {"[cmdline]", 0x2fff000, 0x3000000, AREA_ARGS, RW, .grow = REGION_FIXED},
        {"[data]", 0x3000000, 0, AREA_DATA, RW, .meets = "what .data doesn't fill is not there: a touch below the stack kills"},
        {"[stack]", 0x4000000, 0x4200000, AREA_STACK, RW, .grow = REGION_GROW_DOWN},
        {"[heap]", 0x4200000, 0xc200000, AREA_HEAP, RW, REGION_GROW_UP, .meets = "no guard: [bss] is next"},
        {"[bss]", 0xc200000, 0, AREA_BSS, RW, .note = "tasks have all of it, to 0xfffffff"},
        {"[dynamic]", 0x10000000, 0xa0000000000, AREA_ALIAS, RW | RX, REGION_GROW_UP, .note = "the vm server: virtual = physical; tasks: given out, ascending"},
        {"[message]", 0xa0000000000, 0xa0000200000, AREA_OWN, RW, .note = "tasks; not in the seed"},
        {"[mmap]", 0xb0000000000, 0x7e0000000000, AREA_MMAP, RW, REGION_GROW_DOWN, .note = "the vm server; not in the seed"},
        {"[kernel]", 0xffff800000000000, 0xffff800100000000, AREA_KERNEL, 0, .grow = REGION_FIXED},
    },
    .start = start,
    .stack = stack,
};

/* The server has a command line there, too: its arguments with blanks between. */
static int stack(struct child *c, const struct program *p, struct fh_regs *regs)
{
	char line[256];
	size_t n = 0;

	for (unsigned i = 0; p->argv[i]; i++) {
		size_t k = strlen(p->argv[i]);
		if (n + k + 2 > sizeof(line))
			return -E2BIG;
		n += i > 0 ? (line[n] = ' ', 1) : 0;
		memcpy(line + n, p->argv[i], k);
		n += k;
	}
	int r = child_place(&c->space, RESEA_CMDLINE_VA, 1, RW, line, n, 0);
	return r < 0 ? r : spawn_stack(c, p, regs);
}

/* ---- The straight mapping ---- */

static bool not_executable;
void resea_straight(bool wx) { not_executable = wx; }

static enum answer straight(struct region *r, struct fault *f)
{
	pfn_t pfn = f->address >> 12;
	unsigned rights = not_executable ? RW : RW | RX;

	(void)r;
	if (f->error & FAULT_PRESENT || pfn >= info->nframes)
		return FAULT_KILL;
	uint64_t state = frame_record(pfn)->state;
	if (fh_type(state) != FH_DATA || fh_owner(state) != env_self())
		return FAULT_KILL;
	return space_map(f->space, page_down(f->address), pfn, 1, rights) == 0 ? FAULT_DONE : FAULT_KILL;
}

static int start(void)
{
	struct region r = {.base = RESEA_DYNAMIC, .end = RESEA_DYNAMIC_END, .rights = RW | RX, .fork = REGION_SKIP,
	                   .fault = straight, .name = "[dynamic]"};

	return region_add(&space_main, &r);
}
