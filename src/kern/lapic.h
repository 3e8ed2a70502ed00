/*
 * lapic.h - the local APIC: this CPU's timer, interrupts between CPUs (SDM vol. 3A, 10); and the legacy PIC that
 * brings the serial line and the keyboard to CPU 0.
 */
#pragma once
#include "types.h"

/* One group of 32 vectors, so that one IRR register shows them all. */
#define VECTOR_TIMER 0xe0u
#define VECTOR_FLUSH 0xe1u
#define VECTOR_SPURIOUS 0xffu
#define VECTOR_PIC 0x20u /* IRQ 0-15 */
#define IRQ_KEYBOARD 1u
#define IRQ_COM1 4u

void lapic_init(bool bsp);
void lapic_calibrate(void);       /* BSP: TSC and timer against the PIT; fills info->tsc_khz */
void lapic_timer_after(uint64_t tsc);
void lapic_eoi(void);
uint32_t lapic_id(void);
void pic_init(void);
void pic_eoi(void); /* of IRQ 0-7: 8-15 are masked */
