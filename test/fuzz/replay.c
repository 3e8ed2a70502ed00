/* replay.c - run a target on the files named, without libFuzzer: each on exactly its bytes, so that a sanitizer sees any read
 * beyond them. */
#include "fuzz.h"
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		FILE *f = fopen(argv[i], "rb");
		if (!f || fseek(f, 0, SEEK_END) != 0)
			fuzz_fail("%s can't be read", argv[i]);
		size_t n = (size_t)ftell(f);
		uint8_t *bytes = malloc(n ? n : 1);
		rewind(f);
		if (fread(bytes, 1, n, f) != n)
			fuzz_fail("%s can't be read", argv[i]);
		fclose(f);
		fprintf(stderr, "%s\n", argv[i]); /* the last one named is the one that is wrong */
		fuzz_one(bytes, n);
		free(bytes);
	}
	return 0;
}
