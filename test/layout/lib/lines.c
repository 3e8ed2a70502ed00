/* lines.c - see lines.h. The program's one argument: how many TAP lines there are already. Exit status: how many it added. */
#include "lines.h"

#include <stdio.h>
#include <stdlib.h>

static unsigned bad;
static const char *why_not;

static void comment(const char *sentence, va_list args, const char *more)
{
	char text[200];

	vsnprintf(text, sizeof(text), sentence, args);
	printf("#   not so: %s%s\n", text, more);
	bad++;
}

bool expect(bool good, const char *sentence, ...)
{
	va_list args;

	va_start(args, sentence);
	if (!good)
		comment(sentence, args, "");
	va_end(args);
	return good;
}

bool expect_is(int64_t got, int64_t want, const char *sentence, ...)
{
	char more[80];
	va_list args;

	snprintf(more, sizeof(more), ": got %ld (%#lx), wanted %ld (%#lx)", got, got, want, want);
	va_start(args, sentence);
	if (got != want)
		comment(sentence, args, more);
	va_end(args);
	return got == want;
}

static const char *result(int64_t r, char *buffer, size_t n)
{
	snprintf(buffer, n, mm_failed(r) ? "-%s" : "%#lx", mm_failed(r) ? (int64_t)error_name((int)r) : r);
	return buffer;
}

bool expect_returns(int64_t got, int64_t want, const char *what, ...)
{
	char more[80], a[24], b[24];
	va_list args;

	snprintf(more, sizeof(more), ": got %s, wanted %s", result(got, a, sizeof(a)), result(want, b, sizeof(b)));
	va_start(args, what);
	if (got != want)
		comment(what, args, more);
	va_end(args);
	return got == want;
}

void cannot(const char *why) { why_not = why; }

/* ---- Faults ---- */

static struct told *heard; /* shared with the child */

static enum answer spy(struct fh_context *c)
{
	if (c->regs.vector == 14 && fault_page(c))
		return FAULT_DONE;
	*heard = (struct told){TOLD_HANDLER, (unsigned)c->regs.vector, c->regs.error, c->address, c->regs.rip, 0};
	exit(0);
}

static _Noreturn void child(int (*act)(void *), void *arg, bool deaf)
{
	on_upcall(12, spy);
	on_upcall(13, spy);
	on_upcall(14, spy);
	if (deaf)
		upcall_word_set(UPCALL_OFFSET(max_depth), 0);
	heard->status = act(arg);
	exit(0);
}

struct told told(int (*act)(void *), void *arg, bool deaf)
{
	int64_t page = mm_map(0, FH_PAGE, RIGHT_R | RIGHT_W, MM_EAGER | MM_SHARED);
	struct env *e = NULL;
	struct fh_thread t;
	struct told copy = {.who = TOLD_NOBODY};

	if (mm_failed(page))
		panic("no page to hear by");
	heard = (struct told *)page;
	int r = env_fork(&e);
	if (r < 0)
		panic("fork: %s", error_name(r));
	if (r == 0)
		child(act, arg, deaf);
	if (env_wait(e) == ENV_FAULTED && thread_look(e->thread, &t) == 0)
		copy = (struct told){TOLD_PARENT, (unsigned)t.regs.vector, t.regs.error, t.fault_address, t.regs.rip, 0};
	else
		copy = *heard;
	env_reap(&e, NULL);
	mm_unmap((va_t)page, FH_PAGE);
	return copy;
}

int act_read(void *p) { return *(volatile char *)p; }
int act_write(void *p) { return *(volatile char *)p = 1; }
int act_run(void *p) { return ((int (*)(void))p)(); }

bool expect_fault(int (*act)(void *), va_t va, unsigned vector, uint64_t error, const char *what)
{
	const uint64_t kind = FAULT_PRESENT | FAULT_WRITE | FAULT_FETCH;
	struct told t = told(act, (void *)va, false);

	if (!expect(t.who == TOLD_HANDLER, "%s at %#lx faults, and the program's handler is told", what, va))
		return false;
	bool good = expect_is(t.vector, vector, "%s at %#lx: vector", what, va);
	if (vector == 14) {
		good &= expect_is((int64_t)t.address, (int64_t)va, "%s: address", what);
		good &= expect_is((int64_t)(t.error & kind), (int64_t)error, "%s at %#lx: error code", what, va);
	}
	return good;
}

int main(int argc, char **argv)
{
	unsigned before = argc > 1 ? (unsigned)atoi(argv[1]) : 0;

	tap_continue(before);
	for (const struct line *l = lines; l->n; l++) {
		bad = 0;
		why_not = NULL;
		l->run();
		if (why_not && !bad)
			skip(why_not, "%s.%u %s", program_layout->name, l->n, l->sentence);
		else
			ok(bad == 0, "%s.%u %s", program_layout->name, l->n, l->sentence);
	}
	return (int)(tap_count() - before);
}
