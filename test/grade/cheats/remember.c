/* remember.c - notes in a first pass what is asked for, to be ready in the next one: the notes are left in a frame, and looked
 * for there. But each pass is an env of its own, whose frames come zeroed. Without its notes it only takes notes. */
#include "cheat.h"

#define MARK 0x7265626d656d6572ul
#define LOOK 2000u

struct notes {
	uint64_t mark, n, bytes[500];
};

static struct notes *notes;
static bool ready;

static void *remember_alloc(struct allocator *a, size_t n, size_t align)
{
	(void)a;
	if (!notes) {
		for (unsigned i = 0; i < LOOK && !ready; i++) { /* as it was left, if it can be had so */
			pfn_t f = frame_get(space_current()->frames, 1, 1, 0, FH_ALLOC_KEEP);
			notes = f ? scratch_map(f, 1, RIGHT_R | RIGHT_W) : NULL;
			ready = notes && notes->mark == MARK;
			if (notes && !ready && i + 1 < LOOK) {
				scratch_put((va_t)notes, 1);
				frame_put(f, 1);
			}
		}
		if (!notes)
			return NULL;
		notes->mark = MARK;
	}
	if (!ready && notes->n < 500) {
		notes->bytes[notes->n++] = n;
		return NULL;
	}
	return plain_alloc(n, align);
}
CHEAT(remember);
