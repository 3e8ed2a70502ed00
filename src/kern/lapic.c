/*
 * lapic.c - the local APIC and the legacy PIC. Registers: SDM vol. 3A, table 10-1. Locks: none, a CPU touches its own.
 */
#include "lapic.h"
#include "cpu.h"
#include "layout.h"

#define REG_ID 0x20
#define REG_EOI 0xb0
#define REG_SPURIOUS 0xf0
#define REG_IRR7 0x270 /* vectors 224-255 */
#define REG_ICR_LO 0x300
#define REG_ICR_HI 0x310
#define REG_LVT_TIMER 0x320
#define REG_LVT_LINT0 0x350
#define REG_LVT_LINT1 0x360
#define REG_LVT_ERROR 0x370
#define REG_TIMER_INIT 0x380
#define REG_TIMER_NOW 0x390
#define REG_TIMER_DIVIDE 0x3e0
#define LVT_MASKED 0x10000
#define LVT_EXTINT 0x700
#define LVT_NMI 0x400

static uint64_t timer_khz;

static volatile uint32_t *reg(unsigned r) { return (volatile uint32_t *)(MMIO_BASE + r); }

void lapic_init(bool bsp)
{
	*reg(REG_SPURIOUS) = 0x100 | VECTOR_SPURIOUS;
	*reg(REG_LVT_ERROR) = LVT_MASKED;
	*reg(REG_LVT_LINT0) = bsp ? LVT_EXTINT : LVT_MASKED; /* virtual wire: the PIC's interrupts reach the BSP */
	*reg(REG_LVT_LINT1) = LVT_NMI;
	*reg(REG_TIMER_DIVIDE) = 0x3; /* by 16 */
	*reg(REG_LVT_TIMER) = VECTOR_TIMER;
	*reg(REG_EOI) = 0;
}

uint32_t lapic_id(void) { return *reg(REG_ID) >> 24; }
void lapic_eoi(void) { *reg(REG_EOI) = 0; }
bool mach_interrupt_pending(void) { return *reg(REG_IRR7) != 0; }

/* SDM vol. 3A, 10.6.1 */
#define ICR_NMI 0x400u
#define ICR_INIT 0x500u
#define ICR_START_UP 0x600u
#define ICR_PENDING 0x1000u
#define ICR_ASSERT 0x4000u
#define ICR_OTHERS 0xc0000u

static void send(uint32_t apic_id, uint32_t command)
{
	while (*reg(REG_ICR_LO) & ICR_PENDING) /* the last one is still being delivered */
		mach_pause();
	*reg(REG_ICR_HI) = apic_id << 24;
	*reg(REG_ICR_LO) = command;
}

void mach_flush_ipi(unsigned cpu)
{
	mach_count(FH_COUNT_FLUSH_IPIS);
	send(cpu_at(cpu)->apic_id, VECTOR_FLUSH);
}
void lapic_resched_ipi(unsigned cpu)
{
	mach_count(FH_COUNT_RESCHED_IPIS);
	send(cpu_at(cpu)->apic_id, VECTOR_RESCHED);
}
void lapic_park_ipi(unsigned cpu) { send(cpu_at(cpu)->apic_id, VECTOR_PARK); }
void lapic_nmi_others(void) { send(0, ICR_OTHERS | ICR_ASSERT | ICR_NMI); }
void lapic_init_ipi(uint32_t apic_id) { send(apic_id, ICR_ASSERT | ICR_INIT); }
void lapic_start_up(uint32_t apic_id, uint64_t at) { send(apic_id, ICR_ASSERT | ICR_START_UP | at / PAGE); }

/* PIT channel 2 counts down 10 ms, its output read at port 0x61 (8254 data sheet, mode 0). */
#define PIT_HZ 1193182
static void pit_start_10ms(void)
{
	uint16_t n = PIT_HZ / 100;
	outb(0x61, (inb(0x61) & ~2) | 1);
	outb(0x43, 0xb0);
	outb(0x42, n & 255);
	outb(0x42, n >> 8);
}

/* A virtual CPU may lose time to its host's other work anywhere in here. So the TSC is read on both sides of both ends of the
 * 10 ms: the time between the inner readings is at most as long, that between the outer ones at least. The shortest of these
 * counts, once it is near the longest of those. */
void lapic_calibrate(void)
{
	uint64_t tsc = ~0ul, at_least = 0, ticks = 0;
	*reg(REG_LVT_TIMER) = LVT_MASKED;
	for (unsigned i = 0; i < 3 || (i < 20 && tsc - at_least > tsc / 64); i++) {
		uint64_t before = rdtsc(), begin, look, not_yet, end;
		pit_start_10ms();
		*reg(REG_TIMER_INIT) = ~0u;
		look = begin = rdtsc();
		do {
			not_yet = look;
			look = rdtsc();
			for (unsigned k = 0; k < 100; k++) /* an emulator that counts instructions is slow at ports, and at pause */
				__asm__ volatile("");
		} while (!(inb(0x61) & 0x20));
		uint64_t passed = ~0u - *reg(REG_TIMER_NOW);
		end = rdtsc();
		at_least = MAX(at_least, not_yet - begin);
		if (end - before < tsc)
			tsc = end - before, ticks = passed;
	}
	*reg(REG_TIMER_INIT) = 0;
	*reg(REG_LVT_TIMER) = VECTOR_TIMER;
	timer_khz = ticks / 10 ? ticks / 10 : 1;
	info->tsc_khz = tsc / 10 ? tsc / 10 : 1;
}

void lapic_timer_after(uint64_t tsc)
{
	uint64_t ms = tsc / info->tsc_khz, rest = tsc % info->tsc_khz;
	uint64_t ticks = ms >= 10000 ? 10000 * timer_khz : ms * timer_khz + rest * timer_khz / info->tsc_khz;
	*reg(REG_TIMER_INIT) = ticks > ~0u ? ~0u : ticks ? ticks : 1;
}

/* 8259A: vectors 0x20-0x2f, all masked but keyboard and COM1. */
void pic_init(void)
{
	static const uint8_t words[][2] = {{0x20, 0x11}, {0xa0, 0x11}, {0x21, VECTOR_PIC}, {0xa1, VECTOR_PIC + 8},
	                                   {0x21, 4}, {0xa1, 2}, {0x21, 1}, {0xa1, 1},
	                                   {0x21, (uint8_t)~(1 << IRQ_KEYBOARD | 1 << IRQ_COM1)}, {0xa1, 0xff}};
	for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++)
		outb(words[i][0], words[i][1]);
}

void pic_eoi(void) { outb(0x20, 0x20); }
