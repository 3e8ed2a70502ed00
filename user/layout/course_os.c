/* course_os.c - two processes at the same addresses, taking turns; a device; the heap under it. */
#include <string.h>

#include "course_os.h"
#include "work.h"

/* A process: adds rdi to the word at 0x10000, asks the kernel (system call: the sum so far in rax), again. */
__asm__(".pushsection .rodata\n"
        "process: mov 0x10000, %rax\n add %rdi, %rax\n mov %rax, 0x10000\n syscall\n jmp process\n"
        "process_end: .popsection");
extern const char process[], process_end[];

#define CODE 0x8000ul
#define DATA 0x10000ul

static bool make(struct course_process *p, pa_t pa)
{
	memcpy((void *)course_at(pa), process, (size_t)(process_end - process));
	return course_process_new(p) == 0 && course_map(p, CODE, pa, 1, RIGHT_R | RIGHT_X) == 0 &&
	       course_map(p, DATA, pa + FH_PAGE, 1, RIGHT_R | RIGHT_W) == 0;
}

void layout_work(void)
{
	static struct course_process p[2];
	struct entry e[2];
	pa_t pa[2] = {course_slice(), course_slice()};
	bool good = true;

	check(pa[0] && pa[1], "%lu MiB of RAM, handed out by the MiB from physical %#lx on", course_ram() >> 20, course_slices_base());
	check(make(&p[0], pa[0]) && make(&p[1], pa[1]), "two processes, code at %#lx and data at %#lx in both", CODE, DATA);
	for (unsigned i = 0; i < 2; i++)
		e[i] = (struct entry){.regs = {.rip = CODE, .rdi = i + 1, .rflags = 2}};
	for (unsigned turn = 0; turn < 200; turn++) {
		struct entry *x = &e[turn % 2];
		good &= course_run(&p[turn % 2], x) == 0 && x->regs.vector == FH_VEC_SYSCALL;
	}
	check(good && e[0].regs.rax == 100 && e[1].regs.rax == 200, "100 system calls of each, in turn: they counted to %lu and %lu",
	      e[0].regs.rax, e[1].regs.rax);
	course_switch(&p[0]);
	uint64_t first = *(volatile uint64_t *)DATA;
	course_switch(&p[1]);
	check(first == 100 && *(volatile uint64_t *)DATA == 200 && *(volatile uint64_t *)course_at(pa[0] + FH_PAGE) == 100,
	      "the kernel reads %#lx of each, and both at %#lx + physical", DATA, COURSE_RAM_VA);
	int64_t uart = course_mmio(COURSE_DEVICES, FH_PAGE);
	void *block = malloc(1 << 20);
	check(!mm_failed(uart) && block, "a device at %#lx, coming down; the heap at %p, going up", uart, block);
	free(block);
	for (unsigned i = 0; i < 2; i++)
		check(course_process_end(&p[i]) == 0 && course_slice_free(pa[i]) == 0, "process %u ends", i);
}
