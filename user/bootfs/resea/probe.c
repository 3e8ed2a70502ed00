/*
 * probe.c - a task that does what its command line says, word by word, and exits with the last value's low 7 bits:
 *   r ADDR  read a byte    w ADDR N  write one    j ADDR  jump there    s ADDR  sum the page's bytes there
 *   a N  allocate          f ADDR  free           ! wait for mail, at ADDR, room N     > TASK ADDR N  send mail
 *   c N  create shared memory                     m ID  map it          x ID  close it  + N  write N at what was mapped, + 0x1000 * i
 *   v TASK  vm_map in that task                   p TASK ADDR  say that it has faulted  = N  wrong unless that is the value
 */
#include "task.h"

__asm__(".globl _start\n_start: call task\n ud2");

static volatile char data[64] = "initialized data"; /* .data */
static volatile char zeroed[2 * FH_PAGE];           /* .bss */

static int64_t wait_for_mail(uint64_t at, uint64_t room)
{
	int64_t r;

	while ((r = task_call(RESEA_RECEIVE, at, room, 0)) == -FH_EAGAIN)
		sys_thread_switch(0, 0, 0, 0);
	return r;
}

static uint64_t sum(const volatile unsigned char *p)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < FH_PAGE; i++)
		n += p[i];
	return n;
}

_Noreturn void task(void)
{
	const char *p = CMDLINE;
	uint64_t value = 0, a, b;

	data[63] = zeroed[0];
	for (;;) {
		while (*p == ' ')
			p++;
		char what = *p;
		if (!what)
			task_exit((unsigned)value & 127);
		p++;
		switch (what) {
		case 'r': value = *(volatile unsigned char *)task_number(&p); break;
		case 'w': a = task_number(&p), *(volatile unsigned char *)a = (unsigned char)task_number(&p); break;
		case 'j': ((void (*)(void))task_number(&p))(); break;
		case 's': value = sum((const volatile unsigned char *)task_number(&p)); break;
		case 'a': value = (uint64_t)task_call(RESEA_ALLOC, task_number(&p), 0, 0); break;
		case 'f': value = (uint64_t)task_call(RESEA_FREE, task_number(&p), 0, 0); break;
		case '!': a = task_number(&p), value = (uint64_t)wait_for_mail(a, task_number(&p)); break;
		case '>': a = task_number(&p), b = task_number(&p), value = (uint64_t)task_call(RESEA_SEND, a, b, task_number(&p)); break;
		case 'c': value = (uint64_t)task_call(RESEA_SHM_CREATE, task_number(&p), 0, 0); break;
		case 'm': value = (uint64_t)task_call(RESEA_SHM_MAP, task_number(&p), 0, 0); break;
		case 'x': value = (uint64_t)task_call(RESEA_SHM_CLOSE, task_number(&p), 0, 0); break;
		case 'v': value = (uint64_t)task_call(RESEA_MAP, task_number(&p), RESEA_DYNAMIC, 0); break;
		case 'p': a = task_number(&p), value = (uint64_t)task_call(RESEA_FAULT, a, task_number(&p), 0); break;
		case '=':
			if (value != task_number(&p))
				task_exit(128 + (unsigned)(p - CMDLINE) % 127); /* the column */
			break;
		default: task_exit(255);
		}
	}
}
