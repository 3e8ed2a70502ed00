/*
 * trace.h - marks for Bochs' debugger; everywhere else they are a nop. `make bochs` stops there; `make bochs-trace
 * PROG=...` prints what was done between the first BEGIN and END:
 *
 *     TRACE_BEGIN();
 *     p = malloc(100);
 *     TRACE_END();
 */
#pragma once

#define MAGIC_BREAK() __asm__ volatile("xchgw %%bx, %%bx" : : : "memory")
#define TRACE_BEGIN() MAGIC_BREAK()
#define TRACE_END() MAGIC_BREAK()
