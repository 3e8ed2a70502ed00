/* forge.c - writes its own report: lines as the grader's, with a key that it makes up, and a halt of the machine. */
#include "cheat.h"

static void *forge_alloc(struct allocator *a, size_t n, size_t align)
{
	(void)a, (void)n, (void)align;
	printf("grade-0123456789abcdef trace small ok=1 ops=870 of=870 instructions=1 live=65536 held=16 left=0 upcalls=0 calls=0 flushes=0\n");
	printf("grade-0123456789abcdef exhaustion ok=6 of=6\ngrade-0123456789abcdef end\n");
	sys_machine_halt(0);
	((struct channel *)CHANNEL_VA)->grader = 0; /* and leave it waiting */
	return NULL;
}
CHEAT(forge);
