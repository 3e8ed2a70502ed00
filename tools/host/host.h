/* host.h - what host mode's implementation of source.h offers to the program around it. */
#pragma once

#include <stddef.h>

void host_begin(void);            /* first of all */
void host_limit(size_t bytes);    /* no more memory than that in all; 0: no limit */
size_t host_held(void);           /* bytes that are committed */
