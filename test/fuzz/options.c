/* options.c - the kit's boot_option on any command line: {key's length 1, buffer's size 1, key, command line}. */
#include "fuzz.h"
#include "src/libos/module.c"
#include <stdio.h>
#include <stdlib.h>

static struct fh_info page;
const struct fh_info *info = &page;
struct space space_main;

void fuzz_one(const uint8_t *bytes, size_t n)
{
	struct input in = {bytes, n};
	size_t length = take_bytes(&in, 1) % 32, size = 1 + take_bytes(&in, 1) % 64;
	char key[32 + 1] = "", pattern[32 + 3], *buffer = malloc(size);
	for (size_t i = 0; i < length; i++)
		key[i] = (char)take_bytes(&in, 1);
	page.command = sizeof page.strings - 1 - (in.n < 600 ? in.n : 600); /* it ends where the page does */
	memset(page.strings, 0, sizeof page.strings);
	memcpy(page.strings + page.command, in.at, sizeof page.strings - 1 - page.command);
	bool found = boot_option(key, buffer, size);
	if (found) {
		FUZZ_CHECK(memchr(buffer, 0, size) && !strchr(buffer, ' '));
		snprintf(pattern, sizeof pattern, "%s=", key);
		const char *at = strstr(page.strings + page.command, pattern);
		while (at && (strncmp(at + strlen(pattern), buffer, strlen(buffer)) != 0 ||
		              (at != page.strings + page.command && at[-1] != ' ')))
			at = strstr(at + 1, pattern);
		FUZZ_CHECK(at);
	}
	free(buffer);
}

/* ---- What else module.c asks for ---- */

int region_add(struct space *s, const struct region *r) { (void)s, (void)r; return 0; }
int space_map(struct space *s, va_t va, pfn_t pfn, size_t n, unsigned rights)
{
	(void)s, (void)va, (void)pfn, (void)n, (void)rights;
	return 0;
}
void space_lock(struct space *s) { (void)s; }
void space_unlock(struct space *s) { (void)s; }
pte_t space_get(struct space *s, va_t va) { (void)s, (void)va; return 0; }
const char *startup_name(const char *path, char *buffer, size_t n) { (void)n; *buffer = *path; return buffer; }
enum answer fault_guard(struct region *r, struct fault *f) { (void)r, (void)f; return (enum answer)0; }
