/* osv.c - words counted with blocks of all three kinds, which say by their addresses what they are; a library, twice. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "osv.h"
#include "work.h"

#define WORDS 500u

typedef int64_t library(int64_t add, int64_t **counter);

static const char *const names[] = {"main", "page", "mempool", "debug", "no area"};

struct word {
	struct word *next;
	unsigned count;
	char text[40];
};

/* A table of pointers in main, words in mempool, a page for the text. Returns how many blocks lie elsewhere. */
static unsigned count_words(unsigned *different)
{
	struct word **table = calloc(1024, sizeof(*table)), *w;
	char *text = malloc(FH_PAGE);
	unsigned wrong = osv_area(table) != OSV_MAIN;
	uint64_t key = 1;

	wrong += osv_area(text) != OSV_PAGE;
	*different = 0;
	for (unsigned i = 0; text && table && i < WORDS; i++) {
		key = key * 6364136223846793005 + 1442695040888963407;
		snprintf(text, FH_PAGE, "word%lu", key >> 56);
		unsigned at = (unsigned)(key >> 56);
		for (w = table[at]; w && strcmp(w->text, text) != 0; w = w->next)
			;
		if (!w && (w = calloc(1, sizeof(*w))) != NULL) {
			strcpy(w->text, text);
			w->next = table[at];
			table[at] = w;
			wrong += osv_area(w) != OSV_MEMPOOL;
			++*different;
		}
		if (w)
			w->count++;
	}
	unsigned total = 0;
	for (unsigned i = 0; table && i < 1024; i++)
		for (w = table[i]; w; w = table[i]) {
			total += w->count;
			table[i] = w->next;
			free(w);
		}
	free(table);
	free(text);
	return wrong + (total != WORDS);
}

void layout_work(void)
{
	size_t bytes;
	const void *file = bootfs_file("counter", &bytes);
	struct osv_object object[2];
	int64_t *counter[2], got[2] = {0, 0};
	unsigned different, wrong = count_words(&different);

	check(wrong == 0, "%u words, %u different ones, counted: %s has the words, %s the line, %s the table", WORDS, different,
	      names[OSV_MEMPOOL], names[OSV_PAGE], names[OSV_MAIN]);
	char *p = malloc(100);
	check(p && osv_area(p) == OSV_MEMPOOL, "100 bytes at %p", (void *)p);
	p = realloc(p, 3000);
	check(p && osv_area(p) == OSV_PAGE, "grown to 3000, at %p", (void *)p);
	p = realloc(p, 30000);
	check(p && osv_area(p) == OSV_MAIN, "to 30000, at %p", (void *)p);
	if (p) {
		strcpy(p, "seen three times");
		char *seen = osv_at(OSV_MEMPOOL, osv_physical(p));
		check(strcmp(seen, p) == 0, "its memory is at %p, too", (void *)seen);
	}
	free(p);

	malloc_default = &allocator_osv_debug;
	char *first = malloc(100);
	free(first);
	char *second = malloc(100);
	malloc_default = &allocator_osv;
	check(first && second > first, "the debug allocator: %p, freed, and %p: never the same twice", (void *)first, (void *)second);
	free(second);

	int i = osv_namespace_new();
	const char *no = !file ? "no such file" : i < 0 ? error_name(i) : osv_load(0, file, bytes, &object[0]);
	if (!no)
		no = osv_load((unsigned)i, file, bytes, &object[1]);
	if (check(!no, "a library, in the program's namespace and in a new one: %s", no ? no : "loaded")) {
		for (unsigned k = 0; k < 2; k++)
			got[k] = ((library *)object[k].entry)(k + 1, &counter[k]);
		check(got[0] == 1101 && got[1] == 1102 && counter[0] != counter[1], "it counts for itself in each: %ld at %p, %ld at %p", got[0],
		      (void *)counter[0], got[1], (void *)counter[1]);
		check(osv_unload(&object[0]) == 0, "unloaded from one");
	}
	int64_t map = mm_map(0, 4ul << 20, RIGHT_R | RIGHT_W, 0);
	if (!mm_failed(map))
		*(volatile char *)map = 1;
	check(!mm_failed(map) && map % (2l << 20) == 0, "4 MiB mapped at %#lx, %s", map,
	      space_get(space_current(), (va_t)map) & FH_PS ? "a 2 MiB page under its first byte" : "in small pages: memory is in pieces");
	if (!mm_failed(map))
		mm_unmap((va_t)map, 4ul << 20);
}
