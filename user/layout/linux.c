/*
 * linux.c - what a program under Linux finds on its stack, and work on its stack, heap and mappings. Built twice: as an
 * ET_EXEC, and as a static-pie (linux_pie).
 */
#include <elf.h>
#include <stdio.h>
#include <string.h>

#include "linux.h"
#include "work.h"

static int sample = 1;
static int *const moved = &sample; /* an address in the image's data: in a static-pie the loader puts the bias in */

/* ---- What exec has left on the stack ---- */

static uint64_t *skip(const uint64_t *words)
{
	while (*words)
		words++;
	return (uint64_t *)words + 1;
}
static char **arguments(void) { return (char **)(program_stack + 1); }
static char **environment(void) { return (char **)skip(program_stack + 1); }

/* The auxiliary vector's entry of that type; 0: none. */
static uint64_t auxiliary(uint64_t type)
{
	for (const Elf64_auxv_t *a = (Elf64_auxv_t *)skip((uint64_t *)environment()); a->a_type != AT_NULL; a++)
		if (a->a_type == type)
			return a->a_un.a_val;
	return 0;
}

static void show_stack(void)
{
	static const struct { uint64_t type; const char *name; } known[] = {
	    {AT_PHDR, "PHDR"}, {AT_PHNUM, "PHNUM"}, {AT_ENTRY, "ENTRY"}, {AT_BASE, "BASE"}, {AT_PAGESZ, "PAGESZ"}, {AT_RANDOM, "RANDOM"},
	    {AT_EXECFN, "EXECFN"}, {AT_SECURE, "SECURE"}};
	const uint64_t *random = (const uint64_t *)auxiliary(AT_RANDOM);
	char line[200];
	int n = 0;

	for (uint64_t i = 0; i < program_stack[0]; i++)
		printf("  argv[%lu] at %p: %s\n", i, (void *)arguments()[i], arguments()[i]);
	for (unsigned i = 0; environment()[i]; i++)
		printf("  envp[%u] at %p: %s\n", i, (void *)environment()[i], environment()[i]);
	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		n += snprintf(line + n, sizeof(line) - (size_t)n, " %s %#lx", known[i].name, auxiliary(known[i].type));
	printf("  auxv:%s\n", line);
	printf("  random bytes %016lx%016lx, drawn from seed=%#lx like all that follows\n", random[0], random[1], layout_here.seed);
}

/* ---- Work ---- */

/* Ackermann's function: little but recursion. */
static unsigned ackermann(unsigned m, unsigned n)
{
	return m == 0 ? n + 1 : n == 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann(m, n - 1));
}

static int by_text(const char *a, const char *b) { return strcmp(a, b) > 0; }

enum { WORDS = 200, SIEVE = 100000 };
static char *words[WORDS]; /* they stay: maps shows where */

/* Words on the heap, sorted. */
static bool sorted_words(void)
{
	bool good = true;

	for (unsigned i = 0; i < WORDS; i++) {
		if (!(words[i] = malloc(16)))
			return false;
		snprintf(words[i], 16, "%u", i * 7919 % 10007);
		for (unsigned j = i; j > 0 && by_text(words[j - 1], words[j]); j--) {
			char *w = words[j];
			words[j] = words[j - 1];
			words[j - 1] = w;
		}
	}
	for (unsigned i = 0; i < WORDS; i++) {
		good &= i == 0 || strcmp(words[i - 1], words[i]) <= 0;
		good &= (va_t)words[i] >= heap_start() && (va_t)words[i] < heap_end();
	}
	return good;
}

/* Primes below n, by a sieve in a mapping. */
static unsigned primes(char *sieve, unsigned n)
{
	unsigned found = 0;

	for (unsigned i = 2; i < n; i++) {
		if (sieve[i])
			continue;
		found++;
		for (unsigned j = 2 * i; j < n; j += i)
			sieve[j] = 1;
	}
	return found;
}

void layout_work(void)
{
	if (!quiet)
		show_stack();
	check(*moved == 1 && (const Elf64_Phdr *)auxiliary(AT_PHDR) && (va_t)moved - layout_here.bias < LINUX_PIE_BASE,
	      "the image is at %#lx, a pointer in its data leads to its data: %p", layout_named("[text]").lo, (void *)moved);
	int64_t first = mm_map(0, SIEVE, RIGHT_R | RIGHT_W, 0), second = mm_map(0, FH_PAGE, RIGHT_R | RIGHT_W, 0);
	check(!mm_failed(first) && second + (int64_t)FH_PAGE == first, "two mappings, the second below the first: %#lx, %#lx", first, second);
	check(primes((char *)first, SIEVE) == 9592, "9592 primes below 100000");
	bool sorted = sorted_words(); /* first: it makes the heap */
	check(sorted, "200 words sorted on the heap, [%#lx, %#lx)", heap_start(), heap_end());
	check(ackermann(2, 300) == 603, "the stack goes from %p down to %#lx; its limit is %#lx bytes", (void *)program_stack,
	      region_find(space_current(), (va_t)program_stack)->base, linux_stack_limit());
	check(commit.pages > 0 && commit_limit() > 0, "%ld pages are promised; with overcommit_memory=2 it could be %lu", commit.pages,
	      commit_limit());
}
