/* demo NAME|all - small shows of what a libOS does with frames and page tables. */
#include <stdarg.h>

#include "demo.h"

static const struct {
	const char *name;
	int (*run)(void);
	const char *what;
} demos[] = {
    {"heap", demo_heap, "the heap grows by brk, a page comes at the first touch"},
    {"stack", demo_stack, "a stack grows on faults and ends in a guard page"},
    {"mmap", demo_mmap, "mmap, mprotect and munmap are entries and regions"},
    {"paging", demo_paging, "demand paging: reserve much, pay for what is touched"},
    {"cow", demo_cow, "copy-on-write: fork into a child env, and a second space"},
    {"large", demo_large, "2 MiB pages: one entry for 512 frames"},
    {"fault", demo_fault, "a fault is a function call in user mode"},
    {"dirty", demo_dirty, "dirty pages, read without a system call"},
    {"policy", demo_policy, "which frame? one function pointer, yours or the kit's"},
    {"share", demo_share, "a window between two envs: read-only for one, and the other's to take back"},
    {"publish", demo_publish, "one set of frames for many tenants, a window each"},
    {"pass", demo_pass, "the ownership of a page, passed like a message"},
    {"pager", demo_pager, "an external pager: the parent provides the pages"},
    {"revoke", demo_revoke, "a parent asks for frames, and takes them if it must"},
    {"reap", demo_reap, "a child dies holding everything: all of it comes back"},
    {"cpus", demo_cpus, "what CPUs that map and unmap cost each other"},
};
#define DEMOS (sizeof(demos) / sizeof(demos[0]))

int check(bool good, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	printf("  %-6s %s\n", good ? "ok" : "FAILED", text); /* at once: children print, too */
	return !good;
}

uint64_t frames_now(void) { return (uint64_t)frame_owned(0); }
uint64_t faults_now(void) { return space_current()->faults; }

int main(int argc, char **argv)
{
	int failed = 0, ran = 0;

	for (unsigned i = 0; i < DEMOS && argc > 1; i++) {
		if (strcmp(argv[1], "all") != 0 && strcmp(argv[1], demos[i].name) != 0)
			continue;
		printf("demo %s: %s\n", demos[i].name, demos[i].what);
		failed += demos[i].run();
		ran++;
	}
	if (!ran) {
		if (argc > 1)
			printf("%s: no such demo\n", argv[1]);
		puts("usage: demo NAME|all");
		for (unsigned i = 0; i < DEMOS; i++)
			printf("  %-8s %s\n", demos[i].name, demos[i].what);
		return 2;
	}
	printf("demo: %d shown, %d checks failed\n", ran, failed);
	return failed ? 1 : 0;
}
