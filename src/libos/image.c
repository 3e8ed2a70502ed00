/* image.c - see image.h. */
#include "image.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "mm.h"

#define SEGMENTS_MAX 16
#define LOWEST (FH_PAGE * 16)
#ifndef DT_RELR /* since gABI 2023; musl 1.2.3 doesn't know it */
#define DT_RELR 36
#endif

static const Elf64_Ehdr *header(const struct image *im) { return (const Elf64_Ehdr *)im->elf; }
static const Elf64_Phdr *segment(const struct image *im, unsigned i)
{
	return (const Elf64_Phdr *)(im->elf + header(im)->e_phoff) + i;
}
static bool loads(const Elf64_Phdr *p) { return p->p_type == PT_LOAD && p->p_memsz; }
static va_t low(const Elf64_Phdr *p) { return page_down(p->p_vaddr); }
static va_t high(const Elf64_Phdr *p) { return page_up(p->p_vaddr + p->p_memsz); }

static const char *check_header(const Elf64_Ehdr *h, size_t bytes)
{
	if (bytes < sizeof(*h) || memcmp(h->e_ident, ELFMAG, SELFMAG) != 0)
		return "not an ELF file";
	if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB || h->e_machine != EM_X86_64)
		return "not for x86-64";
	if (h->e_type != ET_EXEC && h->e_type != ET_DYN)
		return "not a static executable";
	if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum == 0 || h->e_phnum > SEGMENTS_MAX)
		return "odd number of segments";
	if (h->e_phoff % 8 || h->e_phoff > bytes || bytes - h->e_phoff < h->e_phnum * sizeof(Elf64_Phdr))
		return "truncated: segment table";
	return NULL;
}

static bool in_file(const struct image *im, uint64_t offset, uint64_t n)
{
	return offset <= im->bytes && n <= im->bytes - offset;
}

static const char *check_segment(const struct image *im, const Elf64_Phdr *p)
{
	if (p->p_filesz && !in_file(im, p->p_offset, p->p_filesz))
		return "truncated: segment";
	if (p->p_memsz < p->p_filesz)
		return "segment smaller in memory than in the file";
	if (p->p_vaddr >= FH_KERNEL_BASE || p->p_memsz > FH_KERNEL_BASE - p->p_vaddr)
		return "segment outside the addresses for images";
	return NULL;
}

/* Offset in the file of [va, va + n); false: no segment's file part holds it. */
static bool offset_of(const struct image *im, va_t va, uint64_t n, uint64_t *offset)
{
	for (unsigned i = 0; i < header(im)->e_phnum; i++) {
		const Elf64_Phdr *p = segment(im, i);
		if (loads(p) && va >= p->p_vaddr && va - p->p_vaddr <= p->p_filesz && n <= p->p_filesz - (va - p->p_vaddr)) {
			*offset = p->p_offset + (va - p->p_vaddr);
			return true;
		}
	}
	return false;
}

/* ---- Relocations of an ET_DYN ---- */

static const char *check_relocations(struct image *im, uint64_t bytes)
{
	uint64_t offset;
	Elf64_Rela r;

	for (im->relas = 0; im->relas < bytes / sizeof(r); im->relas++) {
		memcpy(&r, im->elf + im->rela + im->relas * sizeof(r), sizeof(r));
		if (ELF64_R_TYPE(r.r_info) != R_X86_64_RELATIVE || ELF64_R_SYM(r.r_info))
			return "needs a dynamic linker: a relocation that isn't RELATIVE";
		if (!offset_of(im, r.r_offset, sizeof(uint64_t), &offset))
			return "a relocation outside the segments";
	}
	return NULL;
}

static const char *check_dynamic(struct image *im, const Elf64_Phdr *p)
{
	uint64_t bytes = 0;
	va_t rela = 0;
	Elf64_Dyn d;

	if (!im->moves)
		return "needs a dynamic linker";
	if (!in_file(im, p->p_offset, p->p_filesz))
		return "truncated: segment";
	for (uint64_t at = 0; at + sizeof(d) <= p->p_filesz; at += sizeof(d)) {
		memcpy(&d, im->elf + p->p_offset + at, sizeof(d));
		if (d.d_tag == DT_NEEDED || d.d_tag == DT_JMPREL || d.d_tag == DT_REL || d.d_tag == DT_RELR || d.d_tag == DT_TEXTREL)
			return "needs a dynamic linker";
		if (d.d_tag == DT_RELAENT && d.d_un.d_val != sizeof(Elf64_Rela))
			return "odd size of relocations";
		if (d.d_tag == DT_RELA)
			rela = d.d_un.d_ptr;
		if (d.d_tag == DT_RELASZ)
			bytes = d.d_un.d_val;
		if (d.d_tag == DT_NULL)
			break;
	}
	if (bytes && !offset_of(im, rela, bytes, &im->rela))
		return "truncated: relocations";
	return check_relocations(im, bytes);
}

/* ---- The note ---- */

static const char *read_note(struct image *im, const Elf64_Phdr *p)
{
	struct layout_note n;

	if (p->p_filesz < sizeof(n) || !in_file(im, p->p_offset, p->p_filesz))
		return NULL; /* another's */
	memcpy(&n, im->elf + p->p_offset, sizeof(n));
	if (n.type != LAYOUT_NOTE || n.owner_bytes != sizeof(LAYOUT_NOTE_OWNER) ||
	    memcmp(n.owner, LAYOUT_NOTE_OWNER, sizeof(LAYOUT_NOTE_OWNER)) != 0)
		return NULL;
	n.name[sizeof(n.name) - 1] = '\0';
	im->layout = layout_find(n.name);
	return im->layout ? NULL : "made for a layout that isn't known here";
}

const char *image_open(struct image *im, const void *elf, size_t bytes, const struct layout *layout)
{
	const char *wrong = (uintptr_t)elf % 8 ? "not aligned in memory" : check_header(elf, bytes);
	const Elf64_Ehdr *h = elf;
	bool entry = false;

	*im = (struct image){.elf = elf, .bytes = bytes, .layout = &layout_freehold};
	if (wrong)
		return wrong;
	im->moves = h->e_type == ET_DYN;
	im->entry = h->e_entry;
	for (unsigned i = 0; !wrong && i < h->e_phnum; i++) {
		const Elf64_Phdr *p = segment(im, i);
		if (p->p_type == PT_INTERP)
			return "needs a dynamic linker";
		if (p->p_type == PT_NOTE)
			wrong = read_note(im, p);
		if (!loads(p))
			continue;
		if ((wrong = check_segment(im, p)) != NULL)
			break;
		if (low(p) < im->hi)
			return "segments overlap or are out of order";
		if (!im->hi)
			im->lo = low(p);
		im->hi = high(p);
		entry |= p->p_flags & PF_X && h->e_entry >= p->p_vaddr && h->e_entry - p->p_vaddr < p->p_filesz;
	}
	bool dynamic = false;
	for (unsigned i = 0; !wrong && i < h->e_phnum; i++) {
		if (segment(im, i)->p_type != PT_DYNAMIC || !segment(im, i)->p_filesz)
			continue;
		wrong = dynamic ? "two dynamic sections" : check_dynamic(im, segment(im, i));
		dynamic = true;
	}
	if (!wrong && im->moves && !dynamic)
		wrong = "position-independent, but without a dynamic section";
	if (layout)
		im->layout = layout;
	return wrong ? wrong : entry ? NULL : "entry point outside the code";
}

/* ---- Where the layout wants it ---- */

/* The area that a segment belongs to. A layout whose table has no .bss counts it with the data. */
static unsigned area_of(const struct layout *l, const Elf64_Phdr *p)
{
	enum area_kind kind = p->p_flags & PF_X ? AREA_TEXT : !(p->p_flags & PF_W) ? AREA_RODATA : p->p_filesz ? AREA_DATA : AREA_BSS;
	unsigned i = layout_index(l, kind);

	return l->area[i].kind == AREA_END && kind == AREA_BSS ? layout_index(l, AREA_DATA) : i;
}

static unsigned rights_of(const Elf64_Phdr *p)
{
	return RIGHT_R | (p->p_flags & PF_W ? RIGHT_W : 0) | (p->p_flags & PF_X ? RIGHT_X : 0);
}

static const char *fit_segment(const struct image *im, const struct places *at, const Elf64_Phdr *p)
{
	const struct layout *l = im->layout;
	unsigned i = area_of(l, p);
	va_t limit = layout_limit(l, at, i);

	if (rights_of(p) & ~l->area[i].rights)
		return "segment with rights that its area doesn't give";
	while (i > 0 && l->area[i].after && !at->area[i].lo) /* it shares the room of those before it */
		i--;
	va_t lo = p->p_vaddr + at->bias, floor = at->area[i].lo < LOWEST ? LOWEST : at->area[i].lo;
	if (lo < at->bias || lo < floor || lo >= limit || limit - lo < p->p_memsz)
		return "segment outside its area";
	return NULL;
}

const char *image_fits(struct image *im, struct places *p)
{
	const char *wrong = NULL;

	if (im->moves && !p->bias)
		p->bias = p->area[layout_index(im->layout, AREA_TEXT)].lo - im->lo;
	else if (!im->moves)
		p->bias = 0;
	for (unsigned i = 0; !wrong && i < header(im)->e_phnum; i++)
		if (loads(segment(im, i)))
			wrong = fit_segment(im, p, segment(im, i));
	im->entry = header(im)->e_entry + p->bias;
	return wrong;
}

/* ---- Loading ---- */

static int load_from(const struct image *im, const struct places *at, struct child *c, const char *file)
{
	for (unsigned i = 0; i < header(im)->e_phnum; i++) {
		const Elf64_Phdr *p = segment(im, i);
		if (!loads(p))
			continue;
		int r = child_place(&c->space, low(p) + at->bias, (high(p) - low(p)) / FH_PAGE, im->layout->area[area_of(im->layout, p)].rights,
		                    p->p_filesz ? file + p->p_offset : NULL, p->p_filesz, p->p_vaddr - low(p));
		if (r < 0)
			return r;
	}
	return 0;
}

int image_load(const struct image *im, const struct places *at, struct child *c)
{
	if (!im->relas)
		return load_from(im, at, c, im->elf);
	int64_t copy = mm_map(0, im->bytes, RIGHT_R | RIGHT_W, 0);
	if (mm_failed(copy))
		return (int)copy;
	memcpy((void *)copy, im->elf, im->bytes);
	for (uint64_t i = 0, offset; i < im->relas; i++) {
		Elf64_Rela r;
		memcpy(&r, im->elf + im->rela + i * sizeof(r), sizeof(r));
		uint64_t value = at->bias + (uint64_t)r.r_addend;
		if (offset_of(im, r.r_offset, sizeof(value), &offset))
			memcpy((char *)copy + offset, &value, sizeof(value));
	}
	int r = load_from(im, at, c, (const char *)copy);
	mm_unmap((va_t)copy, im->bytes);
	return r;
}

const char *elf_check(const void *elf, size_t bytes)
{
	struct image im;
	struct places p;
	const char *wrong = image_open(&im, elf, bytes, NULL);

	if (wrong)
		return wrong;
	return layout_arrange(im.layout, 0, 0, &p) < 0 ? "its layout can't be arranged" : image_fits(&im, &p);
}
