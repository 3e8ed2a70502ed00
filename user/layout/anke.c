/* anke.c - a user task that writes by system calls; its kernel reads the text through the direct map, and puts it on the VGA. */
#include <stdio.h>
#include <string.h>

#include "anke.h"
#include "work.h"

/* A task: write(rdi = text, rsi = bytes), a word of the kernel's heap (its address in rbx) into rax, ask again; at last ud2. */
__asm__(".pushsection .rodata\n"
        "task: mov $0x10000, %edi\n mov $14, %esi\n syscall\n"
        "mov (%rbx), %rax\n syscall\n"
        "mov %rax, (%rbx)\n ud2\n"
        "task_end: .popsection");
extern const char task[], task_end[];

#define CODE 0x400000ul
#define DATA 0x10000ul

void layout_work(void)
{
	static struct anke_user u;
	uint64_t *on_heap = malloc(sizeof(*on_heap));
	struct entry e = {.regs = {.rip = CODE, .rbx = (uint64_t)on_heap, .rflags = 2}};

	check(anke_user_new(&u) == 0 && anke_user_map(&u, CODE, 1, RIGHT_R | RIGHT_X) == 0 &&
	          anke_user_map(&u, DATA, 1, RIGHT_R | RIGHT_W) == 0, "a user context: code at %#lx, data at %#lx", CODE, DATA);
	memcpy(anke_user_at(&u, CODE, 1), task, (size_t)(task_end - task));
	memcpy(anke_user_at(&u, DATA, 1), "Hello from U!\n", 14);
	*on_heap = 42;

	int r = anke_user_run(&u, &e);
	const char *text = anke_user_at(&u, e.regs.rdi, e.regs.rsi);
	check(r == 0 && e.regs.vector == FH_VEC_SYSCALL && text && memcmp(text, "Hello from U!\n", 14) == 0,
	      "it calls: %lu bytes at %#lx, which the kernel reads at %p", e.regs.rsi, e.regs.rdi, (const void *)text);
	int64_t screen = anke_mmio(0xb8000, 4000);
	if (!mm_failed(screen) && text)
		for (unsigned i = 0; i < 13; i++)
			((volatile uint16_t *)screen)[i] = (uint16_t)(0x0700 | (unsigned char)text[i]);
	check(mm_failed(screen) || *(volatile uint16_t *)screen == (0x0700 | 'H'), mm_failed(screen) ? "no VGA is ours to write to" :
	      "it is on the screen, at %#lx in the device range", screen);

	r = anke_user_run(&u, &e);
	check(r == 0 && e.regs.rax == 42, "it read %lu from the kernel's heap, at %p there, too", e.regs.rax, (void *)on_heap);
	r = anke_user_run(&u, &e);
	check(r == 0 && e.regs.vector == 14 && e.address == (uint64_t)on_heap && e.regs.error & 2, "a write to it faults at %#lx", e.address);
	check(anke_user_free(&u) == 0, "the context is gone");
	free(on_heap);
}
