/* main.c - a program that uses NAME.c. Not part of the allocator: checks and grading bring their own. */
#include <string.h>

#include "kit.h"

extern struct allocator allocator_NAME;
struct allocator *malloc_default = &allocator_NAME; /* from the first malloc on */

int main(void)
{
	char *words[100], *line = strcpy(malloc(1), "");

	for (int i = 0; i < 100; i++)
		memset(words[i] = malloc((size_t)i + 1), 'a' + i % 26, (size_t)i + 1);
	for (int i = 0; i < 100; i += 2) {
		line = realloc(line, strlen(line) + 2);
		strncat(line, words[i], 1);
		free(words[i]);
	}
	printf("%s: %s\n", malloc_default->name, line);
	printf("%ld frames, heap %lu KiB, %d inconsistencies\n", frame_owned(0), (heap_end() - heap_start()) / 1024, malloc_check());
	return malloc_check() != 0;
}
