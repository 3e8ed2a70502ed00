/* tap.c - see tap.h. */
#include "tap.h"

#include <stdio.h>
#include <string.h>

#include "raw.h"

static struct tap_lines own, *count = &own;
static const char *prefix = "";
static uint64_t owned_before;

void tap_for(struct tap_lines *c, const char *p)
{
	count = c;
	prefix = p;
}

static bool line(bool passed, const char *sentence, va_list args)
{
	char text[256];

	vsnprintf(text, sizeof(text), sentence, args);
	printf("%sok %u - %s%s\n", passed ? "" : "not ", ++count->run, prefix, text);
	count->failed += !passed;
	return passed;
}

void tap_continue(unsigned n) { count->run = n; }
unsigned tap_count(void) { return count->run; }

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
		printf("#   got %ld (%#lx), wanted %ld (%#lx)\n", got, got, want, want);
	va_end(args);
	return got == want;
}

static const char *result_name(int64_t r, char *buffer, size_t n)
{
	if (r < 0 && r > -4096)
		snprintf(buffer, n, "-%s", error_name((int)r));
	else
		snprintf(buffer, n, "%ld", r);
	return buffer;
}

bool returns(int64_t got, int64_t want, const char *sentence, ...)
{
	char a[32], b[32];
	va_list args;

	va_start(args, sentence);
	if (!line(got == want, sentence, args))
		printf("#   got %s, wanted %s\n", result_name(got, a, sizeof(a)), result_name(want, b, sizeof(b)));
	va_end(args);
	return got == want;
}

void skip(const char *why, const char *sentence, ...)
{
	char text[256];
	va_list args;

	va_start(args, sentence);
	vsnprintf(text, sizeof(text), sentence, args);
	va_end(args);
	printf("ok %u - %s%s # SKIP %s\n", ++count->run, prefix, text, why);
}

void note(const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	printf("# %s\n", text);
}

#define SHOWN 8u

void count_bad(struct tally *t, const char *format, ...)
{
	char text[256];
	va_list args;

	if (t->bad++ >= SHOWN)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	printf("#   %s\n", text);
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

uint64_t frames_owned(void) { return (uint64_t)frame_owned(0); }

static uint64_t splitmix64(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

uint64_t random64(void)
{
	static uint64_t x = 0x5eed;

	return splitmix64(&x);
}

uint64_t random_below(uint64_t *state, uint64_t n) { return splitmix64(state) % n; }

uint64_t random_begin(uint64_t seed, uint64_t number, uint64_t step)
{
	uint64_t s = splitmix64(&seed) + number;

	s = splitmix64(&s) + step;
	return splitmix64(&s);
}

uint64_t option(const char *key, uint64_t otherwise)
{
	char text[32];
	uint64_t n = 0;

	if (!boot_option(key, text, sizeof(text)))
		return otherwise;
	for (const char *p = text; *p >= '0' && *p <= '9'; p++)
		n = n * 10 + (uint64_t)(*p - '0');
	return n;
}

pfn_t frame_at(const volatile void *p)
{
	pte_t e = space_get(space_current(), page_down((va_t)p));
	return e & FH_P ? fh_pte_pfn(e) : 0;
}

uint64_t kit_pages(void) { return (meta_end() - META_VA) / FH_PAGE; }

void trim_tables(void)
{
	space_trim(space_current(), layout_heap.lo, layout_heap.hi);
	space_trim(space_current(), layout_mmap.lo, layout_stack.lo);
}

void tap_begin(void)
{
	struct raw r;

	/* What is made once and kept: stack, tables of the scratch area. */
	cpu_touch_stack(16 * FH_PAGE);
	if (raw_new(&r, 64) < 0 || raw_end(&r) < 0 || raw_here(&r) < 0 || raw_end(&r) < 0)
		panic("no raw threads");
	tap_forget();
}

void tap_forget(void)
{
	malloc_trim();
	trim_tables();
	owned_before = frames_owned() - kit_pages();
}

int tap_plan(void)
{
	printf("1..%u\n", count->run);
	if (count->failed)
		printf("# %u of %u failed\n", count->failed, count->run);
	return count->failed != 0;
}

int tap_end(void)
{
	malloc_trim();
	trim_tables();
	is((int64_t)(frames_owned() - kit_pages()), (int64_t)owned_before,
	   "this env owns as many frames as at the start (HOSTILE 28)");
	if (info->debug)
		is(sys_env_ctl(0, FH_ENV_AUDIT, 0, 0), 0, "the audit recomputes every invariant and finds none broken");
	return tap_plan();
}
