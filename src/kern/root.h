/*
 * root.h - makes root, the env that owns everything else at start.
 */
#pragma once
#include "types.h"

/* From the first module, or refuse to boot. `free`: frames FREE now. */
void root_start(uint64_t free);
