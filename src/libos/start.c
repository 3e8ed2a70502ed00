/*
 * start.c - from the first instruction to main, and exit.
 *
 * Until start_c has prepared the upcall frame a page fault would stop the program: everything touched so far is mapped
 * by whoever started us (the kernel for root, child.c for others), and the stack has a few pages.
 */
#include "start.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "console.h"
#include "env.h"
#include "layout.h"
#include "machine.h"
#include "meta.h"
#include "mm.h"
#include "spacewalk.h"
#include "startup.h"
#include "syscall.h"
#include "upcall.h"

const struct fh_info *info;
const char *program_name = "?";
const uint64_t *program_stack;

int main(int argc, char **argv); /* the program's */
_Noreturn void start_c(const struct fh_info *in, const struct places *given, uint64_t *stack);

static void set_bases(void)
{
	uint64_t offset, size;
	struct fh_thread_args *a = batch_area(&offset, &size);

	*a = (struct fh_thread_args){
	    .fields = FH_SET_BASES, .fs_base = (uint64_t)thread_main.tcb, .gs_base = (uint64_t)thread_main.upcall};
	sys_thread_write(0, offset);
}

/* The first thread's own struct: name, frames, FS base. Until tls_init there is no thread-local storage, only errno. */
static void thread_init(void)
{
	static uint64_t early_tcb[64];
	struct fh_upcall *upcall = (struct fh_upcall *)info->upcall_va;

	early_tcb[0] = (uint64_t)early_tcb;
	thread_main.tcb = early_tcb;
	thread_main.space = &space_main;
	thread_main.place = THREADS_VA;
	thread_main.upcall = upcall;
	thread_main.batch = (struct fh_op *)info->batch_va;
	thread_main.name = upcall->thread;
	upcall->libos[UPCALL_LIBOS_THREAD] = (uint64_t)&thread_main;
	upcall->libos[UPCALL_LIBOS_ROOT] = space_main.root;
	upcall->libos[UPCALL_LIBOS_SPACE] = (uint64_t)&space_main;
	set_bases();
}

/* Its thread-local storage, as soon as there is memory for it. */
static void tls_init(void)
{
	if (!(thread_main.tcb = tls_new()))
		panic("start: no frames");
	set_bases();
}

void startup_views(void)
{
	struct space *s = &space_main;
	pfn_t thread = fh_name_pfn(thread_main.name);

	scratch_init();
	space_map(s, THREADS_VA + THREAD_VIEW, thread, 1, RIGHT_R);
	space_map(s, THREADS_VA + THREAD_ENV, env_self(), 1, RIGHT_R);
	thread_main.view = (const volatile struct fh_thread *)(THREADS_VA + THREAD_VIEW);
	for (unsigned i = 0; i < info->ncpus; i++)
		space_map(s, CPUS_VA + i * FH_PAGE, info->cpu_pfn[i], 1, RIGHT_R);
}

static void add(va_t base, va_t end, unsigned rights, unsigned fork, const char *name)
{
	struct region r = {.base = base, .end = end, .rights = (uint8_t)rights, .fork = (uint8_t)fork, .name = name};

	r.fault = fork == REGION_SKIP ? fault_guard : fault_zero;
	if (base < end && region_add(&space_main, &r) < 0)
		panic("start: no room for %s", name);
}

static void add_stack(const struct area *a)
{
	va_t base = layout_stack.hi;

	while (base > layout_stack.lo && space_get(&space_main, base - FH_PAGE) & FH_P)
		base -= FH_PAGE;
	struct region r = {
	    .lo = layout_stack.lo,
	    .hi = layout_stack.hi,
	    .base = base,
	    .end = layout_stack.hi,
	    .rights = a->rights,
	    .grow = REGION_GROW_DOWN,
	    .guard = a->guard,
	    .fault = fault_zero,
	    .name = a->name,
	};
	if (region_add(&space_main, &r) < 0)
		panic("start: no room for %s", a->name);
}

static void add_area(const struct area *a, const struct extent *p)
{
	bool constant = !(a->rights & RIGHT_W); /* what can be written is data, whatever is in it */

	if (a->kind == AREA_TEXT || a->kind == AREA_RODATA)
		add(p->lo, p->hi, a->rights, constant ? REGION_SHARE : REGION_COPY, a->name);
	else if (a->kind == AREA_DATA || a->kind == AREA_BSS || a->kind == AREA_ARGS)
		add(p->lo, p->hi, a->rights, REGION_COPY, a->name);
	else if (a->kind == AREA_GUARD)
		add(p->lo, p->hi, 0, REGION_SKIP, a->name);
	else if (a->kind == AREA_HEAP && heap_init(a) < 0)
		panic("start: no room for %s", a->name);
	else if (a->kind == AREA_STACK)
		add_stack(a);
}

/* The regions that are there before main. */
static void regions_init(void)
{
	uint64_t table = page_up(info->nframes * sizeof(struct fh_frame));

	for (unsigned i = 0; program_layout->area[i].kind != AREA_END; i++)
		add_area(&program_layout->area[i], &layout_here.area[i]);
	add(info->info_va, info->upcall_va + FH_PAGE, RIGHT_R | RIGHT_W, REGION_SKIP, "[info]");
	add(META_VA, CPUS_VA + PLAN_GIB, RIGHT_R | RIGHT_W, REGION_SKIP, "[kit]");
	add(TABLE_VA, TABLE_VA + table, RIGHT_R, REGION_SKIP, "[table]");
	add(WINDOW_VA, WINDOW_END, RIGHT_R, REGION_SKIP, "[window]");
	if (space_get(&space_main, BOOTFS_VA) & FH_P)
		startup_bootfs();
	int r = program_layout->start ? program_layout->start() : 0;
	if (r < 0)
		panic("start: layout %s: %s", program_layout->name, error_name(r));
}

/* root's arguments: the first module's command line, cut at blanks. */
static int split(const char *command, char **argv, int max)
{
	static char copy[256];
	int argc = 0;

	strncpy(copy, command, sizeof(copy) - 1);
	for (char *p = strtok(copy, " "); p && argc < max; p = strtok(NULL, " "))
		argv[argc++] = p;
	argv[argc] = NULL;
	return argc;
}

const char *startup_name(const char *path, char *buffer, size_t n)
{
	size_t from = 0, len = strcspn(path, " ");

	for (size_t i = 0; i < len; i++)
		if (path[i] == '/')
			from = i + 1;
	len -= from;
	if (len > 4 && memcmp(path + from + len - 4, ".elf", 4) == 0)
		len -= 4;
	if (len > n - 1)
		len = n - 1;
	memcpy(buffer, path + from, len);
	buffer[len] = '\0';
	return buffer;
}

_Noreturn void start_c(const struct fh_info *in, const struct places *given, uint64_t *stack)
{
	static char *root_argv[32];
	static char name[32];

	info = in;
	layout_begin(given);
	space_main.root = fh_pte_pfn(*window_slot(WINDOW_VA, 4));
	space_main.frames = &frames_first;
	thread_init();
	thread_reset();
	frames_init(in);
	upcall_prepare(thread_main.upcall, in->upcall_va, THREADS_VA + THREAD_PLACE);
	if (in->version != FH_VERSION || in->table_va != TABLE_VA || in->window_va != WINDOW_VA ||
	    (!given && in->stack_hi != layout_stack.hi))
		panic("start: made for another kernel (version %u)", FH_VERSION);
	if (space_fill(&space_main, THREADS_VA + THREAD_STACKS, (THREAD_PLACE - THREAD_STACKS) / FH_PAGE, RIGHT_R | RIGHT_W))
		panic("start: no frames");
	startup_views();
	tls_init();
	/* A table for the copy page of copy-on-write is there: it shares the level-1 table of the handler stacks. */
	regions_init();

	program_stack = stack;
	int argc = (int)stack[0];
	char **argv = (char **)(stack + 1);
	if (env_self() == fh_name_pfn(info->root_env) && info->nmodules > 0) {
		argv = root_argv;
		argc = split(info->strings + info->module[0].command, argv, 31);
	}
	if (argc > 0)
		program_name = startup_name(argv[0], name, sizeof(name));
	exit(main(argc, argv));
}

_Noreturn void exit(int status)
{
	uint64_t code = (uint64_t)status & 255;

	if (env_self() == fh_name_pfn(info->root_env))
		sys_machine_halt(code > FH_HALT_MAX ? FH_HALT_MAX : code);
	if (thread_self() != &thread_main)
		thread_stop(thread_main.name, code);
	for (;;)
		sys_thread_ctl(0, FH_THREAD_STOP, code);
}

uint64_t clock_seconds(void)
{
	return info->boot_time + (cpu_tsc() - info->boot_tsc) / 1000 / (info->tsc_khz ? info->tsc_khz : 1);
}

_Noreturn void panic(const char *format, ...)
{
	char text[CONSOLE_LINE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	printf("%s: %s\n", program_name, text); /* in one piece: others print, too */
	exit(134); /* as after abort(): 128 + SIGABRT */
}

/* What musl's assert() calls. */
_Noreturn void __assert_fail(const char *text, const char *file, int line, const char *function);

_Noreturn void __assert_fail(const char *text, const char *file, int line, const char *function)
{
	panic("%s:%d: %s: assertion failed: %s", file, line, function, text);
}
