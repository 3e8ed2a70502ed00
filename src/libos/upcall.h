/*
 * upcall.h - exceptions and doorbells arrive in user mode.
 *
 * The kernel stores the interrupted context into the upcall frame and enters upcall_entry (upcall.asm) on a stack of
 * its own; the handler returns with plain instructions. A handler may fault itself: UPCALL_DEPTH contexts nest.
 *
 * Handlers are ordinary C functions. Their FPU and SSE registers are saved and restored for them; the kit's own page
 * fault path uses general registers only and skips that.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "abi.h"
#include "machine.h"
#include "region.h" /* enum answer */

#define UPCALL_DEPTH 4u
#define UPCALL_STRIDE (2 * FH_PAGE) /* handler stack of each depth */

typedef enum answer upcall_handler(struct fh_context *);
/*
 * Call `handler` for exceptions `vector` (0-31) or FH_VEC_SYSCALL; NULL: the default, a report on the console and exit
 * with status 128 + vector. For vector 14 the handler comes before the regions and answers FAULT_NEXT to pass.
 * It may change the context: where and with what registers to go on. Returns 0 or -EINVAL. Doorbells: on_bell.
 */
int on_upcall(unsigned vector, upcall_handler *handler);

/* Call `handler(bits)` in an upcall when one of `bits` rings; NULL: they wait again until thread_switch takes them.
 * Only for the running thread's mask; the handler is the same for all threads. Returns 0. */
int on_bell(uint64_t bits, void (*handler)(uint64_t bits));

/* How deep the running thread is in handlers: 0 outside. */
static inline unsigned upcall_depth(void) { return (unsigned)upcall_word(UPCALL_OFFSET(depth)); }

/* Hold doorbell upcalls back: one store. Returns the old mask for upcalls_restore, which delivers what has waited. */
static inline uint64_t upcalls_mask(void)
{
	uint64_t old = upcall_word(UPCALL_OFFSET(mask));
	upcall_word_set(UPCALL_OFFSET(mask), ~0ul);
	return old;
}
void upcalls_poll(void); /* let in what has waited and is not masked */
static inline void upcalls_restore(uint64_t old)
{
	upcall_word_set(UPCALL_OFFSET(mask), old);
	if (__builtin_expect((upcall_word(UPCALL_OFFSET(pending)) & ~old) != 0, 0))
		upcalls_poll();
}

/* Print vector, address, rip and registers of a context. */
void upcall_report(const struct fh_regs *, uint64_t address, const char *what);
/* The command that names the source line of an instruction of this program, into buffer; returns buffer. The program's file is
 * the module with its name. */
const char *upcall_where(uint64_t rip, char *buffer, size_t n);
const char *upcall_vector_name(unsigned vector);

/* Prepare an upcall frame (mapped at `frame` here, at self_va in the thread that will use it). */
struct thread;
void upcall_prepare(struct fh_upcall *frame, va_t self_va, va_t stack_top);
