/*
 * syscall.h - the system calls as C functions. What each does, and each of its errors, is said in abi.h and
 * docs/abi.md; nothing is added here. Names are those of FH_SYSCALLS with sys_ before them.
 *
 * `syscall` keeps all registers but rax, rcx, r11 (and rdx where there is a second result).
 */
#pragma once

#include "abi.h"

struct sys_result {
	int64_t rax;  /* >= 0, or -errno */
	uint64_t rdx; /* the second result */
};

static inline struct sys_result sys_call4(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	struct sys_result r = {.rdx = c};
	register uint64_t r10 __asm__("r10") = d;
	__asm__ volatile("syscall"
	                 : "=a"(r.rax), "+d"(r.rdx)
	                 : "a"(number), "D"(a), "S"(b), "r"(r10)
	                 : "rcx", "r11", "memory");
	return r;
}

static inline struct sys_result sys_call3(uint64_t number, uint64_t a, uint64_t b, uint64_t c)
{
	struct sys_result r = {.rdx = c};
	__asm__ volatile("syscall" : "=a"(r.rax), "+d"(r.rdx) : "a"(number), "D"(a), "S"(b) : "rcx", "r11", "memory");
	return r;
}

/* Take the rest of the slice to `to`, ring it with `give`, sleep until a bit of `mask` or TSC `deadline`.
 * Returns the bits taken (0: the deadline passed, or a plain yield) or -errno. */
static inline int64_t sys_thread_switch(uint64_t to, uint64_t give, uint64_t mask, uint64_t deadline)
{
	return sys_call4(FH_SYS_thread_switch, to, give, mask, deadline).rax;
}

static inline int64_t sys_thread_ctl(uint64_t t, uint64_t op, uint64_t arg)
{
	return sys_call3(FH_SYS_thread_ctl, t, op, arg).rax;
}

/* Returns how many of the n frames were allocated (at least 1), or -errno. */
static inline int64_t sys_frame_alloc(uint64_t pfn, uint64_t n, uint64_t env, uint64_t flags)
{
	return sys_call4(FH_SYS_frame_alloc, pfn, n, env, flags).rax;
}

static inline int64_t sys_frame_free(uint64_t pfn, uint64_t n) { return sys_call3(FH_SYS_frame_free, pfn, n, 0).rax; }

static inline int64_t sys_frame_retype(uint64_t pfn, uint64_t type)
{
	return sys_call3(FH_SYS_frame_retype, pfn, type, 0).rax;
}

static inline int64_t sys_frame_grant(uint64_t pfn, uint64_t env) { return sys_call3(FH_SYS_frame_grant, pfn, env, 0).rax; }
/* These two return how many of the n frames (at least 1), or -errno. */
static inline int64_t sys_frame_take(uint64_t pfn, uint64_t n) { return sys_call3(FH_SYS_frame_take, pfn, n, 0).rax; }
static inline int64_t sys_frame_sync(uint64_t pfn, uint64_t n) { return sys_call3(FH_SYS_frame_sync, pfn, n, 0).rax; }

/* rax: FH_OP_DONE, FH_OP_KEPT or -errno; rdx: the old entry. */
static inline struct sys_result sys_pt_set(uint64_t what, uint64_t entry, uint64_t va)
{
	return sys_call3(FH_SYS_pt_set, what, entry, va);
}

/* rax: 0 or -errno of the operation refused; rdx: whole operations done. */
static inline struct sys_result sys_pt_update(uint64_t off, uint64_t n)
{
	return sys_call3(FH_SYS_pt_update, off, n, 0);
}

static inline int64_t sys_tlb_flush(uint64_t root, uint64_t mode, uint64_t va, uint64_t n)
{
	return sys_call4(FH_SYS_tlb_flush, root, mode, va, n).rax;
}

static inline int64_t sys_env_ctl(uint64_t env, uint64_t op, uint64_t arg, uint64_t arg2)
{
	return sys_call4(FH_SYS_env_ctl, env, op, arg, arg2).rax;
}

static inline int64_t sys_thread_write(uint64_t t, uint64_t off) { return sys_call3(FH_SYS_thread_write, t, off, 0).rax; }

static inline int64_t sys_cpu_slice(uint64_t cpu, uint64_t slot, uint64_t t)
{
	return sys_call3(FH_SYS_cpu_slice, cpu, slot, t).rax;
}

static inline int64_t sys_console_write(uint64_t off, uint64_t n)
{
	return sys_call3(FH_SYS_console_write, off, n, 0).rax;
}

static inline int64_t sys_console_read(uint64_t off, uint64_t n, uint64_t bits)
{
	return sys_call3(FH_SYS_console_read, off, n, bits).rax;
}

static inline int64_t sys_machine_halt(uint64_t code) { return sys_call3(FH_SYS_machine_halt, code, 0, 0).rax; }

/* Every call of the list has a function above: a call added to FH_SYSCALLS and not here does not compile. */
#define FH_X(number, name, nargs, args) _Static_assert(sizeof(&sys_##name) == 8, "stub of " #name);
FH_SYSCALLS(FH_X)
#undef FH_X
