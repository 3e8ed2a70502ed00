/*
 * spawn.c - a child env from a static ELF64 program in memory (System V gABI, chapters 4 and 5).
 *
 * The file is not trusted: every number is checked against the file's size and the plan before it is used, with sums
 * that cannot wrap.
 */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "child.h"
#include "console.h"
#include "meta.h"
#include "start.h"
#include "startup.h"

#define SEGMENTS_MAX 16
#define STACK_PAGES 4u /* mapped before it starts; start.c must not fault */

static const Elf64_Phdr *segment(const void *elf, unsigned i)
{
	const Elf64_Ehdr *h = elf;
	return (const Elf64_Phdr *)((const char *)elf + h->e_phoff) + i;
}

static va_t low(const Elf64_Phdr *p) { return page_down(p->p_vaddr); }
static va_t high(const Elf64_Phdr *p) { return page_up(p->p_vaddr + p->p_memsz); }

static const char *check_header(const Elf64_Ehdr *h, size_t bytes)
{
	if (bytes < sizeof(*h) || memcmp(h->e_ident, ELFMAG, SELFMAG) != 0)
		return "not an ELF file";
	if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB || h->e_machine != EM_X86_64)
		return "not for x86-64";
	if (h->e_type != ET_EXEC)
		return "not a static executable";
	if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum == 0 || h->e_phnum > SEGMENTS_MAX)
		return "odd number of segments";
	if (h->e_phoff % 8 || h->e_phoff > bytes || bytes - h->e_phoff < h->e_phnum * sizeof(Elf64_Phdr))
		return "truncated: segment table";
	return NULL;
}

static const char *check_segment(const Elf64_Phdr *p, size_t bytes)
{
	if (p->p_offset > bytes || p->p_filesz > bytes - p->p_offset)
		return "truncated: segment";
	if (p->p_memsz < p->p_filesz)
		return "segment smaller in memory than in the file";
	if (p->p_vaddr < FH_PAGE * 16 || p->p_vaddr >= HEAP_LIMIT || p->p_memsz > HEAP_LIMIT - p->p_vaddr)
		return "segment outside the addresses for images";
	return NULL;
}

const char *elf_check(const void *elf, size_t bytes)
{
	const Elf64_Ehdr *h = elf;
	const char *wrong = (uintptr_t)elf % 8 ? "not aligned in memory" : check_header(h, bytes);
	va_t end = 0;
	bool entry = false;

	for (unsigned i = 0; !wrong && i < h->e_phnum; i++) {
		const Elf64_Phdr *p = segment(elf, i);
		if (p->p_type == PT_INTERP || p->p_type == PT_DYNAMIC)
			return "needs a dynamic linker";
		if (p->p_type != PT_LOAD || p->p_memsz == 0)
			continue;
		if ((wrong = check_segment(p, bytes)) != NULL)
			return wrong;
		if (low(p) < end)
			return "segments overlap or are out of order";
		end = high(p);
		entry |= p->p_flags & PF_X && h->e_entry >= p->p_vaddr && h->e_entry - p->p_vaddr < p->p_filesz;
	}
	return wrong ? wrong : entry ? NULL : "entry point outside the code";
}

static int load(struct child *c, const void *elf)
{
	const Elf64_Ehdr *h = elf;

	for (unsigned i = 0; i < h->e_phnum; i++) {
		const Elf64_Phdr *p = segment(elf, i);
		if (p->p_type != PT_LOAD || p->p_memsz == 0)
			continue;
		unsigned rights = RIGHT_R | (p->p_flags & PF_W ? RIGHT_W : 0) | (p->p_flags & PF_X ? RIGHT_X : 0);
		int r = child_place(&c->space, low(p), (high(p) - low(p)) / FH_PAGE, rights, (const char *)elf + p->p_offset, p->p_filesz,
		                    p->p_vaddr - low(p));
		if (r < 0)
			return r;
	}
	return 0;
}

/* Lay out argc, argv and the strings as they will lie in the stack's highest page. Returns rsp, or 0: too long. */
static va_t arguments(char *page, char *const argv[])
{
	uint64_t *words = (uint64_t *)page;
	size_t argc = 0, text = 0, top = FH_PAGE;

	for (; argv[argc]; argc++)
		text += strlen(argv[argc]) + 1;
	size_t vector = (argc + 3) * sizeof(uint64_t); /* argc, argv, NULL, NULL */
	if (text > FH_PAGE / 2 || vector > FH_PAGE / 2 - 16)
		return 0;
	size_t at = (FH_PAGE - text - vector) & ~15ul;
	words += at / sizeof(uint64_t);
	words[0] = argc;
	for (size_t i = 0; i < argc; i++) {
		size_t n = strlen(argv[i]) + 1;
		top -= n;
		memcpy(page + top, argv[i], n);
		words[1 + i] = STACK_TOP - FH_PAGE + top;
	}
	return STACK_TOP - FH_PAGE + at;
}

static int make_stack(struct child *c, char *const argv[], va_t *rsp)
{
	char *page = meta_alloc(FH_PAGE);
	int r = -ENOMEM;

	if (page) {
		*rsp = arguments(page, argv);
		r = *rsp ? child_place(&c->space, STACK_TOP - FH_PAGE, 1, RIGHT_R | RIGHT_W, page, FH_PAGE, 0) : -E2BIG;
		meta_free(page, FH_PAGE);
	}
	if (r == 0)
		r = child_place(&c->space, STACK_TOP - STACK_PAGES * FH_PAGE, STACK_PAGES - 1, RIGHT_R | RIGHT_W, NULL, 0, 0);
	return r;
}

static int map_modules(struct space *s)
{
	struct module m;

	for (unsigned i = 0; module_get(i, &m) == 0; i++) {
		int r = space_map(s, (va_t)m.data, info->module[i].pfn, page_up(m.bytes) / FH_PAGE, RIGHT_R);
		if (r < 0)
			return r;
	}
	return 0;
}

int spawn(struct env **child, const void *elf, size_t bytes, char *const argv[], const struct spawn_options *o)
{
	static const struct spawn_options defaults;
	const char *wrong = elf_check(elf, bytes);
	char title[ENV_TITLE];
	struct child c;
	va_t rsp = 0;
	int r;

	o = o ? o : &defaults;
	startup_name(argv[0] ? argv[0] : "?", title, sizeof(title));
	if (wrong) {
		printf("spawn %s: %s\n", title, wrong);
		return -ENOEXEC;
	}
	if ((r = child_new(&c, title, o->quota, o->frames ? o->frames : space_current()->frames, false)) < 0)
		return r;
	if ((r = load(&c, elf)) < 0 || (r = make_stack(&c, argv, &rsp)) < 0 ||
	    (r = child_place(&c.space, info->batch_va, 1, RIGHT_R | RIGHT_W, NULL, 0, 0)) < 0 ||
	    (r = child_place(&c.space, info->upcall_va, 1, RIGHT_R | RIGHT_W, NULL, 0, 0)) < 0 ||
	    (o->bootfs && (r = map_modules(&c.space)) < 0))
		return child_abandon(&c, r);
	struct fh_regs regs = {.rip = ((const Elf64_Ehdr *)elf)->e_entry, .rsp = rsp, .rdi = info->info_va};
	if ((r = child_start(&c, &regs, 0, o->slots, o->stopped)) < 0)
		return child_abandon(&c, r);
	*child = c.env;
	return 0;
}
