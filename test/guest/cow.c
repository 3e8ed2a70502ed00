/*
 * cow.c - env_fork and space_fork: who sees whose writes, what a copy costs, who gets W back, and that every frame
 * returns whatever the order in which the two sides let go.
 */
#include <errno.h>
#include <string.h>

#include "tap.h"
#include "touch.h"

#define RW (RIGHT_R | RIGHT_W)
#define N 64u
#define PAGES(n) ((n) * FH_PAGE)

static char *map(size_t n, unsigned flags)
{
	int64_t r = mm_map(0, PAGES(n), RW, flags);

	if (mm_failed(r))
		panic("mm_map: %s", error_name((int)r));
	return (char *)r;
}

static void paint(char *p, size_t n, char byte)
{
	for (size_t i = 0; i < n; i++)
		p[PAGES(i)] = byte;
}

/* Pages whose first byte is not this. */
static unsigned other_than(const volatile char *p, size_t n, char byte)
{
	unsigned bad = 0;

	for (size_t i = 0; i < n; i++)
		bad += p[PAGES(i)] != byte;
	return bad;
}

/* Fork; a test can't go on without. 0 in the child. */
static int split(struct env **child)
{
	int r = env_fork(child);

	if (r < 0)
		panic("env_fork: %s", error_name(r));
	return r;
}

/* Exit status of a child, which is reaped. */
static int finish(struct env *child)
{
	int status = env_wait(child) == ENV_EXITED ? env_status(child) : -1, r = env_reap(&child, NULL);
	return r < 0 ? r : status;
}

/* Two words that parent and child share: steps of a dialogue. */
static volatile unsigned *talk;
static void say(unsigned step) { talk[0] = step; }
static void hear(unsigned step)
{
	while (talk[0] < step)
		thread_sleep(1);
}

static int global = 1;
static char zeroed[3 * FH_PAGE];

static void check_copied(void)
{
	char *heap = malloc(PAGES(3)), *mapped = map(N, 0);
	volatile int local = 3;
	struct env *child;

	memset(heap, 'h', PAGES(3));
	paint(mapped, N, 'm');
	zeroed[FH_PAGE] = 'z';
	global = 2;
	if (split(&child) == 0) {
		unsigned bad = (global != 2) | (local != 3) << 1 | (zeroed[FH_PAGE] != 'z') << 2 |
		               (heap[0] != 'h' || heap[PAGES(3) - 1] != 'h') << 3 |
		               (other_than(mapped, N, 'm') != 0) << 4 | (env_list != NULL) << 5 | (thread_count() != 1) << 6;
		global = local = -1;
		memset(zeroed, 'Z', sizeof(zeroed));
		memset(heap, 'H', PAGES(3));
		paint(mapped, N, 'M');
		char *more = malloc(100000);
		memset(more, 1, 100000);
		bad |= (malloc_check() != 0) << 7;
		exit((int)bad);
	}
	is(finish(child), 0, "the child has our globals, stack, heap and mappings, and is one thread without children");
	ok(global == 2 && local == 3 && zeroed[FH_PAGE] == 'z' && zeroed[0] == 0,
	   "it wrote to its globals and stack: ours are as before");
	ok(heap[0] == 'h' && heap[PAGES(3) - 1] == 'h' && malloc_check() == 0, "to its heap: ours is as before");
	is(other_than(mapped, N, 'm'), 0, "to its mappings: ours are as before");
	mm_unmap((va_t)mapped, PAGES(N));
	free(heap);

	for (int code = 0; code <= 300; code += 75) {
		if (split(&child) == 0)
			exit(code);
		is(finish(child), code & 255, "exit(%d)", code);
	}
	if (split(&child) == 0) {
		__asm__ volatile("ud2");
		exit(1);
	}
	is(finish(child), 128 + 6, "a child that dies of an exception says which");
}

static void check_later(void)
{
	char *p = map(2, MM_EAGER);
	struct env *child;

	talk = (volatile unsigned *)map(1, MM_SHARED | MM_EAGER);
	p[0] = p[FH_PAGE] = 'a';
	if (split(&child) == 0) {
		hear(1);
		unsigned bad = p[0] != 'a';
		p[FH_PAGE] = 'c';
		say(2);
		hear(3);
		talk[1] = 77;
		exit((int)bad + (p[FH_PAGE] != 'c'));
	}
	p[0] = 'p';
	say(1);
	hear(2);
	ok(p[FH_PAGE] == 'a', "what the child writes later, we don't see");
	say(3);
	is(finish(child), 0, "nor does it see what we write");
	is(talk[1], 77, "a SHARED mapping is shared, both ways");
	mm_unmap((va_t)p, PAGES(2));
	mm_unmap((va_t)talk, FH_PAGE);
}

static void check_cost(void)
{
	char *p = map(N, MM_EAGER);
	struct env *child;
	pfn_t frames[N];
	unsigned copied = 0, taken = 0;

	talk = (volatile unsigned *)map(1, MM_SHARED | MM_EAGER);
	paint(p, N, 'p');
	for (unsigned i = 0; i < N; i++)
		frames[i] = frame_at(p + PAGES(i));
	if (split(&child) == 0) {
		uint64_t before = frames_owned();
		unsigned bad = other_than(p, N, 'p') + (unsigned)(frames_owned() - before); /* reading is free */
		paint(p, N / 2, 'c');
		bad += frames_owned() - before != N / 2;
		paint(p, N / 2, 'd');
		bad += frames_owned() - before != N / 2;
		say(1);
		hear(2);
		exit((int)bad);
	}
	hear(1);
	uint64_t before = frames_owned(), faults = space_current()->faults;
	paint(p, N / 2, 'q');
	for (unsigned i = 0; i < N / 2; i++)
		taken += frame_at(p + PAGES(i)) == frames[i];
	is((int64_t)(frames_owned() - before), 0, "pages the child has copied already are ours alone: writing takes no frame");
	is(taken, N / 2, "they keep their frames, W comes back");
	is((int64_t)(space_current()->faults - faults), N / 2, "by a fault each");
	paint(p + PAGES(N / 2), N / 4, 'q');
	for (unsigned i = N / 2; i < N; i++)
		copied += frame_at(p + PAGES(i)) != frames[i];
	is(copied, N / 4, "pages that it still shares are copied, those only that we write");
	say(2);
	is(finish(child), 0, "for the child reading was free, and the first write to a page cost one frame");
	before = frames_owned();
	faults = space_current()->faults;
	paint(p + PAGES(3 * N / 4), N / 4, 'q');
	is((int64_t)(frames_owned() - before), 0, "after its end nothing is copied any more");
	paint(p, N, 'q');
	is((int64_t)(space_current()->faults - faults), N / 4, "what was once written doesn't fault again");
	mm_unmap((va_t)p, PAGES(N));
	mm_unmap((va_t)talk, FH_PAGE);
}

/* The parent lets go first. */
static void check_orphans(void)
{
	struct env *child;
	uint64_t before;

	talk = (volatile unsigned *)map(1, MM_SHARED | MM_EAGER);
	say(0);
	space_trim(space_current(), layout_mmap.lo, layout_stack.lo);
	before = frames_owned();
	char *p = map(N, MM_EAGER);
	paint(p, N, 'o');
	if (split(&child) == 0) {
		hear(1);
		unsigned bad = other_than(p, N, 'o');
		paint(p, N / 2, 'c');
		exit((int)(bad + other_than(p, N / 2, 'c') + other_than(p + PAGES(N / 2), N / 2, 'o')));
	}
	mm_unmap((va_t)p, PAGES(N));
	char *q = map(N, MM_EAGER); /* takes other frames: the child's are still in use */
	paint(q, N, 'x');
	say(1);
	is(finish(child), 0, "we unmap first: the child still has the pages");
	mm_unmap((va_t)q, PAGES(N));
	space_trim(space_current(), layout_mmap.lo, layout_stack.lo);
	is((int64_t)frames_owned(), (int64_t)before, "their frames come back when it ends");
	mm_unmap((va_t)talk, FH_PAGE);
}

static int generation(char *p, unsigned depth)
{
	struct env *child;

	if (other_than(p, N, (char)('a' + depth)))
		return 100;
	if (depth == 3) /* of the CPU slots that a fork hands on, none is left for a fourth */
		return 3;
	paint(p, N, (char)('a' + depth + 1));
	if (split(&child) == 0) {
		int r = generation(p, depth + 1);
		paint(p, N, '!');
		exit(r);
	}
	int status = finish(child);
	return other_than(p, N, (char)('a' + depth + 1)) ? 101 : status;
}

static void check_nested(void)
{
	char *p = map(N, MM_EAGER);
	struct env *child[6];
	unsigned bad = 0;

	paint(p, N, 'a');
	is(generation(p, 0), 3, "child, grandchild, and its child: each has its parent's bytes and keeps its own");
	is(other_than(p, N, 'b'), 0, "and so do we");
	for (int i = 0; i < 6; i++) {
		paint(p, N, (char)i);
		if (split(&child[i]) == 0) {
			thread_sleep(5);
			exit(other_than(p, N, (char)i) ? 99 : i);
		}
	}
	for (int i = 5; i >= 0; i--)
		bad += finish(child[i]) != i;
	is(bad, 0, "six at once, each with the bytes of its moment, waited for in the other order");
	mm_unmap((va_t)p, PAGES(N));
}

static void check_rights(void)
{
	char *p = map(8, MM_EAGER);
	struct env *child;

	paint(p, 8, 'r');
	mm_protect((va_t)p, PAGES(2), RIGHT_R);
	mm_protect((va_t)p + PAGES(2), PAGES(3), 0);
	mm_unmap((va_t)p + PAGES(7), FH_PAGE);
	mm_map((va_t)p + PAGES(7), FH_PAGE, RW, MM_FIXED);
	mm_protect((va_t)p + PAGES(7), FH_PAGE, RIGHT_R); /* never touched */
	for (int round = 0; round < 2; round++) {
		if (split(&child) == 0) {
			unsigned bad = rights_at(p) != RIGHT_R || rights_at(p + PAGES(1)) != RIGHT_R;
			bad |= (rights_at(p + PAGES(2)) != 0 || rights_at(p + PAGES(4)) != 0) << 1;
			bad |= (rights_at(p + PAGES(5)) != RW || rights_at(p + PAGES(7)) != RIGHT_R || p[PAGES(7)] != 0) << 2;
			bad |= (mm_protect((va_t)p, PAGES(5), RW) != 0) << 3;
			bad |= (!writes(p) || other_than(p, 5, 'r') != 0) << 4;
			paint(p, 6, 'C');
			exit((int)bad);
		}
		is(finish(child), 0,
		   "a child has each page's rights, and may change them: read-only, none (its bytes are there), untouched");
		ok(rights_at(p) == RIGHT_R && rights_at(p + PAGES(2)) == 0, "ours stay");
	}
	returns(mm_protect((va_t)p, PAGES(5), RW), 0, "we give ourselves W again");
	is(other_than(p, 6, 'r'), 0, "the bytes are ours, in the pages without rights too");
	mm_unmap((va_t)p, PAGES(8));
}

/* What is SHARED stays so when its rights come and go. */
static void check_shared(void)
{
	volatile char *p = map(2, MM_SHARED | MM_EAGER), *later = map(1, MM_SHARED);
	struct env *child;

	talk = (volatile unsigned *)map(1, MM_SHARED | MM_EAGER);
	p[0] = p[FH_PAGE] = 's';
	if (split(&child) == 0) {
		p[0] = later[0] = 'c';
		say(1);
		hear(2);
		exit(p[FH_PAGE]);
	}
	hear(1);
	int r = mm_protect((va_t)p + FH_PAGE, FH_PAGE, 0);
	if (r == 0)
		mm_protect((va_t)p + FH_PAGE, FH_PAGE, RW);
	p[FH_PAGE] = 'p';
	say(2);
	is(finish(child), 'p',
	   "a SHARED page is still shared after its rights were taken away (%s) and given back", r ? error_name(r) : "done");
	ok(p[0] == 'c', "and the other one has the child's byte");
	ok(later[0] == 'c', "so has a SHARED page that nobody had touched before the fork");
	mm_unmap((va_t)later, FH_PAGE);
	mm_unmap((va_t)p, PAGES(2));
	mm_unmap((va_t)talk, FH_PAGE);
}

static void check_large(void)
{
	const size_t n = FH_LARGE_FRAMES;
	char *p = map(n, MM_EAGER);
	struct env *child;

	paint(p, n, 'l');
	if (split(&child) == 0) {
		uint64_t before = frames_owned();
		p[PAGES(7)] = 'c';
		unsigned bad = frames_owned() - before > 2; /* the page and a table */
		bad += other_than(p, 7, 'l') + other_than(p + PAGES(8), n - 8, 'l');
		exit(bad ? 1 : 0);
	}
	is(finish(child), 0, "a 2 MiB page: a child's write copies one small page");
	is(other_than(p, n, 'l'), 0, "ours is as it was");
	uint64_t before = frames_owned();
	paint(p, n, 'm');
	ok(frames_owned() - before <= 1, "and ours again: writing to all of it takes no frame but a table");
	mm_unmap((va_t)p, PAGES(n));
}

/* int registers_after_fork(struct env **child): env_fork with a pattern in every register that a function keeps. Which of
 * them came back changed is in damage (a bit each). */
extern int registers_after_fork(struct env **child);
unsigned damage;
__asm__(".text\n registers_after_fork:\n"
        "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; sub $8, %rsp\n"
        "mov $0x1111111111, %rbx; mov $0x2222222222, %rbp; mov $0x3333333333, %r12\n"
        "mov $0x4444444444, %r13; mov $0x5555555555, %r14; mov $0x6666666666, %r15\n"
        "call env_fork\n"
        "xor %edx, %edx\n"
        "mov $0x1111111111, %rcx; cmp %rcx, %rbx; je 1f; or $1, %edx; 1:\n"
        "mov $0x2222222222, %rcx; cmp %rcx, %rbp; je 1f; or $2, %edx; 1:\n"
        "mov $0x3333333333, %rcx; cmp %rcx, %r12; je 1f; or $4, %edx; 1:\n"
        "mov $0x4444444444, %rcx; cmp %rcx, %r13; je 1f; or $8, %edx; 1:\n"
        "mov $0x5555555555, %rcx; cmp %rcx, %r14; je 1f; or $16, %edx; 1:\n"
        "mov $0x6666666666, %rcx; cmp %rcx, %r15; je 1f; or $32, %edx; 1:\n"
        "mov %edx, damage(%rip)\n"
        "add $8, %rsp; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n");

static void check_registers(void)
{
	struct env *child;
	uint32_t mxcsr, rounded = 0x7f80; /* round toward zero */

	__asm__ volatile("stmxcsr %0; ldmxcsr %1" : "=m"(mxcsr) : "m"(rounded));
	int r = registers_after_fork(&child);
	uint32_t after;
	__asm__ volatile("stmxcsr %0; ldmxcsr %1" : "=m"(after) : "m"(mxcsr));
	damage |= (after & ~63u) != rounded ? 64 : 0;
	if (r == 0)
		exit((int)damage);
	is(damage, 0, "registers are as before in the parent");
	is(r > 0 ? finish(child) : r, 0, "and in the child");
}

/* ---- A second address space of this env ---- */

static char *page;
static volatile char seen[3];

static void in_other(void *arg)
{
	seen[0] = page[0];
	seen[1] = page[PAGES(1)];
	page[0] = *(char *)arg;
	seen[2] = page[0];
	global++;
}

static void check_spaces(void)
{
	static struct space a, b;
	static char names[] = "AB";
	struct thread *t;

	page = map(N, MM_EAGER);
	paint(page, N, 'P');
	global = 0;
	returns(space_fork(&a, space_current()), 0, "a second space");
	page[PAGES(1)] = 'Q';
	returns(space_fork(&b, space_current()), 0, "and a third, a moment later");
	page[PAGES(1)] = 'R';
	ok((t = thread_new(in_other, &names[0], &a)) && thread_join(t) == 0, "a thread in the second");
	ok(seen[0] == 'P' && seen[1] == 'P' && seen[2] == 'A', "sees the bytes from before, and its own");
	ok((t = thread_new(in_other, &names[1], &b)) && thread_join(t) == 0, "a thread in the third");
	ok(seen[0] == 'P' && seen[1] == 'Q' && seen[2] == 'B', "those of its own moment, not the other's");
	ok(page[0] == 'P' && page[PAGES(1)] == 'R' && !other_than(page + PAGES(2), N - 2, 'P'), "ours are as we wrote them");
	is(global, 2, "globals are shared");
	ok((t = thread_new(in_other, &names[1], &a)) && thread_join(t) == 0 && seen[0] == 'A', "the second still has its own");
	returns(space_free(&a), 0, "one is freed");
	ok((t = thread_new(in_other, &names[0], &b)) && thread_join(t) == 0 && seen[0] == 'B', "the other doesn't mind");
	returns(space_free(&b), 0, "and freed");
	uint64_t before = frames_owned();
	paint(page, N, 'S');
	is((int64_t)(frames_owned() - before), 0, "then all is ours alone, and writing takes no frame");
	mm_unmap((va_t)page, PAGES(N));
}

static void check_refused(void)
{
	struct env *child = NULL;
	struct space *s = space_current();
	static struct frames none;

	none = (struct frames){.name = "none", .next = frames_first.next, .lo = 1, .hi = 1, .cursor = 1};
	s->frames = &none;
	int r = env_fork(&child);
	s->frames = &frames_first;
	if (r == 0)
		exit(1);
	ok(r == -ENOMEM && !child, "a fork without frames is refused: %s", error_name(r));
	is(env_list == NULL, 1, "and leaves no child behind");
}

int main(void)
{
	char *warm = malloc(1 << 18);

	memset(warm, 1, 1 << 18);
	free(warm);
	tap_begin();
	uint64_t books = frame_count_free() + frames_owned();
	touch_begin();
	check_copied();
	check_later();
	check_cost();
	check_orphans();
	check_nested();
	check_rights();
	check_shared();
	check_large();
	check_registers();
	check_spaces();
	check_refused();
	touch_end();
	is((int64_t)(frame_count_free() + frames_owned()), (int64_t)books,
	   "no frame of the machine has become nobody's, or a dead child's");
	return tap_end();
}
