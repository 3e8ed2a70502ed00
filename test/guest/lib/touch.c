/* touch.c - see touch.h. One thread at a time. */
#include "touch.h"

static volatile uint64_t landing; /* where a refused touch goes on; 0: a fault is the test's own end */
static volatile unsigned refused;
volatile struct touch_refusal touch_last;

static enum answer on_fault(struct fh_context *c)
{
	if (fault_page(c))
		return FAULT_DONE;
	if (!landing)
		return FAULT_NEXT;
	refused++;
	touch_last.address = c->address;
	touch_last.error = c->regs.error;
	if (c->regs.error & FAULT_FETCH)
		c->regs.rsp += sizeof(uint64_t); /* the return address */
	c->regs.rip = landing;
	return FAULT_DONE;
}

void touch_begin(void) { on_upcall(14, on_fault); }
void touch_end(void) { on_upcall(14, NULL); }

/* The stack pointer keeps clear of the red zone: one of the instructions is a call. */
#define TOUCH(instruction)                                                                                             \
	refused = 0;                                                                                                       \
	__asm__ volatile("leaq 1f(%%rip), %%rax\n movq %%rax, %0\n subq $128, %%rsp\n" instruction "\n1: addq $128, %%rsp"   \
	                 : "=m"(landing)                                                                                   \
	                 : "D"(p)                                                                                          \
	                 : "rax", "memory", "cc");                                                                         \
	landing = 0;                                                                                                       \
	return !refused

bool reads(const volatile void *p) { TOUCH("testb $0, (%%rdi)"); }
bool writes(volatile void *p) { TOUCH("lock orb $0, (%%rdi)"); }
bool runs(const volatile void *p) { TOUCH("call *%%rdi"); }

unsigned rights_at(volatile char *p)
{
	unsigned rights = (reads(p) ? RIGHT_R : 0) | (writes(p) ? RIGHT_W : 0);

	return rights | (rights & RIGHT_R && *p == TOUCH_RET && runs(p) ? RIGHT_X : 0);
}
