/*
 * env.h - env_ctl: quota, freezing, who may ring, who reads the console, revocation.
 */
#pragma once
#include "types.h"

extern uint64_t console_reader; /* name of the env that root let read the console */
long env_ctl(pfn_t me, uint64_t name, uint64_t op, uint64_t arg, uint64_t arg2);
