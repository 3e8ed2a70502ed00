/* fault.c - a fault is a function call in user mode. */
#include "demo.h"

static unsigned divisions;

/* Division by zero: the quotient shall be 42. `idiv %ecx` is 2 bytes long. */
static enum answer divide(struct fh_context *c)
{
	divisions++;
	c->regs.rax = 42;
	c->regs.rip += 2;
	return FAULT_DONE;
}

/* A region that makes its pages up: page i is filled with the byte i. */
static enum answer counted(struct region *r, struct fault *f)
{
	va_t page = page_down(f->address);
	char *bytes;

	if (space_fill(f->space, page, 1, RIGHT_R | RIGHT_W) < 0)
		return FAULT_KILL;
	bytes = (char *)page;
	memset(bytes, (int)((page - r->base) / FH_PAGE), FH_PAGE);
	return space_protect(f->space, page, 1, RIGHT_R) < 0 ? FAULT_KILL : FAULT_DONE;
}

int demo_fault(void)
{
	int bad = 0;
	int32_t quotient = 1;

	on_upcall(0, divide);
	__asm__ volatile("cltd\n\tidivl %%ecx" : "+a"(quotient) : "c"(0) : "rdx");
	on_upcall(0, NULL);
	bad += check(quotient == 42 && divisions == 1, "1/0 = %d, by a handler in this program", quotient);

	/* A range of addresses with a fault function of our own. */
	int64_t va = mm_map(0, 256 * FH_PAGE, 0, MM_GUARD);
	if (mm_failed(va))
		return bad + check(false, "mm_map");
	struct space *s = space_current();
	space_lock(s);
	struct region *r = region_find(s, (va_t)va);
	r->rights = RIGHT_R;
	r->fault = counted;
	space_unlock(s);
	const volatile uint8_t *p = (const volatile uint8_t *)va;
	uint64_t before = faults_now();
	int wrong = 0;
	for (unsigned i = 0; i < 256; i += 16)
		wrong += p[i * FH_PAGE + 99] != i;
	printf("  %lu faults filled %d pages at %#lx\n", faults_now() - before, 16, (va_t)va);
	bad += check(wrong == 0 && faults_now() - before == 16, "pages made up by a region's own function");

	/* How long is a fault? A page that comes and goes. */
	uint64_t tsc = cpu_tsc();
	for (unsigned i = 1; i < 256; i += 2)
		(void)p[i * FH_PAGE];
	printf("  %lu TSC ticks a fault, handler, zeroing and memset included\n", (cpu_tsc() - tsc) / 128);
	return bad + check(mm_unmap((va_t)va, 256 * FH_PAGE) == 0, "unmapped");
}
