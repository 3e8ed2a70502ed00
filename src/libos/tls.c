/*
 * tls.c - what a thread's FS base points to: System V ABI, TLS variant II (Drepper, "ELF Handling For Thread-Local Storage").
 *
 *   | padding | a copy of .tdata | zeroes for .tbss | TCB |
 *                                                   ^ FS base, aligned as the program's PT_TLS segment wants; its first
 *                                                     word points to itself; musl's errno and canary lie in the rest
 *
 * The linker has made every `__thread` variable an offset from there. In the kit's own memory: touching it never faults, so
 * that handlers may; and a fork's child has a copy at the same address.
 */
#include <string.h>

#include "meta.h"
#include "thread.h"

#define TCB_BYTES 512ul
#define META_ALIGN 64ul

extern const char __tls_start[], __tls_file_end[], __tls_end[], __tls_align_end[]; /* user.ld */

static size_t align(void)
{
	size_t n = (size_t)(__tls_align_end - __tls_start); /* not a symbol that is the number: no instruction reaches that */
	return n > META_ALIGN ? n : META_ALIGN;
}
/* Bytes before the TCB. */
static size_t before(void) { return ((size_t)(__tls_end - __tls_start) + align() - 1) & ~(align() - 1); }
static size_t whole(void) { return before() + TCB_BYTES + (align() - META_ALIGN) + META_ALIGN; }

uint64_t *tls_new(void)
{
	char *block = meta_alloc(whole());

	if (!block)
		return NULL;
	uintptr_t first = ((uintptr_t)block + META_ALIGN + align() - 1) & ~(align() - 1);
	uint64_t *tcb = (uint64_t *)(first + before());
	((char **)first)[-1] = block; /* for tls_free */
	memcpy((char *)first, __tls_start, (size_t)(__tls_file_end - __tls_start));
	tcb[0] = (uint64_t)tcb;
	return tcb;
}

void tls_free(uint64_t *tcb)
{
	if (tcb)
		meta_free(((char **)((uintptr_t)tcb - before()))[-1], whole());
}
