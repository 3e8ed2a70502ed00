/*
 * course_os.h - the rules that only the layout course_os has (layout/course_os.c): a kernel in the upper half of 4 GiB that
 * sees all its RAM at 0x80000000 + physical address, processes in the lower half, and one gigabyte that heap and devices
 * share from both ends. For programs that live in that layout.
 *
 * A "physical address" (pa_t) is the machine's that this libOS plays: 0 to course_ram(), at most 1 GiB. The frame that plays
 * it is whichever this env has mapped at 0x80000000 + pa; it is claimed at the first touch. Functions return 0 or -errno.
 */
#pragma once

#include "enter.h"
#include "space.h"

typedef uint64_t pa_t;
#define COURSE_RAM_VA 0x80000000ul
#define COURSE_SLICE (1ul << 20)
#define COURSE_DEVICES 0x10000000ul     /* the board's devices, in physical addresses: no RAM is there */
#define COURSE_DEVICES_END 0x10200000ul

/* Bytes of RAM: three quarters of this env's quota, in whole MiB, cut at 1 GiB. */
uint64_t course_ram(void);
static inline volatile void *course_at(pa_t pa) { return (volatile void *)(COURSE_RAM_VA + pa); }

/* ---- The physical memory manager: slices of 1 MiB, from the first MiB after the kernel's end ---- */
pa_t course_slices_base(void);
/* A slice, zeroed; 0: none left. */
pa_t course_slice(void);
/* Give it back. -EINVAL: it isn't one that was handed out. */
int course_slice_free(pa_t);

/* ---- Devices: from the top of the kernel's gigabyte downward, in steps of 1 MiB ---- */
/* Where the exception vectors are: high (0xffff0000) takes the topmost MiB from the devices. Before the first is mapped. */
int course_high_vectors(void);
/* Map `bytes` of the board's devices from physical address `device` on. Returns the address; -EINVAL: no device there,
 * unaligned; -EEXIST: part of it is mapped already; -ENOMEM: it would meet the heap. Memory of ours plays the registers. */
int64_t course_mmio(pa_t device, uint64_t bytes);
/* Lowest address that devices have. */
va_t course_mmio_edge(void);

/* ---- Processes: the lower half, [0, 0x80000000) ---- */
struct course_process {
	struct space space; /* nothing but the lower half */
};
int course_process_new(struct course_process *);
/* Map n pages of RAM at va. -EINVAL: not in the lower half, unaligned; -EEXIST: mapped already; -EFAULT: no RAM there, or the
 * kernel's page tables, code or constants, which it can't write to itself; -ENOMEM. */
int course_map(struct course_process *, va_t va, pa_t pa, size_t n, unsigned rights);
/* Its lower half becomes the kernel's, too; NULL: none is. */
int course_switch(struct course_process *);
/* Switch to it and run e->regs there until a fault or a system call. */
int course_run(struct course_process *, struct entry *e);
int course_process_end(struct course_process *);
