/*
 * image.h - a program's file, ELF64 (System V gABI, chapters 4 and 5): static at its addresses (ET_EXEC), or static and
 * position-independent (ET_DYN with relocations R_X86_64_RELATIVE only).
 *
 * The file is not trusted: every number is checked against the file's size and the layout before it is used, with sums
 * that cannot wrap.
 */
#pragma once

#include "child.h"
#include "layout.h"

struct image {
	const char *elf;
	size_t bytes;
	const struct layout *layout; /* that its note names; without one, the kit's own */
	bool moves;                  /* ET_DYN */
	va_t lo, hi;                 /* pages it covers, in the file's addresses */
	va_t entry;                  /* with the bias, once image_fits has passed */
	uint64_t rela, relas;        /* relocations: offset in the file, how many */
};

/* Read the headers. NULL, or what is wrong, in words. `layout`: that one, whatever the note says; or NULL. */
const char *image_open(struct image *, const void *elf, size_t bytes, const struct layout *layout);
/* Does it fit its layout's areas, placed so? For an ET_DYN, p->bias is chosen here if the layout's rule hasn't: its first
 * page comes to the start of the text area. NULL, or what is wrong. */
const char *image_fits(struct image *, struct places *p);
/* Put its segments into the child, rights by the layout. 0 or -errno. */
int image_load(const struct image *, const struct places *, struct child *);
