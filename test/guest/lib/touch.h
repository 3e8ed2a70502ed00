/*
 * touch.h - what may be done at an address, found out by doing it: the regions answer first, and a touch that they refuse
 * goes on behind the instruction instead of ending the test.
 */
#pragma once

#include "kit.h"

void touch_begin(void); /* takes the handler of page faults */
void touch_end(void);

/* Address and error code of the last touch that was refused. */
extern volatile struct touch_refusal {
	uint64_t address, error;
} touch_last;

bool reads(const volatile void *p);
bool writes(volatile void *p);     /* the byte stays what it is */
bool runs(const volatile void *p); /* there must be a TOUCH_RET */
#define TOUCH_RET ((char)0xc3)
/* All that may be done: RIGHT_R|W|X; X only where the byte is TOUCH_RET. */
unsigned rights_at(volatile char *p);
