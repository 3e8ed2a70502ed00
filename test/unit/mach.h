/*
 * mach.h - a machine on the host, in the place of src/kern/machine/mach.h: frames are bytes of an arena, a CPU is a
 * number, and what would be an instruction is counted where tests look at it. The rest is in world.c.
 */
#pragma once
#include "types.h"

struct machine {
	uint8_t *frames;
	unsigned cpu;               /* who runs */
	uint64_t loads[2], invlpgs; /* CR3 loads of each CPU */
	va_t invlpg_va;
	unsigned ipis[2];           /* flushes asked of each CPU */
	bool deaf;                  /* the other CPU answers no IPI until it next gets a chance (mach_pause) */
	uint64_t pauses, checks;    /* checks: how often an interrupt was asked for */
	uint64_t interrupt_at;      /* an interrupt is pending at this check; 0: never */
	void (*meanwhile)(void);    /* run once, at the next CR3 load: what another CPU does while this one awaits */
	void (*on_load)(unsigned cpu);
	void (*on_check)(void);
	void (*on_pause)(void);
	uint64_t counts[FH_NCOUNTS];
};
extern struct machine machine;

static inline void *frame_address(pfn_t f) { return machine.frames + f.n * PAGE; }
void frame_zero(pfn_t f);
void frame_poison(pfn_t f);
static inline uint64_t mach_index(uint64_t i, uint64_t n) { return i < n ? i : 0; }
static inline unsigned mach_cpu(void) { return machine.cpu; }
static inline void mach_count(unsigned event) { machine.counts[event]++; }
void mach_load_root(pfn_t root);
void mach_invlpg(va_t va);
void mach_pause(void);
void mach_flush_ipi(unsigned cpu);
bool mach_interrupt_pending(void);
void mach_fill_root(pfn_t root);
uint64_t mach_kernel_entry(void);
