/* anke.c - the lines of the layout anke. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "anke.h"
#include "lines.h"
#include "spacewalk.h"

const unsigned lines_total = 10;

#define RW (RIGHT_R | RIGHT_W)
#define RX (RIGHT_R | RIGHT_X)
#define HHDM 0xffff800000000000ul
#define MMIO 0xffff900000000000ul
#define MMIO_END 0xffffa00000000000ul
#define SLOT 0xffffff0000000000ul
#define IMAGE 0xffffff7f80000000ul
#define CODE 0x400000ul
#define DATA 0x10000ul

/* User code: read, write, run the byte at rbx; each ends in a system call. */
__asm__(".pushsection .rodata\n"
        "u_read: mov (%rbx), %rax\n syscall\n"
        "u_write: mov %rax, (%rbx)\n syscall\n"
        "u_run: call *%rbx\n syscall\n"
        "u_push: mov %rbx, %rsp\n push %rax\n syscall\n"
        "u_end: .popsection");
extern const char u_read[], u_write[], u_run[], u_push[], u_end[];
static const char constant[16] = "constant";
static uint64_t variable = 77;

static struct anke_user user;

static struct entry act(const char *what, va_t at, uint64_t rax)
{
	struct entry e = {.regs = {.rip = CODE + (size_t)(what - u_read), .rbx = at, .rax = rax, .rsp = DATA + FH_PAGE - 64, .rflags = 2}};

	expect_is(anke_user_run(&user, &e), 0, "user code runs");
	return e;
}

static void u_works(const char *what, va_t at, uint64_t rax, const char *sentence)
{
	struct entry e = act(what, at, rax);
	expect(e.regs.vector == FH_VEC_SYSCALL, "%s %#lx works in U: vector %lu", sentence, at, e.regs.vector);
}

static void u_faults(const char *what, va_t at, uint64_t error, const char *sentence)
{
	struct entry e = act(what, at, 0);
	expect(e.regs.vector == 14 && e.address == at && (e.regs.error & (FAULT_PRESENT | FAULT_WRITE | FAULT_FETCH)) == error,
	       "%s %#lx faults in U, and K is told: vector %lu, address %#lx, error %#lx", sentence, at, e.regs.vector, e.address,
	       e.regs.error);
}

static bool make_user(void)
{
	if (user.space.root)
		return true;
	if (!expect_is(anke_user_new(&user), 0, "a user context") || !expect_is(anke_user_map(&user, CODE, 1, RX), 0, "code") ||
	    !expect_is(anke_user_map(&user, DATA, 2, RW), 0, "data"))
		return false;
	memcpy(anke_user_at(&user, CODE, 1), u_read, (size_t)(u_end - u_read));
	return true;
}

/* ---- 1 ---- */

static void kernel_context(void)
{
	static const va_t low[] = {0, 0x1000, CODE, DATA, 0x10000000, 0x7ffffffff000, 0x7f00001ff000};
	struct tally t = {0};
	unsigned held = 0, strange = 0;
	pfn_t me = env_self();

	touch_begin();
	for (unsigned i = 0; i < sizeof(low) / sizeof(low[0]); i++)
		if (reads((char *)low[i]) || writes((char *)low[i]))
			count_bad(&t, "%#lx is there", low[i]);
	expect(!t.bad, "nothing is in the user half");
	for (unsigned i = 0; i < 256; i++)
		expect(!(window_slot(0, 4)[i] & FH_P), "PML4[%u] is empty", i);
	t.bad = 0;
	for (pfn_t f = 0; f < info->nframes; f++) {
		uint64_t state = frame_record(f)->state;
		unsigned type = fh_type(state);
		bool mine = fh_owner(state) == me && type != FH_FREE && type != FH_DEVICE;
		if (!mine && f % 97) /* each of ours; of the others some */
			continue;
		volatile char *p = hhdm(f * FH_PAGE);
		if (reads(p) != mine || (mine && writes(p) != (type == FH_DATA)))
			count_bad(&t, "frame %#lx, type %u, %s", f, type, mine ? "ours" : "not ours");
		else if (mine && frame_at((const void *)p) != f)
			count_bad(&t, "frame %#lx is another one", f);
		held += mine, strange += !mine;
	}
	expect(!t.bad && held > 50 && strange > 50, "each of %u frames held is at HHDM + physical, DATA writable; %u others fault", held, strange);
	touch_end();
	expect_fault(act_read, HHDM + info->nframes * FH_PAGE, 14, 0, "a read past the machine's memory");
	int64_t screen = anke_mmio(0xb8000, 4000);
	if (mm_failed(screen))
		cannot("the VGA's frames are not this env's");
	else {
		expect((va_t)screen >= MMIO && (va_t)screen < MMIO_END, "the VGA's text is mapped in the MMIO range: %#lx", screen);
		volatile uint16_t *cell = (volatile uint16_t *)screen;
		uint16_t old = *cell;
		*cell = 0x0741;
		expect_is(*cell, 0x0741, "it can be written, and read");
		*cell = old;
		pte_t e = space_get(space_current(), (va_t)screen);
		expect((e & (FH_PCD | FH_PWT)) == (FH_PCD | FH_PWT) && fh_pte_pfn(e) == 0xb8, "uncached: entry %#lx", e);
		touch_begin();
		expect(!reads(hhdm(0xb8000)), "and is not in the direct map");
		touch_end();
	}
	expect_returns(anke_mmio(frame_at(&variable) * FH_PAGE, FH_PAGE), -EPERM, "memory of ours as a device");
	expect_returns(anke_mmio(0xfee00000, FH_PAGE), info->nframes > 0xfee00 ? -EPERM : -EINVAL, "the local APIC");
}

/* ---- 2, 3 ---- */

static void user_context(void)
{
	if (!make_user())
		return;
	u_works(u_write, DATA + 8, 5, "a write to");
	struct entry e = act(u_read, DATA + 8, 0);
	expect_is((int64_t)e.regs.rax, 5, "what it wrote");
	u_faults(u_read, HHDM, 0, "a read of");
	u_faults(u_read, (va_t)anke_user_at(&user, DATA, 8), 0, "a read of its own page in the direct map,");
	u_faults(u_write, (va_t)anke_user_at(&user, DATA, 8), FAULT_WRITE, "a write to");
	u_faults(u_read, MMIO, 0, "a read of");
	u_faults(u_read, (va_t)thread_self()->upcall, 0, "a read of this program's upcall frame,");
	expect_returns(anke_user_map(&user, HHDM, 1, RW), -EINVAL, "mapping a page outside the user half");
}

static void heap_in_both(void)
{
	volatile uint64_t *p = malloc(64);

	if (!p || !make_user())
		return;
	for (uint64_t i = 0; i < 3; i++) {
		*p = 1000 + i;
		expect_is((int64_t)act(u_read, (va_t)p, 0).regs.rax, 1000 + (int64_t)i, "U reads what K wrote");
	}
	/* A table that comes later: under an entry of the shared table, and one of that table's own. */
	va_t end = heap_end();
	heap_grow((intptr_t)(PLAN_LARGE * 3));
	volatile uint64_t *later = (volatile uint64_t *)((end + 2 * PLAN_LARGE) & ~(PLAN_LARGE - 1));
	expect(!(space_get(space_current(), (va_t)later) & FH_P) && !link_at((va_t)later, 2), "no page table is there yet");
	*later = 4242;
	expect_is((int64_t)act(u_read, (va_t)later, 0).regs.rax, 4242, "one made after U is in U, too");
	heap_grow((intptr_t)(PLAN_GIB));
	volatile uint64_t *far = (volatile uint64_t *)(heap_end() - 8);
	*far = 4343;
	expect_is((int64_t)act(u_read, (va_t)far, 0).regs.rax, 4343, "so is one in another gigabyte");
	heap_grow((intptr_t)end - (intptr_t)heap_end());
	u_faults(u_read, (va_t)far, 0, "given back in K, a read of");
	free((void *)p);
}

/* ---- 4, 5 ---- */

static uint64_t table_writes(void)
{
	uint64_t n = 0;
	for (unsigned i = 0; i < info->ncpus; i++)
		n += cpu_view(i)->count[FH_COUNT_LOCKS];
	return n;
}

static void no_remap(void)
{
	static pte_t before[2][512];
	const volatile pte_t *k = window_slot(0, 4);

	if (!make_user())
		return;
	const volatile pte_t *u = scratch_map(user.space.root, 1, RIGHT_R);
	act(u_read, DATA, 0);
	for (unsigned i = 0; i < 512; i++)
		before[0][i] = k[i] | FH_A, before[1][i] = u[i] | FH_A;
	uint64_t locks = table_writes();
	struct entry e = act(u_read, 0x1000, 0);
	uint64_t after = table_writes();
	expect(e.regs.vector == 14 && e.address == 0x1000, "U faults, and the handler runs");
	expect(upcall_word(UPCALL_OFFSET(entry)) >= IMAGE, "its code is in the image: %#lx", upcall_word(UPCALL_OFFSET(entry)));
	for (unsigned i = 0; i < 512; i++)
		expect((k[i] | FH_A) == before[0][i] && (u[i] | FH_A) == before[1][i], "PML4[%u] is what it was", i);
	expect(space_get(space_current(), IMAGE) == space_get(&user.space, IMAGE), "the image is mapped in U, too");
	expect_is((int64_t)(after - locks), 0, "page tables locked for an update (all CPUs, as long as nobody else works)");
	scratch_put((va_t)u, 1);
}

static void system_call(void)
{
	struct entry e = {.regs = {.rip = CODE + (size_t)(u_read - u_read), .rbx = DATA, .rdi = DATA + 100, .rsi = 13, .rflags = 2}};

	if (!make_user())
		return;
	char *text = anke_user_at(&user, DATA + 100, 13);
	memcpy(text, "an argument\n", 13);
	for (unsigned i = 200; i < FH_PAGE; i++)
		((char *)anke_user_at(&user, DATA, 1))[i] = (char)(i * 7);
	expect_is(anke_user_run(&user, &e), 0, "U runs");
	expect_is((int64_t)e.regs.vector, FH_VEC_SYSCALL, "and calls");
	const char *read = anke_user_at(&user, e.regs.rdi, e.regs.rsi);
	expect(read && strcmp(read, "an argument\n") == 0, "K reads its argument");
	expect(anke_user_at(&user, DATA + FH_PAGE - 4, 13) == NULL, "one that lies in two pages is to be read in parts");
	expect(anke_user_at(&user, 0x7000, 1) == NULL && anke_user_at(&user, HHDM, 1) == NULL, "one that isn't there is refused");
	int64_t screen = anke_mmio(0xb8000, 4000);
	if (!mm_failed(screen)) {
		volatile uint16_t *cell = (volatile uint16_t *)screen + 1;
		uint16_t old = *cell;
		*cell = 0x0742;
		expect_is(*cell, 0x0742, "K works with the device");
		*cell = old;
	}
	e.regs.rax = 9; /* the result; on to the next instruction, a write of it */
	e.regs.rip = CODE + (size_t)(u_write - u_read);
	e.regs.rbx = DATA;
	expect_is(anke_user_run(&user, &e), 0, "U goes on");
	expect_is((int64_t)act(u_read, DATA, 0).regs.rax, 9, "with the result");
	unsigned wrong = 0;
	for (unsigned i = 200; i < FH_PAGE; i++)
		wrong += ((char *)anke_user_at(&user, DATA, 1))[i] != (char)(i * 7);
	expect_is(wrong, 0, "bytes of its memory changed");
	if (mm_failed(screen))
		cannot("the VGA's frames are not this env's");
}

/* ---- 6, 7, 8 ---- */

static void rights(void)
{
	volatile uint64_t *p = malloc(64);

	if (!p || !make_user())
		return;
	*p = 1;
	expect_fault(act_write, (va_t)act_read, 14, FAULT_PRESENT | FAULT_WRITE, "a write to .text");
	expect_fault(act_write, (va_t)constant, 14, FAULT_PRESENT | FAULT_WRITE, "a write to .rodata");
	expect_fault(act_run, (va_t)p, 14, FAULT_PRESENT | FAULT_FETCH, "a jump into the heap");
	*p = 1; /* a fork has write-protected it */
	u_works(u_read, (va_t)p, 0, "a read of the heap at");
	u_works(u_read, (va_t)constant, 0, "a read of .rodata at");
	u_works(u_read, (va_t)&variable, 0, "a read of .data at");
	u_faults(u_write, (va_t)p, FAULT_PRESENT | FAULT_WRITE, "a write to the heap at");
	u_faults(u_write, (va_t)&variable, FAULT_PRESENT | FAULT_WRITE, "a write to .data at");
	u_faults(u_write, (va_t)constant, FAULT_PRESENT | FAULT_WRITE, "a write to .rodata at");
	u_faults(u_write, (va_t)act_read, FAULT_PRESENT | FAULT_WRITE, "a write to .text at");
	u_faults(u_run, (va_t)p, FAULT_PRESENT | FAULT_FETCH, "a jump into the heap at");
	variable = 78;
	expect_is(*p == 1 && variable == 78, 1, "K still writes both");
	variable = 77;
	free((void *)p);
}

static void heap_end_is_image(void)
{
	va_t old = heap_end();

	expect(heap_start() == SLOT && layout_heap.hi == IMAGE, "the heap: from %#lx, at most to %#lx", SLOT, IMAGE);
	expect_returns(heap_grow((intptr_t)(IMAGE - old)), (int64_t)old, "it grows up to the image");
	expect_returns(heap_grow(1), -ENOMEM, "one byte more");
	volatile char *last = (volatile char *)IMAGE - 1;
	*last = 3;
	expect_is(*last, 3, "its last byte");
	expect(malloc(1 << 24) == NULL, "malloc returns NULL");
	expect(memcmp((const void *)constant, "constant", 9) == 0, "the image is intact");
	heap_grow((intptr_t)old - (intptr_t)IMAGE);
	void *p = malloc(1 << 24);
	expect(p != NULL, "after a shrink malloc works again");
	free(p);
	expect(malloc(1ul << 40) == NULL, "more than its 510 GiB is NULL");
}

static void non_canonical(void)
{
	static const va_t at[] = {0x800000000000, 0xffff7ffffffffff8, 0x0001000000000000, 0x8000000000000000};

	if (!make_user())
		return;
	for (unsigned i = 0; i < 4; i++) {
		struct entry e = act(u_read, at[i], 0);
		expect(e.regs.vector == 13, "U's read of %#lx: vector %lu", at[i], e.regs.vector);
		expect_fault(act_read, at[i], 13, 0, "K's read");
	}
	struct entry e = act(u_run, 0x800000000000, 0);
	expect(e.regs.vector == 13, "U's call of it: vector %lu", e.regs.vector);
	e = act(u_push, 0x800000000040, 0);
	expect(e.regs.vector == 12 || e.regs.vector == 13, "U's push to it, #SS or #GP as QEMU has it: vector %lu", e.regs.vector);
}

/* ---- 9 ---- */

static struct {
	volatile uint64_t *word;
	volatile unsigned phase;    /* the main thread's */
	volatile unsigned answered; /* the other one's: the last phase it has seen */
	volatile bool coherent, faulted;
	volatile uint64_t cpu;
} other;

static enum answer skip_read(struct fh_context *c)
{
	if (c->address != (va_t)other.word)
		return FAULT_NEXT;
	other.faulted = true;
	c->regs.rip += 3;
	return FAULT_DONE;
}

static void on_other_cpu(void *arg)
{
	(void)arg;
	other.cpu = upcall_word(UPCALL_OFFSET(cpu));
	for (unsigned seen = 0; seen < 1000;) {
		unsigned phase = other.phase;
		if (phase == seen) {
			cpu_pause();
			continue;
		}
		seen = phase;
		uint64_t value = 0;
		__asm__ volatile("movq (%%rsi), %%rdi" : "+D"(value) : "S"(other.word) : "memory"); /* 3 bytes */
		other.coherent = value == phase;
		other.answered = seen;
	}
}

static bool answered(unsigned phase)
{
	uint64_t end = cpu_tsc() + 20000 * info->tsc_khz;

	while (other.answered != phase && cpu_tsc() < end)
		thread_yield();
	return other.answered == phase;
}

static void two_cpus(void)
{
	va_t end = page_up(heap_end());

	if (info->ncpus < 2) {
		cannot("this machine has one CPU");
		return;
	}
	heap_grow((intptr_t)(end + FH_PAGE - heap_end()));
	other.word = (volatile uint64_t *)end;
	*other.word = 0;
	struct thread *t = thread_new(on_other_cpu, NULL, NULL);
	if (!expect(t != NULL, "a thread"))
		return;
	unsigned incoherent = 0, phase = 0;
	while (phase < 300) {
		*other.word = phase + 1;
		other.phase = ++phase;
		if (!answered(phase))
			break;
		incoherent += !other.coherent;
	}
	expect(phase == 300 && incoherent == 0, "300 values written here are read on cpu %lu (this is %lu)", other.cpu, upcall_word(UPCALL_OFFSET(cpu)));
	expect(!other.faulted, "without a fault");
	on_upcall(14, skip_read);
	heap_grow(-(intptr_t)FH_PAGE); /* unmapped; the other CPU has its translation in use */
	other.phase = ++phase;
	expect(answered(phase) && other.faulted, "unmapped, it faults there at once");
	other.phase = 1000;
	thread_join(t);
	on_upcall(14, NULL);
}

/* ---- 10 ---- */

static int take(void *b) { return anke_boot_take(b), 0; }

static void hand_over(void)
{
	struct anke_boot b = anke_boot;
	uint64_t total = 0;

	expect(anke_boot_check(&anke_boot) == NULL, "all is there");
	expect_is((int64_t)b.hhdm, (int64_t)HHDM, "the direct map's offset");
	expect_is((int64_t)b.kernel_va, (int64_t)IMAGE, "the image's virtual base");
	expect_is((int64_t)b.kernel_pa, (int64_t)(frame_at((void *)IMAGE) * FH_PAGE), "its physical base");
	for (unsigned i = 0; i < 8 && b.memory[i].bytes; i++)
		total += b.memory[i].bytes;
	expect(total / FH_PAGE >= frame_count_free() && total / FH_PAGE <= info->nframes, "a memory map of %lu MiB", total >> 20);
	const char *const words[] = {"memory map", "direct map", "physical base", "virtual base"};
	for (unsigned i = 0; i < 4; i++) {
		b = anke_boot;
		if (i == 0)
			b.memory[0].bytes = 0;
		(i == 1 ? &b.hhdm : i == 2 ? &b.kernel_pa : i == 3 ? &b.kernel_va : &total)[0] = 0;
		const char *missing = anke_boot_check(&b);
		expect(missing && strstr(missing, words[i]), "without it the message names the %s: %s", words[i], missing ? missing : "none");
		struct env *e = NULL;
		int r = env_fork(&e);
		if (r == 0) {
			take(&b);
			exit(0);
		}
		expect(r == 1 && env_wait(e) == ENV_EXITED && env_status(e) == 134, "and the start stops: status %d", e ? env_status(e) : 0);
		env_reap(&e, NULL);
	}
}

const struct line lines[] = {
    {1, "in K the user half faults, HHDM + physical is each frame held and no other, devices are uncached in the MMIO range", kernel_context},
    {2, "in U the user half works; the direct map and MMIO fault", user_context},
    {3, "a heap write in K is seen in U at the same address, also through a table made after U", heap_in_both},
    {4, "an upcall during U enters code in the image, and no page table is changed", no_remap},
    {5, "a system call reads user memory; a device is worked with in K, and U finds its memory intact", system_call},
    {6, "text and rodata can't be written; user code reads heap and image, and writes neither", rights},
    {7, "the heap never reaches the image; exhausted, it is NULL", heap_end_is_image},
    {8, "what isn't canonical is #GP", non_canonical},
    {9, "on two CPUs the heap is coherent, and flushed after an unmap", two_cpus},
    {10, "a boot that hands over too little stops with a message", hand_over},
    {0},
};
