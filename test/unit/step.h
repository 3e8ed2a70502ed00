/*
 * step.h - another CPU's step at any instruction of a call: the host's single-step flag stops the call after its k-th
 * instruction, and what the other CPU does runs there.
 *
 *	for (unsigned k = 1;; k += STEP_STRIDE) {
 *		step_begin(k, other_cpu);
 *		r = call();
 *		if (!step_end())
 *			break;      // the call is shorter than that
 *	}
 */
#pragma once
#include <stdbool.h>

#define STEP_STRIDE 7u /* signals are slow, and under ASan shared words are touched further apart than that */

void step_begin(unsigned k, void (*what)(void));
/* Has it run? */
bool step_end(void);
