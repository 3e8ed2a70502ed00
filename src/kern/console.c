/*
 * console.c - output to COM1 and the VGA text screen, input from COM1 and the keyboard.
 *
 * User output goes through a ring that the UART's interrupt empties; nobody waits for it. The screen is drawn from a
 * shadow in RAM, at most once a tick. Locks: console_lock guards everything here.
 */
#include "console.h"
#include "layout.h"
#include "thread.h"

#define COM1 0x3f8
#define LSR (COM1 + 5)
#define LSR_DATA 0x01
#define LSR_THRE 0x20
#define LSR_TEMT 0x40
#define UART_FIFO 16
#define SENDS_MAX 16 /* interrupts that send, from one look at the screen to the next: an emulated UART is ready at once, for ever */
#define COLUMNS 80
#define ROWS 25
#define CTRL_P 16

struct ring { uint32_t head, tail; char bytes[4096]; };
static struct LOCK_TYPE { uint32_t next, serving, broken; } console_lock; /* a ticket lock */
static struct ring out GUARDED_BY(console_lock), in GUARDED_BY(console_lock);
static pfn_t writer GUARDED_BY(console_lock); /* env that wrote last: a quarter of `out` isn't for it, so that one can't keep others out */
static uint64_t listener GUARDED_BY(console_lock), listener_bits GUARDED_BY(console_lock);
static uint16_t shadow[ROWS][COLUMNS] __attribute__((aligned(8))) GUARDED_BY(console_lock);
static unsigned row GUARDED_BY(console_lock), column GUARDED_BY(console_lock);
static unsigned top GUARDED_BY(console_lock);      /* shadow row shown first */
static unsigned sends GUARDED_BY(console_lock);
static bool screen_stale GUARDED_BY(console_lock); /* the shadow has changed since it was drawn */
static uint64_t *screen = (uint64_t *)(DIRECT_BASE + 0xb8000);

static void TAKES(console_lock) UNCHECKED lock(void)
{
	uint32_t mine = atomic_plus(&console_lock.next, 1u);
	while (atomic_get(&console_lock.serving) != mine && !atomic_get(&console_lock.broken))
		mach_pause();
}
static void GIVES(console_lock) UNCHECKED unlock(void) { atomic_plus(&console_lock.serving, 1u); }

static bool ring_put(struct ring *r, char c)
{
	if (r->head - r->tail == sizeof r->bytes)
		return false;
	r->bytes[r->head++ % sizeof r->bytes] = c;
	return true;
}

/* ---- Screen ---- */

static void NEEDS(console_lock) clear_row(unsigned r)
{
	fill(shadow[r], 0x0720072007200720, sizeof shadow[r] / 8);
}

static void NEEDS(console_lock) screen_put(char c)
{
	if (c == '\r')
		column = 0;
	else if (c == '\b')
		column -= column > 0;
	else if (c >= ' ' && c <= '~')
		shadow[(top + row) % ROWS][column++] = 0x0700 | (uint8_t)c;
	if (c != '\n' && column < COLUMNS)
		return;
	column = 0;
	if (row + 1 < ROWS)
		row++;
	else
		clear_row(top), top = (top + 1) % ROWS;
}

static void NEEDS(console_lock) screen_draw(void)
{
	screen_stale = false;
	uint64_t *to = screen;
	for (unsigned r = 0; r < ROWS; r++)
		for (unsigned i = 0; i < COLUMNS / 4; i++)
			*(volatile uint64_t *)to++ = ((uint64_t *)shadow[(top + r) % ROWS])[i];
	unsigned at = row * COLUMNS + column;
	outb(0x3d4, 14), outb(0x3d5, at >> 8); /* cursor, CRTC registers 14 and 15 */
	outb(0x3d4, 15), outb(0x3d5, at & 255);
}

/* ---- UART (16550A) ---- */

static void uart_send_waiting(char c)
{
	for (unsigned i = 0; i < 100000 && !(inb(LSR) & LSR_THRE); i++)
		mach_pause();
	outb(COM1, c);
}

/* Move up to a FIFO of bytes from the ring, if the UART is ready; keep its interrupt on while more wait. */
static void NEEDS(console_lock) uart_drain(void)
{
	if (out.head != out.tail && (inb(LSR) & LSR_THRE))
		for (unsigned i = 0; i < UART_FIFO && out.head != out.tail; i++)
			outb(COM1, out.bytes[out.tail++ % sizeof out.bytes]);
	static uint8_t enabled;
	uint8_t wanted = out.head != out.tail && sends < SENDS_MAX ? 3 : 1;
	if (wanted != enabled)
		outb(COM1 + 1, enabled = wanted);
}

void console_init(void)
{
	lock();
	static const uint8_t setup[][2] = {{1, 0}, {3, 0x80}, {0, 1}, {1, 0}, {3, 3}, {2, 0xc7}, {4, 0x0b}};
	for (unsigned i = 0; i < sizeof setup / sizeof setup[0]; i++)
		outb(COM1 + setup[i][0], setup[i][1]); /* 115200 8N1, FIFO, OUT2 */
	for (unsigned r = 0; r < ROWS; r++)
		clear_row(r);
	unlock();
}

void console_map_screen(void)
{
	screen = (uint64_t *)(MMIO_BASE + PAGE);
	lock();
	uart_drain(); /* enables its interrupt on input */
	unlock();
	while (inb(0x64) & 1)
		inb(0x60); /* whatever the keyboard said to the firmware */
}

/* ---- Kernel messages ---- */

static void NEEDS(console_lock) log_char(char c)
{
	if (c == '\n')
		log_char('\r');
	while (out.head != out.tail) /* after what user code wrote before */
		uart_send_waiting(out.bytes[out.tail++ % sizeof out.bytes]);
	uart_send_waiting(c);
	screen_put(c);
}

static void NEEDS(console_lock) log_number(uint64_t v, unsigned base, unsigned width, bool negative)
{
	char digits[24];
	unsigned n = 0;
	do
		digits[n++] = "0123456789abcdef"[v % base];
	while (v /= base);
	while (n < width)
		digits[n++] = '0';
	if (negative)
		digits[n++] = '-';
	while (n)
		log_char(digits[--n]);
}

static void NEEDS(console_lock) log_format(const char *f, __builtin_va_list ap)
{
	for (; *f; f++) {
		if (*f != '%') {
			log_char(*f);
			continue;
		}
		unsigned width = 0;
		bool wide = false;
		for (f++; *f >= '0' && *f <= '9'; f++)
			width = width * 10 + *f - '0';
		for (; *f == 'l'; f++)
			wide = true;
		switch (*f) {
		case 's':
			for (const char *s = __builtin_va_arg(ap, const char *); *s; s++)
				log_char(*s);
			break;
		case 'd': {
			int64_t v = wide ? __builtin_va_arg(ap, int64_t) : __builtin_va_arg(ap, int);
			log_number(v < 0 ? -(uint64_t)v : (uint64_t)v, 10, width, v < 0);
			break;
		}
		case 'u':
		case 'x': {
			uint64_t v = wide ? __builtin_va_arg(ap, uint64_t) : __builtin_va_arg(ap, unsigned);
			log_number(v, *f == 'u' ? 10 : 16, width, false);
			break;
		}
		default: log_char(*f);
		}
	}
}

void log_line(const char *format, ...)
{
	__builtin_va_list ap;
	__builtin_va_start(ap, format);
	lock();
	log_format(format, ap);
	log_char('\n');
	screen_draw();
	unlock();
	__builtin_va_end(ap);
}

/* ---- User input and output ---- */

uint64_t console_put(pfn_t me, const char *bytes, uint64_t n)
{
	uint64_t done = 0;
	lock();
	uint64_t spare = same(me, writer) ? sizeof out.bytes / 4 : 2;
	for (; done < n; done++) {
		char c = atomic_get(&bytes[done]);
		if (sizeof out.bytes - (out.head - out.tail) < spare)
			break;
		if (c == '\n')
			ring_put(&out, '\r');
		ring_put(&out, c);
		screen_put(c);
	}
	if (done) { /* else no I/O: a port is slow, and all CPUs wait for each other there */
		writer = me;
		uart_drain();
		screen_stale = true;
	}
	unlock();
	return done;
}

void console_refresh(void)
{
	/* without the lock, which somebody may hold while the UART is slow */
	if (!atomic_get(&screen_stale) && atomic_get(&sends) < SENDS_MAX)
		return;
	lock();
	sends = 0;
	uart_drain();
	screen_draw();
	unlock();
}

uint64_t console_get(char *bytes, uint64_t n)
{
	uint64_t done = 0;
	lock();
	for (; done < n && in.tail != in.head; done++)
		atomic_set(&bytes[done], in.bytes[in.tail++ % sizeof in.bytes]);
	unlock();
	return done;
}

void console_listen(uint64_t thread, uint64_t bits)
{
	lock();
	listener = thread;
	listener_bits = bits;
	bool ready = in.head != in.tail;
	unlock();
	if (ready)
		ring_name(thread, bits);
}

/* Scan code set 1 to ASCII, US layout; 0: no character. */
static char key_char(uint8_t code)
{
	static const char plain[] = "\0\0331234567890-=\b\tqwertyuiop[]\r\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ";
	static const char shifted[] = "\0\033!@#$%^&*()_+\b\tQWERTYUIOP{}\r\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 ";
	static bool shift, control;
	bool down = !(code & 0x80);
	uint8_t key = code & 0x7f;
	if (key == 0x2a || key == 0x36)
		shift = down;
	if (key == 0x1d)
		control = down;
	if (!down || key >= sizeof plain - 1)
		return 0;
	char c = shift ? shifted[key] : plain[key];
	return control && c >= '@' ? c & 31 : c;
}

static void NEEDS(console_lock) input(char c)
{
	if (c == CTRL_P) {
		unlock();
		dump_state();
		lock();
	} else if (c)
		ring_put(&in, c);
}

/* Keys with an 0xe0 prefix, as the sequences that terminals send (ECMA-48). */
static void NEEDS(console_lock) key(uint8_t code)
{
	static const struct { uint8_t code; char sequence[5]; } keys[] = {
		{0x48, "\033[A"}, {0x50, "\033[B"}, {0x4d, "\033[C"}, {0x4b, "\033[D"},
		{0x47, "\033[H"}, {0x4f, "\033[F"}, {0x53, "\033[3~"}};
	static bool extended;
	bool was = extended;
	extended = code == 0xe0;
	if (!was && !extended)
		input(key_char(code));
	for (unsigned i = 0; was && i < sizeof keys / sizeof keys[0]; i++)
		for (const char *s = keys[i].code == code ? keys[i].sequence : ""; *s; s++)
			input(*s);
}

void console_interrupt(void)
{
	lock();
	for (unsigned i = 0; i < 2 * UART_FIFO && (inb(LSR) & LSR_DATA); i++)
		input(inb(COM1));
	for (unsigned i = 0; i < UART_FIFO && (inb(0x64) & 1); i++)
		key(inb(0x60));
	inb(COM1 + 2); /* IIR: acknowledges THRE */
	sends++;
	uart_drain();
	uint64_t thread = in.head != in.tail ? listener : 0, bits = listener_bits;
	unlock();
	if (thread)
		ring_name(thread, bits);
}

void machine_exit(unsigned value)
{
	lock();
	bool asked = value >= FH_EXIT_HALT; /* a machine without isa-debug-exit is told by this line */
	for (const char *s = asked ? "freehold: halted with code " : "freehold: stopped with code "; *s; s++)
		log_char(*s);
	log_number(asked ? value - FH_EXIT_HALT : value, 10, 0, false);
	log_char('\n');
	screen_draw();
	for (unsigned i = 0; i < 100000 && !(inb(LSR) & LSR_TEMT); i++)
		mach_pause(); /* Bochs loses what is still on the line at power-off */
	outb(0xf4, value);
	for (const char *s = "Shutdown"; *s; s++)
		outb(0x8900, *s);
	outw(0x604, 0x2000); /* QEMU's ACPI PM1a control: S5 */
	mach_stop();
}

static void NOW_HAS(console_lock) UNCHECKED alone(void) { last_words(); }
void UNCHECKED console_dying(void) { atomic_set(&console_lock.broken, 1u); }

static void log_dying(const char *head, const char *format, __builtin_va_list ap)
{
	alone();
	while (*head)
		log_char(*head++);
	log_format(format, ap);
	log_char('\n');
	screen_draw();
}

void panic(const char *format, ...)
{
	__builtin_va_list ap;
	__builtin_va_start(ap, format);
	log_dying("freehold: KERNEL BUG: ", format, ap);
	panic_at((uint64_t)__builtin_return_address(0), (uint64_t)__builtin_frame_address(0));
}

void refuse_boot(const char *format, ...)
{
	__builtin_va_list ap;
	__builtin_va_start(ap, format);
	log_dying("freehold: ", format, ap);
	machine_exit(FH_EXIT_BOOT);
}
