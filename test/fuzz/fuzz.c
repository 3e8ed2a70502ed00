/* fuzz.c - what all targets share: libFuzzer's way in, and the ways out. */
#include "fuzz.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	fuzz_one(bytes, n);
	return 0;
}

_Noreturn void fuzz_fail(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fputs("FOUND: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	abort();
}
