/*
 * fuzz.h - a fuzz target is fuzz_one(): it takes any bytes, and whatever they are it returns. A sanitizer's report, a
 * fuzz_fail or a wait that doesn't end is a finding. It keeps no state from one call to the next, so that the file of a
 * finding shows it alone.
 *
 * Linked with libFuzzer (clang) it looks for such bytes; linked with replay.c (gcc) it is given files.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

void fuzz_one(const uint8_t *bytes, size_t n);
/* Say what is wrong, and abort. */
_Noreturn void fuzz_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define FUZZ_CHECK(cond) ((cond) ? (void)0 : fuzz_fail("%s:%d: %s", __FILE__, __LINE__, #cond))

/* What is left of the bytes. */
struct input { const uint8_t *at; size_t n; };

/* The next 1 to 8 of them, little-endian; past the end zeroes. */
static inline uint64_t take_bytes(struct input *in, unsigned bytes)
{
	uint64_t v = 0;
	unsigned n = in->n < bytes ? (unsigned)in->n : bytes;
	if (n)
		memcpy(&v, in->at, n);
	in->at += n;
	in->n -= n;
	return v;
}
