/*
 * line.c - the line editor: keys from the console, ANSI sequences among them, and a history.
 *
 * Text appended at the end is echoed. Every other change draws the row again: "\r", prompt, text, blanks over what was
 * there, and back to the cursor by "\b"; the kernel's own screen and any terminal understand that. A line longer than a
 * row wraps while it is typed; once edited it is shown through a window one row wide.
 */
#include <stdio.h>
#include <string.h>

#include "console.h"
#include "env.h"
#include "sh.h"
#include "syscall.h"

#define ROW (80 - 1 - (unsigned)sizeof(SH_PROMPT)) /* of text in one row; the last column stays free */
#define HISTORY 32u
#define CTRL(letter) ((letter) & 31)

/* Keys that are not bytes. */
enum { KEY_UP = 256, KEY_DOWN, KEY_LEFT, KEY_RIGHT, KEY_HOME, KEY_END, KEY_DELETE, KEY_NONE, KEY_REDRAW };

static struct {
	char text[SH_LINE];
	unsigned n, at;       /* bytes; the cursor stands before text[at] */
	unsigned shown;       /* bytes of it on the row */
	bool wrapped, window; /* it fills more than a row; it is shown through a window */
	unsigned back;        /* how far up the history: 0 is the line being written */
	char draft[SH_LINE];  /* that line, while older ones are shown */
} line;

static char history[HISTORY][SH_LINE];
static unsigned written; /* lines ever written into it */

/* ---- Keys ---- */

static char typed[4096]; /* typed and not yet looked at */
static unsigned head, tail;
static bool last_was_cr;

static int take_in(void)
{
	char bytes[128];
	int n, total = 0;

	while ((n = console_read(bytes, sizeof(bytes))) > 0) {
		for (int i = 0; i < n; i++)
			if (head - tail < sizeof(typed))
				typed[head++ % sizeof(typed)] = bytes[i];
		total += n;
	}
	return n < 0 ? n : total;
}

bool line_interrupted(void)
{
	take_in();
	for (unsigned i = head; i != tail; i--) {
		if (typed[(i - 1) % sizeof(typed)] == CTRL('c')) {
			tail = i;
			return true;
		}
	}
	return false;
}

/* The next byte; KEY_REDRAW: something was printed while we waited. -errno. */
static int next_byte(void)
{
	while (head == tail) {
		int r = take_in();
		if (r < 0)
			return r;
		if (run_notices("\n"))
			return KEY_REDRAW;
		if (r == 0)
			sys_thread_switch(0, 0, 1ul << BELL_CONSOLE | 1ul << BELL_CHILD, 0);
	}
	return (unsigned char)typed[tail++ % sizeof(typed)];
}

/* What follows ESC [ or ESC O: parameters, then a final byte (ECMA-48, 5.4). */
static int sequence(void)
{
	unsigned number = 0;
	int c;

	while ((c = next_byte()) >= 0x20 && c < 0x40)
		number = c >= '0' && c <= '9' ? number * 10 + (unsigned)(c - '0') : number;
	switch (c) {
	case 'A': return KEY_UP;
	case 'B': return KEY_DOWN;
	case 'C': return KEY_RIGHT;
	case 'D': return KEY_LEFT;
	case 'H': return KEY_HOME;
	case 'F': return KEY_END;
	case '~': break;
	default: return c < 0 || c == KEY_REDRAW ? c : KEY_NONE;
	}
	switch (number) {
	case 1: case 7: return KEY_HOME;
	case 4: case 8: return KEY_END;
	case 3: return KEY_DELETE;
	default: return KEY_NONE;
	}
}

static int next_key(void)
{
	int c = next_byte();

	if (c == '\n' && last_was_cr) { /* CR LF is one end of line */
		last_was_cr = false;
		return KEY_NONE;
	}
	last_was_cr = c == '\r';
	if (c != 27)
		return c;
	c = next_byte();
	if (c < 0 || c == KEY_REDRAW)
		return c;
	return c == '[' || c == 'O' ? sequence() : KEY_NONE;
}

/* ---- Drawing ---- */

static void put_many(const char *s, unsigned n)
{
	while (n-- > 0)
		console_put(s, 1);
}

static void redraw(void)
{
	if (line.wrapped) { /* rows above can't be reached: go on in a new one */
		kputs("\n");
		line.wrapped = false;
		line.window = true;
		line.shown = 0;
	}
	unsigned from = line.at < ROW ? 0 : line.at - ROW + 1;
	unsigned n = line.n - from < ROW ? line.n - from : ROW;
	unsigned blanks = line.shown > n ? line.shown - n : 0;

	kputs("\r" SH_PROMPT);
	console_put(line.text + from, n);
	put_many(" ", blanks);
	put_many("\b", blanks + n - (line.at - from));
	line.shown = n;
}

/* On a fresh row. */
static void draw(void)
{
	line.shown = 0;
	line.window = line.n >= ROW;
	line.wrapped = false;
	redraw();
}

/* ---- Changes ---- */

static void insert(char c)
{
	if (line.n == SH_LINE - 1) {
		kputs("\a");
		return;
	}
	memmove(line.text + line.at + 1, line.text + line.at, line.n - line.at);
	line.text[line.at++] = c;
	line.n++;
	if (line.at < line.n || line.window) {
		redraw();
		return;
	}
	console_put(&c, 1);
	line.shown++;
	line.wrapped = line.n >= ROW;
}

static void move(unsigned to)
{
	if (to != line.at && to <= line.n) {
		line.at = to;
		redraw();
	}
}

/* Take out [from, to); the cursor goes there. */
static void cut(unsigned from, unsigned to)
{
	if (from == to)
		return;
	memmove(line.text + from, line.text + to, line.n - to);
	line.n -= to - from;
	line.at = from;
	redraw();
}

/* Where the word before the cursor begins. */
static unsigned word_start(void)
{
	unsigned i = line.at;

	while (i > 0 && line.text[i - 1] == ' ')
		i--;
	while (i > 0 && line.text[i - 1] != ' ')
		i--;
	return i;
}

static void replace(const char *text)
{
	line.n = line.at = (unsigned)strlen(text);
	memcpy(line.text, text, line.n);
	redraw();
}

/* ---- History ---- */

static void remember(const char *text)
{
	if (!*text || (written && strcmp(history[(written - 1) % HISTORY], text) == 0))
		return;
	strcpy(history[written++ % HISTORY], text);
}

/* Show the line `back` steps ago; 0: the one being written. */
static void recall(unsigned back)
{
	if (back > written || back > HISTORY)
		return;
	if (line.back == 0) {
		memcpy(line.draft, line.text, line.n);
		line.draft[line.n] = '\0';
	}
	line.back = back;
	replace(back ? history[(written - back) % HISTORY] : line.draft);
}

/* ---- Completion ---- */

/* Complete text[from, at) as far as all names that begin so agree; where they differ at once, list them. */
static void complete(void)
{
	unsigned from = line.at, n, matches = 0, common = 0;
	const char *name;
	char first[32]; /* command_name's own is gone with the next call */

	while (from > 0 && line.text[from - 1] != ' ' && line.text[from - 1] != ';')
		from--;
	n = line.at - from;
	for (unsigned i = 0; (name = command_name(i)); i++) {
		if (strncmp(name, line.text + from, n) != 0)
			continue;
		if (matches++ == 0)
			common = (unsigned)snprintf(first, sizeof(first), "%s", name);
		while (strncmp(name, first, common) != 0)
			common--;
	}
	for (unsigned i = n; i < common; i++)
		insert(first[i]);
	if (matches == 1)
		insert(' ');
	if (matches < 2 || common > n)
		return;
	kputs("\n");
	for (unsigned i = 0; (name = command_name(i)); i++)
		if (strncmp(name, line.text + from, n) == 0)
			printf("%s  ", name);
	kputs("\n");
	draw();
}

/* ---- The editor ---- */

static void edit(int key)
{
	switch (key) {
	case KEY_LEFT: case CTRL('b'): move(line.at - 1); break;
	case KEY_RIGHT: case CTRL('f'): move(line.at + 1); break;
	case KEY_HOME: case CTRL('a'): move(0); break;
	case KEY_END: case CTRL('e'): move(line.n); break;
	case KEY_UP: recall(line.back + 1); break;
	case KEY_DOWN: case CTRL('n'):
		if (line.back)
			recall(line.back - 1);
		break;
	case '\b': case 127:
		if (line.at)
			cut(line.at - 1, line.at);
		break;
	case KEY_DELETE: case CTRL('d'):
		if (line.at < line.n)
			cut(line.at, line.at + 1);
		break;
	case CTRL('k'): cut(line.at, line.n); break;
	case CTRL('u'): cut(0, line.at); break;
	case CTRL('w'): cut(word_start(), line.at); break;
	case CTRL('l'): draw(); break;
	case '\t': complete(); break;
	case CTRL('c'):
		kputs("^C\n");
		line.n = line.at = line.back = 0;
		draw();
		break;
	case KEY_REDRAW: draw(); break;
	default:
		if (key >= ' ' && key < 127)
			insert((char)key);
	}
}

int line_read(char to[SH_LINE])
{
	int key;

	line.n = line.at = line.back = 0;
	draw();
	while ((key = next_key()) != '\r' && key != '\n') {
		if (key < 0)
			return key;
		if (key == CTRL('d') && line.n == 0) {
			kputs("\n");
			return LINE_END;
		}
		edit(key);
	}
	kputs("\n");
	memcpy(to, line.text, line.n);
	to[line.n] = '\0';
	remember(to);
	return LINE_DONE;
}
