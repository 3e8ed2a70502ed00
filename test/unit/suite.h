/*
 * suite.h - tests named by the sentence they check, and the count of refusal sentences that were reached.
 *
 *	TEST("frame_free of a mapped frame is EBUSY and changes nothing") { ... }
 *
 * A binary runs the tests of its own file, test_X.c, and of the files X_*.c, each in a fresh world.
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define TEST(sentence) TEST_ON_LINE(sentence, __LINE__)
#define TEST_ON_LINE(sentence, line) TEST_NAMED(sentence, line)
#define TEST_NAMED(sentence, line)                                                                                     \
	static void test_##line(void **unused);                                                                        \
	__attribute__((constructor)) static void add_##line(void)                                                      \
	{                                                                                                              \
		suite_add(__FILE_NAME__, sentence, test_##line);                                                       \
	}                                                                                                              \
	static void test_##line(__attribute__((unused)) void **unused)

#define LENGTH(array) (sizeof(array) / sizeof *(array))

void suite_add(const char *file, const char *sentence, void (*test)(void **));
/* Run the tests of group `name`. Where `sources` are given, the last test is that every REFUSE sentence in them was
 * reached, and that those `allowed` not to be were not. NULL ends each list. */
int suite_main(const char *name, const char *const *sources, const char *const *allowed);
/* Fail, saying why. */
_Noreturn void suite_fail(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
const char *suite_sentence(void); /* of the last refusal, "" if there was none since suite_forget */
void suite_forget(void);
uint64_t suite_env(const char *name, uint64_t otherwise); /* the environment's number: SEED, STEPS */
