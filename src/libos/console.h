/*
 * console.h - text out and keys in. printf formats with musl's vsnprintf into a buffer on the stack: CONSOLE_LINE
 * bytes and more are cut off. %f is not for handlers: the kit doesn't save the FPU's registers for them.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#define CONSOLE_LINE 512

/* Write n bytes; waits (yielding) for a full console. */
void console_put(const char *s, size_t n);
void kputs(const char *s);

int printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
int vprintf(const char *format, va_list);
int puts(const char *s);
int putchar(int c);

/* Up to n bytes of input (n <= 512), 0 if there is none yet: then BELL_CONSOLE rings this thread once there is.
 * -EPERM: reading belongs to another env. */
int console_read(char *buffer, size_t n);
/* Next byte, 0-255; sleeps until there is one. -errno. */
int console_getc(void);

/* "EPERM", "ENOMEM" ... of a negative or positive errno. */
const char *error_name(int error);
