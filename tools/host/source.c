/*
 * source.c - source.h, sync.h and the heap's lock on Linux, so that an allocator can be debugged with what Linux has: ASan,
 * UBSan, valgrind, gdb. Frames are pages of one memory file; a mapping is a page of it at an address. So pages can be moved
 * and seen twice, as in the machine. What is not committed is not accessible; what lies between the end of the heap and the
 * end of its page is poisoned for the sanitizer.
 */
#define _GNU_SOURCE
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "heap.h"
#include "host.h"
#include "sync.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
const char *__asan_default_options(void);
/* Leaks of the C library's malloc are not the question, and looking for them in these mappings takes a minute. */
const char *__asan_default_options(void) { return "detect_leaks=0"; }
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

#define FILE_PAGES (1u << 22)       /* 16 GiB, sparse */
#define LEAF_PAGES (1ul << 18)      /* pages of one leaf of the map */
#define BRK_BYTES (8ul << 30)

static int file;
static uint8_t refs[FILE_PAGES];    /* views of each page of the file */
static uint32_t next_page = 1;
static uint32_t *leaves[1ul << 17]; /* by address: page of the file, with HELD; 0: none */
#define HELD (1u << 31)
static size_t committed, limit;
static char *brk_start, *brk_end;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER, heap_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction before;

/* The map's word for an address. NULL: never used, or no memory for the map. */
static uint32_t *word_of(uintptr_t va, bool make)
{
	uintptr_t page = va / SOURCE_PAGE;
	uint32_t **leaf = &leaves[page / LEAF_PAGES % (1ul << 17)];

	if (!*leaf && make) {
		void *p = mmap(NULL, LEAF_PAGES * sizeof(uint32_t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		*leaf = p == MAP_FAILED ? NULL : p;
	}
	return *leaf ? *leaf + page % LEAF_PAGES : NULL;
}

static void close_off(void *p, size_t n)
{
	if (n && mmap(p, n, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		source_fatal("mmap: %s", strerror(errno));
}

/* Map n pages of the file, from `page` on. */
static bool show(void *p, uint32_t page, size_t n)
{
	return mmap(p, n * SOURCE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, (off_t)(page * SOURCE_PAGE)) != MAP_FAILED;
}

/* n pages of the file in a row that nobody uses; 0: none. */
static uint32_t free_pages(size_t n)
{
	for (unsigned round = 0; round < 2; round++, next_page = 1) {
		for (size_t run = 0; next_page < FILE_PAGES; next_page++) {
			run = refs[next_page] ? 0 : run + 1;
			if (run == n)
				return ++next_page - (uint32_t)n;
		}
	}
	return 0;
}

static void unref(uint32_t page)
{
	if (--refs[page] == 0)
		fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(page * SOURCE_PAGE), SOURCE_PAGE);
}

static int commit_locked(char *p, size_t n)
{
	if (!n)
		return 0;
	if (limit && committed + n > limit)
		return -ENOMEM;
	uint32_t page = free_pages(n / SOURCE_PAGE);
	if (!page || !show(p, page, n / SOURCE_PAGE))
		return -ENOMEM;
	for (size_t i = 0; i < n; i += SOURCE_PAGE) {
		uint32_t *word = word_of((uintptr_t)p + i, true);
		if (!word)
			source_fatal("no memory for the map");
		if (*word)
			source_fatal("source_commit: there is a page at %p already", (void *)(p + i));
		*word = page;
		refs[page++] = 1;
	}
	committed += n;
	return 0;
}

static void discard_locked(char *p, size_t n)
{
	for (size_t i = 0; i < n; i += SOURCE_PAGE) {
		uint32_t *word = word_of((uintptr_t)p + i, false);
		if (!word) { /* nothing was ever here, as far as the leaf goes */
			i += (LEAF_PAGES - 1 - (uintptr_t)(p + i) / SOURCE_PAGE % LEAF_PAGES) * SOURCE_PAGE;
			continue;
		}
		if (!*word)
			continue;
		ASAN_UNPOISON_MEMORY_REGION(p + i, SOURCE_PAGE);
		unref(*word & ~HELD);
		*word = 0;
		committed -= SOURCE_PAGE;
	}
	close_off(p, n);
}

static void must_be_pages(const char *what, const void *p, size_t n)
{
	if (((uintptr_t)p | n) % SOURCE_PAGE)
		source_fatal("%s(%p, %zu): not whole pages", what, p, n);
}

int source_commit(void *p, size_t n)
{
	must_be_pages("source_commit", p, n);
	pthread_mutex_lock(&lock);
	int r = commit_locked(p, n);
	pthread_mutex_unlock(&lock);
	return r;
}

int source_discard(void *p, size_t n)
{
	must_be_pages("source_discard", p, n);
	pthread_mutex_lock(&lock);
	discard_locked(p, n);
	pthread_mutex_unlock(&lock);
	return 0;
}

void *source_reserve(size_t n, size_t align)
{
	if (!n || n > 1ul << 46 || align < SOURCE_PAGE || align & (align - 1) || align > 1ul << 46)
		return NULL;
	n = (n + SOURCE_PAGE - 1) & ~(SOURCE_PAGE - 1);
	char *p = mmap(NULL, n + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	char *q = (char *)(((uintptr_t)p + align - 1) & ~(align - 1));
	if (q > p)
		munmap(p, (size_t)(q - p));
	munmap(q + n, (size_t)(p + align - q));
	return q;
}

void *source_map(size_t n, size_t align)
{
	n = (n + SOURCE_PAGE - 1) & ~(SOURCE_PAGE - 1);
	void *p = source_reserve(n, align);

	if (p && source_commit(p, n) < 0) {
		munmap(p, n);
		return NULL;
	}
	return p;
}

int source_unmap(void *p, size_t n)
{
	n = (n + SOURCE_PAGE - 1) & ~(SOURCE_PAGE - 1);
	must_be_pages("source_unmap", p, n);
	pthread_mutex_lock(&lock);
	discard_locked(p, n);
	munmap(p, n);
	pthread_mutex_unlock(&lock);
	return 0;
}

static char *page_end(char *p) { return (char *)(((uintptr_t)p + SOURCE_PAGE - 1) & ~(SOURCE_PAGE - 1)); }

void *source_grow(intptr_t n)
{
	pthread_mutex_lock(&lock);
	if (!brk_start)
		brk_start = brk_end = source_reserve(BRK_BYTES, SOURCE_PAGE);
	char *old = brk_end;
	bool fits = brk_start && (n < 0 ? n >= brk_start - old : n <= (intptr_t)BRK_BYTES - (old - brk_start));
	char *new = fits ? old + n : old, *have = page_end(old), *want = page_end(new);
	if (fits && want > have)
		fits = commit_locked(have, (size_t)(want - have)) == 0;
	if (fits && want < have)
		discard_locked(want, (size_t)(have - want));
	if (fits) {
		brk_end = new;
		ASAN_UNPOISON_MEMORY_REGION(brk_start, (size_t)(new - brk_start));
		if (want > new)
			ASAN_POISON_MEMORY_REGION(new, (size_t)(want - new));
	}
	pthread_mutex_unlock(&lock);
	return fits ? old : NULL;
}

int source_move(void *to, void *from, size_t n)
{
	must_be_pages("source_move", to, n);
	pthread_mutex_lock(&lock);
	int r = 0;
	for (size_t i = 0; i < n && r == 0; i += SOURCE_PAGE) {
		uint32_t *word = word_of((uintptr_t)to + i, true);
		r = !word ? -ENOMEM : *word ? -EEXIST : 0;
	}
	for (size_t i = 0; i < n && r == 0; i += SOURCE_PAGE) {
		uint32_t *old = word_of((uintptr_t)from + i, false), *new = word_of((uintptr_t)to + i, true);
		if (old && *old) {
			if (!show((char *)to + i, *old, 1))
				source_fatal("mmap: %s", strerror(errno));
			*new = *old;
			*old = 0;
		}
	}
	if (r == 0)
		close_off(from, n);
	pthread_mutex_unlock(&lock);
	return r;
}

int source_alias(void *page, void *of)
{
	pthread_mutex_lock(&lock);
	uint32_t *a = word_of((uintptr_t)page, false), *b = word_of((uintptr_t)of, false);
	int r = a && b && *a && *b ? 0 : -EINVAL;
	if (r == 0 && (*a & ~HELD) != (*b & ~HELD)) {
		if (refs[*b & ~HELD] == 255 || !show(page, *b & ~HELD, 1)) {
			r = -ENOMEM;
		} else {
			unref(*a & ~HELD);
			*a = *b & ~HELD;
			refs[*a]++;
		}
	}
	pthread_mutex_unlock(&lock);
	return r;
}

int source_hold(void *page, bool hold)
{
	pthread_mutex_lock(&lock);
	uint32_t *word = word_of((uintptr_t)page, false);
	int r = word && *word ? mprotect(page, SOURCE_PAGE, hold ? PROT_READ : PROT_READ | PROT_WRITE) : -1;
	if (r == 0)
		*word = hold ? *word | HELD : *word & ~HELD;
	pthread_mutex_unlock(&lock);
	return r < 0 ? -EINVAL : 0;
}

unsigned source_cpus(void) { return (unsigned)sysconf(_SC_NPROCESSORS_CONF); }
unsigned source_cpu(void)
{
	int cpu = sched_getcpu();
	return cpu < 0 ? 0 : (unsigned)cpu % source_cpus();
}

_Noreturn void source_fatal(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}

/* ---- sync.h ---- */

void mutex_lock(struct mutex *m)
{
	while (!mutex_try(m))
		sched_yield();
}

int mutex_try(struct mutex *m)
{
	uint64_t none = 0;
	return __atomic_compare_exchange_n(&m->word, &none, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

void mutex_unlock(struct mutex *m) { __atomic_store_n(&m->word, 0, __ATOMIC_RELEASE); }

/* ---- heap.h ---- */

uint64_t heap_enter(const struct allocator *a)
{
	if (!a->threads)
		pthread_mutex_lock(&heap_lock);
	return 0;
}

void heap_leave(const struct allocator *a, uint64_t token)
{
	(void)token;
	if (!a->threads)
		pthread_mutex_unlock(&heap_lock);
}

/* ---- Faults ---- */

/* A write to a held page waits. Anything else is explained, and then as it would have been: the sanitizer's report. */
static void on_fault(int number, siginfo_t *info, void *context)
{
	uint32_t *word = word_of((uintptr_t)info->si_addr, false);
	char text[256];

	(void)number;
	(void)context;
	if (word && *word) { /* held; or it was, a moment ago */
		static __thread unsigned tries;
		sched_yield();
		if (__atomic_load_n(word, __ATOMIC_RELAXED) & HELD || tries++ < 1000)
			return;
	}
	if (malloc_explain(info->si_addr, text, sizeof(text)))
		fprintf(stderr, "address %p: %s\n", info->si_addr, text);
	sigaction(SIGSEGV, &before, NULL); /* and again */
}

void host_begin(void)
{
	struct sigaction a = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};

	file = memfd_create("freehold", 0);
	if (file < 0 || ftruncate(file, (off_t)(FILE_PAGES * SOURCE_PAGE)) < 0)
		source_fatal("memfd: %s", strerror(errno));
	sigaction(SIGSEGV, &a, &before);
}

void host_limit(size_t bytes) { limit = bytes ? committed + bytes : 0; }
size_t host_held(void) { return committed; }
