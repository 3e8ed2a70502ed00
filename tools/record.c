/*
 * record.c - a library to LD_PRELOAD: notes every malloc, calloc, realloc, free of a program on Linux in $MALLOC_LOG, one
 * line each, for tools/traces.py:
 *
 *   a ADDRESS BYTES       f ADDRESS       r OLD NEW BYTES
 *
 * Threads' calls are in the order in which they took the lock. memalign and its family are noted as malloc.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
void __libc_free(void *);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char text[1 << 16];
static size_t used;
static int fd = -2; /* not opened yet; -1: nothing to be noted */

static void flush(void)
{
	for (size_t at = 0; at < used;) {
		ssize_t n = write(fd, text + at, used - at);
		if (n < 0 && errno != EINTR)
			_exit(125);
		at += n > 0 ? (size_t)n : 0;
	}
	used = 0;
}

__attribute__((destructor)) static void end(void)
{
	pthread_mutex_lock(&lock);
	flush();
	pthread_mutex_unlock(&lock);
}

/* A forked child's calls are not the program's. */
static void forked(void) { used = 0, fd = -1; }

static void hex(size_t v, char after)
{
	char digit[16];
	int n = 0;

	do
		digit[n++] = "0123456789abcdef"[v & 15];
	while (v >>= 4);
	while (n)
		text[used++] = digit[--n];
	text[used++] = after;
}

/* No printf in here: it may call malloc. */
static void note(char op, size_t a, size_t b, size_t c, int words)
{
	pthread_mutex_lock(&lock);
	if (fd == -2) {
		const char *path = getenv("MALLOC_LOG");
		fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666) : -1;
		pthread_mutex_unlock(&lock);
		pthread_atfork(NULL, NULL, forked);
		pthread_mutex_lock(&lock);
	}
	if (fd >= 0) {
		text[used++] = op;
		text[used++] = ' ';
		hex(a, words > 1 ? ' ' : '\n');
		if (words > 1)
			hex(b, words > 2 ? ' ' : '\n');
		if (words > 2)
			hex(c, '\n');
		if (used > sizeof(text) - 64)
			flush();
	}
	pthread_mutex_unlock(&lock);
}

void *malloc(size_t n)
{
	void *p = __libc_malloc(n);
	if (p)
		note('a', (size_t)p, n, 0, 2);
	return p;
}

void *calloc(size_t n, size_t size)
{
	void *p = __libc_calloc(n, size);
	if (p)
		note('a', (size_t)p, n * size, 0, 2);
	return p;
}

void *memalign(size_t align, size_t n)
{
	void *p = __libc_memalign(align, n);
	if (p)
		note('a', (size_t)p, n, 0, 2);
	return p;
}

void *aligned_alloc(size_t align, size_t n) { return memalign(align, n); }

int posix_memalign(void **p, size_t align, size_t n)
{
	void *q = memalign(align, n);
	if (!q)
		return ENOMEM;
	*p = q;
	return 0;
}

/* A block is noted as gone before another thread can be given its address. */
void free(void *p)
{
	if (p)
		note('f', (size_t)p, 0, 0, 1);
	__libc_free(p);
}

void *realloc(void *p, size_t n)
{
	void *q = __libc_realloc(p, n);
	if (q)
		note('r', (size_t)p, (size_t)q, n, 3);
	else if (p && n == 0)
		note('f', (size_t)p, 0, 0, 1);
	return q;
}
