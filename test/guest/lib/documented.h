/* documented.h - what docs/abi.md says that each system call may return. */
#pragma once

#include "kit.h"

extern const char *const call_names[FH_NSYSCALLS];
bool documented(uint64_t number, int64_t result);
