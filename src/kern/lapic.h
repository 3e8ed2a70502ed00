/*
 * lapic.h - the local APIC: this CPU's timer, interrupts between CPUs (SDM vol. 3A, 10); and the legacy PIC that
 * brings the serial line and the keyboard to CPU 0.
 */
#pragma once
#include "types.h"

/* One group of 32 vectors, so that one IRR register shows them all. */
#define VECTOR_TIMER 0xe0u
#define VECTOR_FLUSH 0xe1u
#define VECTOR_RESCHED 0xe2u /* wakes an idle CPU: there may be a thread for it; or has a CPU look whether its thread is to stop */
#define VECTOR_PARK 0xe3u    /* debug builds: smp.c */
#define VECTOR_SPURIOUS 0xffu
#define VECTOR_PIC 0x20u /* IRQ 0-15 */
#define IRQ_KEYBOARD 1u
#define IRQ_COM1 4u

void lapic_init(bool bsp);
/* Interrupts to other CPUs; VECTOR_FLUSH is sent by mach_flush_ipi. */
void lapic_resched_ipi(unsigned cpu);
void lapic_park_ipi(unsigned cpu);
void lapic_nmi_others(void);                      /* the machine is dying: they stop for good */
void lapic_init_ipi(uint32_t apic_id);            /* reset it; it waits for */
void lapic_start_up(uint32_t apic_id, uint64_t at); /* a start-up IPI: real mode from this page below 1 MiB */
void lapic_calibrate(void);                         /* BSP: TSC and timer against the PIT; fills info->tsc_khz */
void lapic_timer_after(uint64_t tsc);
void lapic_eoi(void);
uint32_t lapic_id(void);
void pic_init(void);
void pic_eoi(void); /* of IRQ 0-7: 8-15 are masked */
