/* main.c - a program on NAME.c. Not part of the allocator: checks and grading bring their own. */
#include <string.h>

#include "kit.h"

extern struct allocator allocator_NAME;
uint64_t NAME_faults(void);
struct allocator *malloc_default = &allocator_NAME; /* from the first malloc on */

int main(void)
{
	int64_t before = frame_owned(0);
	char *table[64];

	for (int i = 0; i < 64; i++)
		table[i] = malloc(10000);
	printf("%s: 64 blocks of 10000 bytes: %ld frames, %lu faults\n", malloc_default->name, frame_owned(0) - before, NAME_faults());
	for (int i = 0; i < 64; i++)
		memset(table[i], i, 10000);
	printf("%s: written: %ld frames, %lu faults\n", malloc_default->name, frame_owned(0) - before, NAME_faults());
	for (int i = 0; i < 64; i++)
		free(table[i]);
	printf("%s: freed: %ld frames, %d inconsistencies\n", malloc_default->name, frame_owned(0) - before, malloc_check());
	return malloc_check() != 0;
}
