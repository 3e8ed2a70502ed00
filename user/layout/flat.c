/* flat.c - a program that rewrites its own code: in the flat layout nothing is in the way. */
#include "work.h"

/* mov eax, imm32; ret: in .text, and written to below. */
__asm__(".pushsection .text\nflat_answer: .byte 0xb8, 1, 0, 0, 0, 0xc3\n.popsection");
extern char flat_answer[];

static int ask(const void *code) { return ((int (*)(void))code)(); }

void layout_work(void)
{
	char on_stack[8], *on_heap = malloc(8);

	check(ask(flat_answer) == 1, "a function in .text at %p returns 1", (void *)flat_answer);
	flat_answer[1] = 42;
	check(ask(flat_answer) == 42, "one byte of it written, it returns 42");
	for (unsigned i = 0; i < 6; i++)
		on_stack[i] = on_heap[i] = flat_answer[i];
	on_stack[1] = 43;
	on_heap[1] = 44;
	check(ask(on_stack) == 43 && ask(on_heap) == 44, "copied to the stack and to the heap it runs there, too");
	check((va_t)on_stack < 1ul << 32 && (va_t)on_heap < 1ul << 32, "%p and %p fit 32 bits", (void *)on_stack, (void *)on_heap);
	free(on_heap);
}
