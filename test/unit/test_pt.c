/* test_pt.c - page-table operations: pte.c and pt.c. The tests are in pt_*.c. */
#include "suite.h"

int main(void)
{
	static const char *const sources[] = {"src/kern/pte.c", "src/kern/pt.c", NULL};
	return suite_main("pt", sources, NULL);
}
