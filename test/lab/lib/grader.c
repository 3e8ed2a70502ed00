/* grader.c - see grader.h. */
#include "grader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Between a test and us: on a page that is shared across the fork. */
static struct verdict {
	bool go;         /* the test may begin */
	bool done;       /* it came to its end */
	char text[2048]; /* what was wrong; the first to say so is right */
	uint64_t said;
} *verdict;

#define SLOTS 16u /* CPU slots for a test, on each CPU */
uint64_t grader_patience = 10000;
static uint64_t limit; /* ms for a test; 0: none, somebody debugs */

/* ---- In a test ---- */

_Noreturn void wrong(const char *format, ...)
{
	char text[sizeof(verdict->text)];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (!__atomic_exchange_n(&verdict->said, 1, __ATOMIC_SEQ_CST))
		memcpy(verdict->text, text, sizeof(text));
	exit(1);
}

static char *buffer(size_t n)
{
	static char text[8][160];
	static unsigned next;

	(void)n;
	return text[__atomic_fetch_add(&next, 1, __ATOMIC_RELAXED) % 8];
}

const char *entry_text(pte_t e)
{
	char *s = buffer(160);

	if (!(e & FH_P))
		snprintf(s, 160, e ? "%#lx: not present" : "0: empty", e);
	else
		snprintf(s, 160, "%#lx: frame %#lx P%s%s%s%s%s%s", e, fh_pte_pfn(e), e & FH_W ? " W" : "", e & FH_U ? " U" : "",
		         e & FH_A ? " A" : "", e & FH_D ? " D" : "", e & FH_PS ? " PS" : "", e & FH_NX ? " NX" : "");
	return s;
}

const char *result_text(int64_t r)
{
	char *s = buffer(160);

	if (r < 0 && r > -4096)
		snprintf(s, 160, "-%s", error_name((int)r));
	else
		snprintf(s, 160, "%ld", r);
	return s;
}

void expect_result(int64_t got, int64_t want, const char *what, ...)
{
	char text[512];
	va_list args;

	if (got == want)
		return;
	va_start(args, what);
	vsnprintf(text, sizeof(text), what, args);
	va_end(args);
	wrong("%s returned %s, should return %s", text, result_text(got), result_text(want));
}

bool grader_await(const volatile uint64_t *word, uint64_t n)
{
	for (uint64_t end = cpu_tsc() + grader_patience * info->tsc_khz; __atomic_load_n(word, __ATOMIC_SEQ_CST) < n;) {
		if (cpu_tsc() > end)
			return false;
		thread_sleep(1);
	}
	return true;
}

uint64_t grader_counted(unsigned event)
{
	uint64_t n = 0;

	for (unsigned c = 0; c < info->ncpus; c++)
		n += cpu_view(c)->count[event];
	return n;
}

uint64_t grader_random(void)
{
	static uint64_t x = 0x5eed;
	uint64_t z = x += 0x9e3779b97f4a7c15; /* splitmix64 */

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* ---- Several envs ---- */

/* One for all children of a test: pages that were our parent's before a fork aren't ours to share. */
static struct verdict *inner;

struct env *grader_fork(void (*run)(void))
{
	struct env *child;

	if (!inner)
		inner = (struct verdict *)mm_map(0, page_up(sizeof(*inner)), RIGHT_R | RIGHT_W, MM_SHARED | MM_EAGER);
	int r = env_fork(&child);
	if (r == 0) {
		verdict = inner;
		run();
		exit(0);
	}
	if (r < 0)
		panic("env_fork: %s", error_name(r));
	return child;
}

/* It has ended: well? */
static void check_end(struct env *child, enum env_state state)
{
	int status = state == ENV_EXITED ? env_status(child) : 0;

	if (state == ENV_FAULTED)
		env_report(child);
	if (inner->said)
		wrong("%s", inner->text);
	if (state == ENV_FAULTED || status >= 128)
		wrong("one of the envs crashed: the report is above");
	if (status)
		wrong("one of the envs called exit(%d)", status);
}

void grader_join(struct env **child, unsigned n)
{
	for (unsigned left = n; left > 0; left > 0 ? sys_thread_switch(0, 0, 1ul << BELL_CHILD, 0) : 0) {
		for (unsigned i = 0; i < n; i++) {
			enum env_state state = child[i] ? env_state(child[i]) : ENV_RUNNING;
			if (state == ENV_RUNNING)
				continue;
			check_end(child[i], state);
			env_reap(&child[i], NULL); /* it is NULL now */
			left--;
		}
	}
}

/* ---- System calls, seen: by a native range (design.md 6) that holds grader_native alone ---- */

extern const char grader_native_end[];
__asm__(".pushsection .text.native,\"ax\"\n"
        ".global grader_native, grader_native_end\n"
        "grader_native:\n"
        "	mov %rdi, %rax\n"
        "	mov %rsi, %rdi\n"
        "	mov %rdx, %rsi\n"
        "	mov %rcx, %rdx\n"
        "	mov %r8, %r10\n"
        "	syscall\n"
        "	ret\n"
        "grader_native_end:\n"
        ".popsection\n");

static bool (*trap_hook)(struct fh_context *);

static enum answer trapped(struct fh_context *c)
{
	if (trap_hook && !trap_hook(c))
		return FAULT_DONE;
	struct sys_result r = grader_native(c->regs.rax, c->regs.rdi, c->regs.rsi, c->regs.rdx, c->regs.r10);
	c->regs.rax = (uint64_t)r.rax;
	c->regs.rdx = r.rdx;
	return FAULT_DONE;
}

static void native_range(uint64_t lo, uint64_t hi)
{
	uint64_t offset, size;
	struct fh_thread_args *a = batch_area(&offset, &size);

	*a = (struct fh_thread_args){.fields = FH_SET_NATIVE, .native_lo = lo, .native_hi = hi};
	grader_native(FH_SYS_thread_write, 0, offset, 0, 0);
}

void grader_trap(bool (*hook)(struct fh_context *))
{
	trap_hook = hook;
	on_upcall(FH_VEC_SYSCALL, trapped);
	native_range((uint64_t)grader_native, (uint64_t)grader_native_end);
}

void grader_trap_end(void) { native_range(0, 0); }

const char *grader_call_name(uint64_t number)
{
#define FH_X(number, name, nargs, args) #name,
	static const char *const names[] = {FH_SYSCALLS(FH_X)};
#undef FH_X
	return number < FH_NSYSCALLS ? names[number] : "unknown";
}

/* ---- Around the tests ---- */

static void comment(const char *text)
{
	for (const char *line = text; *line;) {
		size_t n = strcspn(line, "\n");
		printf("#   %.*s\n", (int)n, line);
		line += n + (line[n] == '\n');
	}
}

/* In a debug kernel: why it has refused calls of this env, the last few. */
static void refusals(pfn_t env)
{
	const volatile struct fh_refusals *ring = (const void *)info->refusals_va;

	for (uint64_t n = ring && ring->next > 4 ? ring->next - 4 : 0; ring && n < ring->next; n++) {
		unsigned i = (unsigned)(n % FH_REFUSALS);
		if (ring->entry[i].env == env)
			printf("#   the kernel refused: %s (%s)\n", (const char *)ring->entry[i].text, error_name((int)ring->entry[i].error));
	}
}

static void where(struct env *child)
{
	struct fh_thread t;
	char command[128];

	if (thread_look(child->thread, &t) == 0)
		printf("#   its first thread was at: %s\n", upcall_where(t.regs.rip, command, sizeof(command)));
}

/* Why the child has not come to its end. */
static void explain(struct env *child, enum env_state state, bool late)
{
	int status = state == ENV_EXITED ? env_status(child) : 0;

	if (verdict->said) {
		verdict->text[sizeof(verdict->text) - 1] = '\0';
		comment(verdict->text);
	} else if (late) {
		printf("#   it didn't end within %lu seconds: a loop without end, or a wait for what never comes\n", limit / 1000);
		where(child);
	} else if (state == ENV_FAULTED || status >= 128) {
		printf("#   it crashed: the report is above (how to read it: docs/libos.md, \"A page fault at two in the morning\")\n");
	} else {
		printf("#   it called exit(%d) in the middle of the test\n", status);
	}
	refusals(child->pfn);
}

static enum env_state wait_for(struct env *child, bool *late)
{
	uint64_t end = limit ? cpu_tsc() + limit * info->tsc_khz : 0;
	enum env_state state;

	*late = false;
	while ((state = env_state(child)) == ENV_RUNNING && !*late) {
		sys_thread_switch(0, 0, 1ul << BELL_CHILD, end);
		*late = end && cpu_tsc() > end && env_state(child) == ENV_RUNNING;
	}
	if (*late)
		env_kill(child);
	return state;
}

/* Run one test; true: earned. */
static bool run(unsigned number, const struct lab_test *t)
{
	struct env *child;
	bool late;

	memset(verdict, 0, sizeof(*verdict));
	int r = env_fork(&child);
	if (r == 0) {
		while (!*(volatile bool *)&verdict->go)
			thread_sleep(1);
		t->run();
		verdict->done = true;
		exit(0);
	}
	if (r < 0)
		panic("env_fork: %s", error_name(r));
	slot_give(child->thread_name, SLOTS * info->ncpus); /* for threads of its own: a fork's child has few */
	*(volatile bool *)&verdict->go = true;
	enum env_state state = wait_for(child, &late);
	bool earned = !late && !verdict->said && verdict->done && state == ENV_EXITED && env_status(child) == 0;
	if (state == ENV_FAULTED)
		env_report(child);
	printf("%sok %u - %s [%u/%u]\n", earned ? "" : "not ", number, t->sentence, earned ? t->points : 0, t->points);
	if (!earned)
		explain(child, state, late);
	if ((r = env_reap(&child, NULL)) < 0)
		panic("env_reap: %s", error_name(r));
	return earned;
}

int main(void)
{
	static char path[64];
	char only[8] = "", patience[16];
	unsigned points = 0, possible = 0, tests = 0;

	/* Where the crash report says that the symbols are. */
	snprintf(path, sizeof(path), "test/%s", program_name);
	program_name = path;
	verdict = (struct verdict *)mm_map(0, page_up(sizeof(*verdict)), RIGHT_R | RIGHT_W, MM_SHARED | MM_EAGER);
	if (boot_option("patience", patience, sizeof(patience)))
		grader_patience = strtoul(patience, NULL, 10);
	limit = boot_option("only", only, sizeof(only)) ? 0 : grader_patience * 2;
	if (lab.setup)
		lab.setup();
	printf("# %s, %u CPU%s\n", lab.title, info->ncpus, info->ncpus == 1 ? "" : "s");
	for (unsigned i = 0; i < lab.ntests; i++) {
		snprintf(path + 32, 8, "%u", i + 1);
		if (*only && strcmp(only, path + 32) != 0)
			continue;
		tests++;
		possible += lab.tests[i].points;
		if (run(tests, &lab.tests[i]))
			points += lab.tests[i].points;
	}
	printf("1..%u\n", tests);
	if (tests > 0)
		printf("# points: %u of %u\n", points, possible);
	else
		printf("# points: none, there is no test %s, but 1 to %u\n", only, lab.ntests);
	return tests == 0 || points != possible;
}
