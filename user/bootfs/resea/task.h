/* task.h - all that a task of the layout resea has: its command line, calls to the vm server, its end. None of the kit. */
#pragma once

#define RESEA_TASK
#include "resea.h"
#include "syscall.h"

#define CMDLINE ((const char *)RESEA_CMDLINE_VA)

_Noreturn void task(void); /* the program */

_Noreturn static inline void task_exit(unsigned status)
{
	for (;;)
		sys_thread_ctl(0, FH_THREAD_STOP, status);
}

static inline int64_t task_call(enum resea_call call, uint64_t a, uint64_t b, uint64_t c)
{
	volatile struct resea_message *m = (volatile struct resea_message *)RESEA_MESSAGE_VA;

	m->arg[0] = a, m->arg[1] = b, m->arg[2] = c;
	m->call = call;
	sys_thread_ctl(0, FH_THREAD_STOP, RESEA_CALL);
	return m->result;
}

/* The word (hexadecimal number) of the command line at *p; *p goes on behind it. */
static inline uint64_t task_number(const char **p)
{
	uint64_t n = 0;

	while (**p == ' ')
		(*p)++;
	for (; **p && **p != ' '; (*p)++)
		n = n << 4 | (unsigned)(**p <= '9' ? **p - '0' : (**p | 32) - 'a' + 10);
	return n;
}
