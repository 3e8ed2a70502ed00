/* console.c - bytes to and from the console, through this depth's part of the batch frame. */
#include "console.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "batch.h"
#include "sync.h"
#include "syscall.h"

#undef putchar

void console_put(const char *s, size_t n)
{
	while (n > 0) {
		uint64_t offset, size, done = 0;
		char *area = batch_area(&offset, &size);
		size_t part = n < size ? n : size;

		memcpy(area, s, part);
		while (done < part) {
			int64_t r = sys_console_write(offset + done, part - done);
			if (r < 0 && r != -EAGAIN)
				return;
			if (r <= 0)
				thread_yield(); /* the UART is slower than we */
			else
				done += (uint64_t)r;
		}
		s += part;
		n -= part;
	}
}

void kputs(const char *s) { console_put(s, strlen(s)); }

int vprintf(const char *format, va_list args)
{
	char line[CONSOLE_LINE];
	int n = vsnprintf(line, sizeof(line), format, args);

	if (n > 0)
		console_put(line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
	return n;
}

int puts(const char *s)
{
	kputs(s);
	kputs("\n");
	return 0;
}

int putchar(int c)
{
	char byte = (char)c;
	console_put(&byte, 1);
	return (unsigned char)byte;
}

int console_read(char *buffer, size_t n)
{
	uint64_t offset, size;
	char *area = batch_area(&offset, &size);

	if (n > size)
		n = size;
	int64_t r = sys_console_read(offset, n, 1ul << BELL_CONSOLE);
	if (r > 0)
		memcpy(buffer, area, (size_t)r);
	return r == -EAGAIN ? 0 : (int)r;
}

int console_getc(void)
{
	char byte;
	int r;

	while ((r = console_read(&byte, 1)) == 0)
		sys_thread_switch(0, 0, 1ul << BELL_CONSOLE, 0);
	return r < 0 ? r : (unsigned char)byte;
}

const char *error_name(int error)
{
	static const struct {
		int number;
		const char *name;
	} names[] = {
#define FH_X(name, number, text) {number, #name},
	    FH_ERRORS(FH_X)
#undef FH_X
	    {E2BIG, "E2BIG"}, {ENOEXEC, "ENOEXEC"}, {ENOMEM, "ENOMEM"}, {0, "OK"},
	};
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].number == (error < 0 ? -error : error))
			return names[i].name;
	return "E?";
}
