/* mmap.c - mmap, mprotect and munmap are entries and regions. */
#include <errno.h>

#include "demo.h"

static va_t caught; /* address of the last fault that went to the handler */

/* Count it and step over the instruction: `movb $1, (%rax)` below is 3 bytes long. */
static enum answer skip(struct fh_context *c)
{
	uint8_t *code = (uint8_t *)c->regs.rip;

	if (code[0] != 0xc6 || code[1] != 0x00)
		return FAULT_NEXT;
	struct region *r = region_find(space_current(), c->address);
	if (r && region_page_rights(space_current(), r, c->address) & RIGHT_W)
		return FAULT_NEXT; /* an ordinary first touch */
	caught = c->address;
	c->regs.rip += 3;
	return FAULT_DONE;
}

/* Does writing to p fault? */
static bool write_faults(volatile char *p)
{
	caught = 0;
	__asm__ volatile("movb $1, (%0)" : : "a"(p) : "memory");
	return caught == (va_t)p;
}

int demo_mmap(void)
{
	int bad = 0;
	uint64_t frames = frames_now();

	on_upcall(14, skip);
	char *p = (char *)mm_map(0, 16 * FH_PAGE, RIGHT_R | RIGHT_W, 0);
	printf("  mm_map(16 pages) = %p\n", (void *)p);
	bad += check(!mm_failed((int64_t)p) && !write_faults(p + 5 * FH_PAGE), "it can be written");
	bad += check(mm_protect((va_t)p + 4 * FH_PAGE, 4 * FH_PAGE, RIGHT_R) == 0 && write_faults(p + 5 * FH_PAGE),
	             "mm_protect(pages 4-7, r--): a write faults at once");
	bad += check(p[5 * FH_PAGE] == 1 && !write_faults(p + 8 * FH_PAGE), "reading goes on, the neighbours are untouched");
	mm_protect((va_t)p + 4 * FH_PAGE, 4 * FH_PAGE, 0);
	mm_protect((va_t)p + 4 * FH_PAGE, 4 * FH_PAGE, RIGHT_R | RIGHT_W);
	bad += check(p[5 * FH_PAGE] == 1, "away (---) and back (rw-): the byte is still there");
	bad += check(mm_unmap((va_t)p + 6 * FH_PAGE, 2 * FH_PAGE) == 0 && write_faults(p + 6 * FH_PAGE),
	             "mm_unmap(pages 6-7) splits the mapping in two");
	bad += check(mm_map((va_t)p + 5 * FH_PAGE, 2 * FH_PAGE, RIGHT_R, MM_FIXED | MM_NOREPLACE) == -EEXIST,
	             "a fixed mapping over it is refused: EEXIST");
	bad += check(mm_map((va_t)p + 6 * FH_PAGE, 2 * FH_PAGE, RIGHT_R | RIGHT_W, MM_FIXED | MM_NOREPLACE) ==
	                 (int64_t)p + 6 * (int64_t)FH_PAGE,
	             "one that fits the hole is not");
	bad += check(p[6 * FH_PAGE] == 0, "and its pages are zero");
	maps_print(space_current());
	mm_unmap((va_t)p, 16 * FH_PAGE);
	on_upcall(14, NULL);
	space_trim(space_current(), layout_mmap.lo, layout_mmap.hi);
	return bad + check(frames_now() == frames, "all frames are back: %lu owned", frames_now());
}
