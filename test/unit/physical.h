/* physical.h - what boot_read reads: 1 MiB that tests fill, zeroes above, nothing from physical_end on. */
#pragma once
#include "suite.h"

extern uint8_t physical[1 << 20];
extern uint64_t physical_end;
