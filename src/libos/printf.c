/*
 * printf.c - apart from the rest of the kit, because its callers' doubles come in XMM registers: this file alone is not
 * built with -mgeneral-regs-only. It only stores them.
 */
#include "console.h"

int printf(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int n = vprintf(format, args);
	va_end(args);
	return n;
}
