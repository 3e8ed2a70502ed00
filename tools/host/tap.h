/* tap.h - test/guest/lib/tap.h's sentences, in host mode. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool ok(bool passed, const char *sentence, ...) __attribute__((format(printf, 2, 3)));
bool is(int64_t got, int64_t want, const char *sentence, ...) __attribute__((format(printf, 3, 4)));
struct tally {
	unsigned bad;
};
void count_bad(struct tally *, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool none_bad(const struct tally *, const char *sentence, ...) __attribute__((format(printf, 2, 3)));
