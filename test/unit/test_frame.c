/* test_frame.c - the ownership table: frame.c, grant.c and epoch.c. The tests are in frame_*.c. */
#include "suite.h"

int main(void)
{
	static const char *const sources[] = {"src/kern/frame.c", "src/kern/frame.h", "src/kern/grant.c", "src/kern/epoch.c", NULL};
	return suite_main("frame", sources, NULL);
}
