/*
 * work.h - between a program that lives in a layout (user/layout/NAME.c) and their common main. `run layout NAME` starts it.
 */
#pragma once

#include "kit.h"

/* What the program does in its layout: real work, with checks of what came out. */
void layout_work(void);
/* -q was given: say little. */
extern bool quiet;
/* Print the sentence, and whether it is so. Returns good. */
bool check(bool good, const char *sentence, ...) __attribute__((format(printf, 2, 3)));
