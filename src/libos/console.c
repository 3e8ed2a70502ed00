/* console.c - bytes to and from the console, through this depth's part of the batch frame. */
#include "console.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "batch.h"
#include "startup.h"
#include "sync.h"
#include "syscall.h"

#undef putchar

/* What one call prints stays together, among our threads. */
static struct lock console_lock;
void console_reset(void) { console_lock.holder = 0; }

/* n bytes at `area`, which is byte `offset` of the batch frame. False: refused. */
static bool put_batch(char *area, uint64_t offset, size_t n)
{
	while (n > 0) {
		int64_t r = sys_console_write(offset, n);
		if (r < 0)
			return false;
		if (r == 0)
			thread_yield(); /* the UART is slower than we */
		n -= (size_t)r;
		memmove(area, area + r, n); /* the rest, at an offset that is a multiple of 8 again */
	}
	return true;
}

void console_put(const char *s, size_t n)
{
	while (n > 0) {
		uint64_t offset, size;
		char *area = batch_area(&offset, &size);
		size_t part = n < size ? n : size;

		memcpy(area, s, part); /* this may fault: not under the lock */
		bool nested = lock_mine(&console_lock); /* a handler that prints for each single step */
		if (!nested)
			lock_take(&console_lock);
		bool taken = put_batch(area, offset, part);
		if (!nested)
			lock_give(&console_lock);
		if (!taken)
			return;
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
	if (strlen(s) < CONSOLE_LINE - 1) { /* in one piece: others print, too */
		printf("%s\n", s);
	} else {
		kputs(s);
		kputs("\n");
	}
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
