/* bootfs.c - see bootfs.h. The archive is ustar (POSIX.1-1988): headers of 512 bytes, name at 0, length at 124 in octal. */
#include "bootfs.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 512ul

extern const char __bootfs_start[], __bootfs_end[];

const void *bootfs_file(const char *name, size_t *bytes)
{
	for (const char *h = __bootfs_start; h + BLOCK <= __bootfs_end && h[0];) {
		size_t n = strtoul(h + 124, NULL, 8);
		if (n > (size_t)(__bootfs_end - h) - BLOCK)
			return NULL;
		if (strncmp(h, name, 100) == 0)
			return *bytes = n, h + BLOCK;
		h += BLOCK + ((n + BLOCK - 1) & ~(BLOCK - 1));
	}
	return NULL;
}
