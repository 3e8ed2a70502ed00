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
/* What becomes of one segment: `pages` from va on. Its first `lead` bytes are zero, then come `bytes` from src, which is gone
 * when image_each returns, then zeroes. 0 or -errno. */
typedef int image_placer(void *to, va_t va, size_t pages, unsigned rights, const void *src, size_t bytes, size_t lead);
/* Hand all segments to `place`, their addresses moved by `bias` (0 if it isn't an ET_DYN), relocations done. Rights are those of
 * their areas in the layout; NULL: those that the segments say. 0, or the first -errno: those before it are placed. */
int image_each(const struct image *, const struct layout *, va_t bias, image_placer *place, void *to);
/* Put its segments into the child, rights by the layout. 0 or -errno. */
int image_load(const struct image *, const struct places *, struct child *);
