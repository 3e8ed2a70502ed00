/* step.c - see step.h. */
#define _GNU_SOURCE
#include "step.h"
#include <signal.h>
#include <stddef.h>
#include <ucontext.h>

#define TF 0x100

static void (*step)(void);
static volatile unsigned left;

static void trapped(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)info;
	if (left == 0 || --left > 0)
		return;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TF;
	step();
}

void step_begin(unsigned k, void (*what)(void))
{
	struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO};
	sigaction(SIGTRAP, &action, NULL);
	step = what;
	left = k;
	__asm__ volatile("pushfq; orq %0, (%%rsp); popfq" : : "i"(TF) : "memory", "cc");
}

bool step_end(void)
{
	unsigned at_end = left;
	left = 0;
	__asm__ volatile("pushfq; andq %0, (%%rsp); popfq" : : "i"(~TF) : "memory", "cc");
	return at_end == 0;
}
