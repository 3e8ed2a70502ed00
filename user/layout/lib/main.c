/* NAME [-q] - works in the layout NAME, shows its address space (not with -q). Exit status 1: a check failed. */
#include "work.h"

#include <stdio.h>
#include <string.h>

static unsigned failed;
bool quiet;

bool check(bool good, const char *sentence, ...)
{
	char text[256];
	va_list args;

	va_start(args, sentence);
	vsnprintf(text, sizeof(text), sentence, args);
	va_end(args);
	if (!quiet || !good)
		printf("  %-6s %s\n", good ? "ok" : "FAILED", text);
	failed += !good;
	return good;
}

int main(int argc, char **argv)
{
	quiet = argc > 1 && strcmp(argv[1], "-q") == 0;
	if (!quiet)
		printf("layout %s: %s\n", program_layout->name, program_layout->title);
	layout_work();
	if (!quiet)
		maps_print(space_current());
	else
		printf("  %-12s %s, on cpu %lu\n", program_name, failed ? "FAILED" : "done", upcall_word(UPCALL_OFFSET(cpu)));
	return failed != 0;
}
