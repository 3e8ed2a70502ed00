/*
 * console.h - COM1 and the VGA text screen, the PC keyboard, the kernel's own messages, and the ways out.
 */
#pragma once
#include "types.h"

void console_init(void);
void console_map_screen(void); /* once the kernel's own tables are loaded */
/* The kernel's messages: wait for the UART, go to the screen too. Formats: %s %d %u %x, with l and a width. */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Bytes of user code: how many were taken. Never waits. */
uint64_t console_put(pfn_t me, const char *bytes, uint64_t n);
uint64_t console_get(char *bytes, uint64_t n);
void console_listen(uint64_t thread, uint64_t bits); /* ring these when input arrives */
void console_interrupt(void); /* IRQ 1 and 4 */
void console_refresh(void);   /* draw the screen if it is stale: CPU 0, each tick and before it idles */

/* Leave the machine: a last line with the value, isa-debug-exit, Bochs' and QEMU's power-off ports, then halt. */
_Noreturn void machine_exit(unsigned value);
/* The machine or what was loaded can't be used: one line, then FH_EXIT_BOOT. */
_Noreturn void refuse_boot(const char *format, ...) __attribute__((format(printf, 1, 2)));
void console_dying(void); /* the other CPUs stop, one of them perhaps with the console's lock: it keeps nobody out any more */
/* report.c. From here on only this CPU runs and speaks; every report begins so. */
void last_words(void);
/* The backtrace starts at this address and frame pointer. */
_Noreturn void panic_at(uint64_t rip, uint64_t rbp);
/* An exception in ring 0. */
_Noreturn void report_kernel_fault(const struct fh_regs *regs);
void report_ready(void); /* the per-CPU area is mapped */
/* Root's thread faulted and nobody is left to handle it. */
_Noreturn void report_root_fault(const struct fh_regs *regs, uint64_t address);
/* Ctrl-P: what every CPU and thread is doing. */
void dump_state(void);
