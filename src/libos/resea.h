/*
 * resea.h - the rules that only the layout resea has: a vm server (this program) that is parent and external pager of its
 * tasks, programs without handlers of their own. It loads them from the bootfs, answers their page faults, gives them
 * addresses and shared memory, carries their messages, and kills those that touch what isn't theirs. Functions return 0 or
 * -errno unless said otherwise.
 *
 * For a call a task writes a struct resea_message and stops with status RESEA_CALL; the server answers in the same place
 * and starts it again. The message lies in a window of the server's, linked into the task's tree.
 */
#pragma once

#include "abi.h"
#include "plan.h"

#define RESEA_CMDLINE_VA 0x2fff000ul
#define RESEA_DYNAMIC 0x10000000ul
#define RESEA_DYNAMIC_END 0xa0000000000ul /* 10 TiB */
#define RESEA_MESSAGE_VA RESEA_DYNAMIC_END
#define RESEA_CALL 0x1000u                /* status of a thread that has stopped for a call; below 256: its exit status */

enum resea_call {
	RESEA_ALLOC = 1,  /* bytes -> address of zeroed memory */
	RESEA_FREE,       /* address, as given by ALLOC or SHM_MAP: 0, -EINVAL */
	RESEA_SHM_CREATE, /* bytes -> id; -ENOMEM */
	RESEA_SHM_MAP,    /* id -> address; -ENOENT: no such id */
	RESEA_SHM_CLOSE,  /* id: 0, -ENOENT. Those who have it mapped keep it */
	RESEA_SEND,       /* task, address, bytes: a copy to that task: 0, -ESRCH, -EBUSY (it has one), -EFAULT, -E2BIG */
	RESEA_RECEIVE,    /* address, room -> bytes; -EAGAIN: nothing there; -EFAULT */
	RESEA_MAP,        /* task, address, page: -EPERM: a task is nobody's pager */
	RESEA_FAULT,      /* "that task has faulted at address": -EPERM, whoever says so */
};
struct resea_message {
	uint64_t call, arg[4];
	int64_t result;
};

/* ---- The vm server. Not for tasks: they have none of the kit. ---- */
#ifndef RESEA_TASK
#include "env.h"
#include "image.h"
#include "share.h"

#define RESEA_TASKS 8u
#define RESEA_RANGES 32u    /* addresses that one task has from ALLOC and SHM_MAP */
#define RESEA_PAYLOAD 8192u /* bytes of a message's copy, at most */

enum resea_state { RESEA_NONE, RESEA_RUNNING, RESEA_EXITED, RESEA_KILLED };

struct resea_task {
	enum resea_state state;
	char name[32], cmdline[256];
	struct env *env;
	struct image image;
	va_t next;                  /* where its next range begins: freed ones don't come back */
	struct resea_range {
		va_t lo, hi;
		unsigned shm;           /* 0: zeroed memory */
	} range[RESEA_RANGES];
	struct window window;
	struct resea_message *message;
	struct resea_mail {
		bool full;
		size_t bytes;
		char text[RESEA_PAYLOAD];
	} *mail;                    /* what it has been sent */
	int status;                 /* of an EXITED one */
	const char *why;            /* of a KILLED one: the reason, the address it touched, its instruction */
	va_t address, rip;
	uint64_t faults, forged;    /* page faults answered; messages that claimed to be some */
	uint64_t freed;             /* frames that came back when it was reaped */
};
extern struct resea_task resea_task[RESEA_TASKS];

/* Start a task from an ELF file, which must stay: its index; -ENOEXEC (the report says why), -EAGAIN: no room, -ENOMEM. */
int resea_start(const char *name, const void *elf, size_t bytes, const char *cmdline);
/* Answer faults and calls until task i has exited or been killed (-1: until all have): then it is reaped. */
void resea_serve(int i);
/* Kill a task that runs, and take all its frames back. */
int resea_kill(unsigned i, const char *why);

/*
 * The original's vm_map: the page with frame pfn to va in a task, one page table at a time. Where a table is missing, *page
 * (a DATA frame of the task's, nothing refers to it) becomes that table, *page is 0 then, and the answer is -EAGAIN: come
 * again with another page. -EINVAL: va or rights unaligned or odd; -EFAULT: upper half; -EPERM: `caller` (-1: the server)
 * isn't its pager; -EEXIST: mapped already.
 */
int resea_vm_map(int caller, unsigned task, va_t va, pfn_t pfn, pfn_t *page, unsigned rights);

/* The server's straight mapping, virtual = physical, for each frame it holds at or above 0x10000000, mapped at the first touch.
 * As the original has it: readable, writable, executable; with `wx` not executable. Frames mapped already stay as they are. */
void resea_straight(bool wx);
#endif
