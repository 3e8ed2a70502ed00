/*
 * trace.h - marks for Bochs' debugger; everywhere else they do nothing. `make bochs` stops at each; `make bochs-trace
 * PROG=...` prints what was done between the first BEGIN and END, and goes on at a MAGIC_BREAK:
 *
 *     TRACE_BEGIN();
 *     p = malloc(100);
 *     TRACE_END();
 *
 * The magic instruction and behind it, where rip is when Bochs stops, a nop that says which mark it was. Not the device that
 * Bochs has for this, iodebug: an `out` to port 0x8A00 is a #GP in user code (IOPL is 0, there is no I/O bitmap), and in no
 * other machine does it nothing.
 */
#pragma once

#define MAGIC_BREAK() __asm__ volatile("xchgw %%bx, %%bx" : : : "memory")
/* nopl disp32(%rax); tools/bochs-trace.py knows the four letters. */
#define TRACE_MARK(letters) __asm__ volatile("xchgw %%bx, %%bx\n\t.byte 0x0f, 0x1f, 0x80\n\t.ascii \"" letters "\"" : : : "memory")
#define TRACE_BEGIN() TRACE_MARK("BEGN")
#define TRACE_END() TRACE_MARK("END.")
