/* host.c - checks.c on Linux. */
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>

#include "checks.h"
#include "heap.h"
#include "host.h"

static unsigned run, failed;

static bool line(bool passed, const char *sentence, va_list args)
{
	printf("%sok %u - ", passed ? "" : "not ", ++run);
	vprintf(sentence, args);
	putchar('\n');
	failed += !passed;
	return passed;
}

bool ok(bool passed, const char *sentence, ...)
{
	va_list args;

	va_start(args, sentence);
	line(passed, sentence, args);
	va_end(args);
	return passed;
}

bool is(int64_t got, int64_t want, const char *sentence, ...)
{
	va_list args;

	va_start(args, sentence);
	if (!line(got == want, sentence, args))
		printf("#   got %ld, wanted %ld\n", got, want);
	va_end(args);
	return got == want;
}

void count_bad(struct tally *t, const char *format, ...)
{
	va_list args;

	if (t->bad++ >= 8)
		return;
	va_start(args, format);
	printf("#   ");
	vprintf(format, args);
	putchar('\n');
	va_end(args);
}

bool none_bad(const struct tally *t, const char *sentence, ...)
{
	va_list args;

	va_start(args, sentence);
	if (!line(t->bad == 0, sentence, args))
		printf("#   %u times wrong\n", t->bad);
	va_end(args);
	return t->bad == 0;
}

size_t memory_held(void) { return host_held(); }
void let_others(void) { sched_yield(); }

struct job {
	void (*f)(unsigned);
	unsigned i;
};

static void *thread(void *arg)
{
	struct job *j = arg;
	j->f(j->i);
	return NULL;
}

bool run_threads(unsigned n, void (*f)(unsigned i))
{
	pthread_t t[16];
	struct job jobs[16];
	unsigned made = 0;

	for (; made < n && made < 16; made++) {
		jobs[made] = (struct job){f, made};
		if (pthread_create(&t[made], NULL, thread, &jobs[made]))
			break;
	}
	for (unsigned i = 0; i < made; i++)
		pthread_join(t[i], NULL);
	return made == n;
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	host_begin();
	printf("# %s\n", malloc_default->name);
	check_allocator();
	size_t before = host_held();
	host_limit(3 * 1024 * 1024);
	unsigned bad = check_exhaustion();
	host_limit(0);
	for (unsigned i = 0; i < EXHAUSTION_TEXTS; i++)
		ok(!(bad >> i & 1), "%s", exhaustion_text[i]);
	if (malloc_default->trim)
		is((int64_t)(host_held() - before), 0, "and all memory goes back: bytes kept");
	printf("1..%u\n", run);
	return failed != 0;
}
