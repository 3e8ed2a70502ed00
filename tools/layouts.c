/*
 * layouts.c - what others than programs want to know of the layouts' tables; linked with the very objects that the kit has.
 *
 *   layouts check          are the tables sound? Says what is wrong, exit status 1
 *   layouts ld NAME        ld's options: where the image's parts go
 *   layouts areas NAME     "lo hi name" lines, for gdb
 *   layouts docs           docs/layouts.md
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "layout.h"

static int wrong;

static void complain(const struct layout *l, const struct area *a, const char *what)
{
	fprintf(stderr, "layout %s: %s: %s\n", l->name, a ? a->name : "", what);
	wrong = 1;
}

static int canonical(va_t lo, va_t hi) { return hi <= 1ul << 47 || (lo >= -(1ul << 47) && hi <= FH_KERNEL_BASE); }

static int end_of(const struct layout *l)
{
	int n = 0;

	while (n < (int)LAYOUT_AREAS && l->area[n].kind != AREA_END)
		n++;
	return n;
}

static void check(const struct layout *l)
{
	static const uint8_t needed[] = {AREA_TEXT, AREA_RODATA, AREA_DATA, AREA_HEAP, AREA_MMAP, AREA_STACK};
	int n = end_of(l);
	va_t top = 0;

	if (n == LAYOUT_AREAS)
		complain(l, NULL, "more areas than LAYOUT_AREAS");
	if (strlen(l->name) >= sizeof(((struct layout_note *)0)->name))
		complain(l, NULL, "the name is too long for a note");
	for (unsigned k = 0; k < sizeof(needed); k++) {
		int found = 0;
		for (int i = 0; i < n; i++)
			found += l->area[i].kind == needed[k];
		if (!found)
			fprintf(stderr, "layout %s: no area of kind %d\n", l->name, needed[k]), wrong = 1;
	}
	for (int i = 0; i < n; i++) {
		const struct area *a = &l->area[i];
		if ((a->lo | a->hi) % FH_PAGE)
			complain(l, a, "not whole pages");
		if (a->after ? a->lo != 0 || i == 0 : a->hi && a->lo >= a->hi)
			complain(l, a, a->after ? "`after` and an address" : "empty");
		if (!a->after && a->lo < top)
			complain(l, a, "overlaps the one before, or is out of order");
		if (a->kind == AREA_KERNEL)
			; /* nothing is there: it may lie where nothing can */
		else if (!canonical(a->lo, a->hi ? a->hi : a->lo + 1) && !(a->after && canonical(a->hi - 1, a->hi)))
			complain(l, a, "not canonical, or in PML4[511]");
		else if (a->lo < WINDOW_END && a->hi > KIT_LO && !a->after)
			complain(l, a, "in the kit's slots 508 and 509");
		if (a->after && a->hi && a->hi < top)
			complain(l, a, "ends before the one before begins");
		top = a->hi ? a->hi : a->after ? top : a->lo + FH_PAGE;
	}
	if (n && !l->area[n - 1].hi)
		complain(l, &l->area[n - 1], "no end");
}

/* ---- ld ---- */

static void ld(const struct layout *l)
{
	static const struct { uint8_t kind; const char *symbol; } parts[] = {
	    {AREA_TEXT, "text"}, {AREA_RODATA, "rodata"}, {AREA_DATA, "data"}, {AREA_BSS, "bss"}};

	for (unsigned k = 0; k < 4; k++) {
		va_t base = 0;
		for (int i = 0; i < end_of(l); i++)
			if (l->area[i].kind == parts[k].kind)
				base = l->area[i].lo;
		printf("--defsym=__%s_base=%#lx\n", parts[k].symbol, base);
	}
}

static void areas(const struct layout *l)
{
	for (int i = 0; i < end_of(l); i++) {
		const struct area *a = &l->area[i];
		int last = i; /* of those that share its room */
		while (!l->area[last].hi || (last + 1 < end_of(l) && l->area[last + 1].after))
			last++;
		if (!a->after && a->kind != AREA_GUARD)
			printf(last > i ? "%#lx %#lx %s to %s\n" : "%#lx %#lx %s\n", a->lo, l->area[last].hi, a->name, l->area[last].name);
	}
}

/* ---- The picture, and the page ---- */

static const char *address(va_t va)
{
	static char text[4][20];
	static int turn;
	char *t = text[turn++ % 4];

	sprintf(t, "%08lx_%08lx", va >> 32, va & 0xffffffff);
	return t;
}

static const char *kind_text(const struct area *a)
{
	switch (a->kind) {
	case AREA_GUARD: return "guard: nothing is ever mapped here";
	case AREA_ALIAS: return "alias of frames";
	case AREA_WINDOW: return "page tables";
	case AREA_KERNEL: return "the original's kernel; here nothing";
	default: return a->grow == REGION_GROW_UP ? "grows upward" : a->grow == REGION_GROW_DOWN ? "grows downward" : "";
	}
}

static void border(va_t va) { printf("    %s +------------------------------------------------------------+\n", address(va)); }

/* Words of a remark, in lines as wide as the box. */
static void remark(const char *text)
{
	while (*text) {
		size_t n = strlen(text), cut = n;
		if (n > 57)
			for (cut = 57; cut > 0 && text[cut] != ' '; cut--)
				;
		cut = cut ? cut : n;
		printf("    %17s |   %-57.*s|\n", "", (int)cut, text);
		text += cut + (text[cut] == ' ');
	}
}

static void picture(const struct layout *l)
{
	va_t above = 0;

	for (int i = end_of(l) - 1; i >= 0; i--) {
		const struct area *a = &l->area[i];
		char guard[40] = "";
		if (a->hi && a->hi != above) {
			if (above)
				printf("    %17s :%60s:\n", "", "");
			border(a->hi);
		}
		if (a->guard)
			sprintf(guard, ", %u guard page%s", a->guard, a->guard > 1 ? "s" : "");
		printf("    %17s | %-12s %c%c%c  %-41s|\n", "", a->name, a->rights & RIGHT_R ? 'r' : '-', a->rights & RIGHT_W ? 'w' : '-',
		       a->rights & RIGHT_X ? 'x' : '-', "");
		if (*kind_text(a) || *guard)
			remark(strcat(strcpy((char[128]){0}, kind_text(a)), guard));
		if (a->meets)
			remark(a->meets);
		if (a->after)
			printf("    %17s + - - the page after %-40s+\n", "", l->area[i - 1].name);
		else
			border(a->lo);
		above = a->after ? above : a->lo;
	}
}

static int example(const char *path)
{
	FILE *f = fopen(path, "r");
	char line[256];

	if (!f)
		return perror(path), 1;
	printf("```c\n");
	while (fgets(line, sizeof(line), f))
		fputs(line, stdout);
	printf("```\n");
	return fclose(f) != 0;
}

/* Run in the tree's top directory: the example is read there. */
static int docs(void)
{
	printf("# The layouts\n\nMade by `make docs` from the tables in `src/libos/layout`; do not edit. A layout is one table, and "
	       "the linker, the loader, the program itself, `maps`, gdb and this page read the same. `run layout NAME` in the shell runs "
	       "a program that lives in one, `demo layouts` all of them; `make test-layouts` tests them. The kernel knows none of this: it "
	       "sees page-table entries.\n\n| layout | |\n| --- | --- |\n");
	for (const struct layout *const *p = layouts; *p; p++)
		printf("| [%s](#%s) | %s |\n", (*p)->name, (*p)->name, (*p)->title);
	printf("\nA *seed* is the document that a layout was taken from, by its file name (it isn't in this tree): where it had to be read with "
	       "care is below the picture.\n\n"
	       "Pictures are drawn from the top address down. A box is what an area may use, with the rights of its pages, not what it has; a "
	       "colon is a gap; an edge of dashes is where only the program knows. The kit's own areas (src/libos/plan.h) are in PML4 "
	       "slots 508 and 509 in all of them, the kernel in 511.\n\n## A layout of your own\n\n"
	       "1. `src/libos/layout/NAME.c`: the table. All of `src/libos/layout/flat.c`, for one:\n\n");
	if (example("src/libos/layout/flat.c"))
		return 1;
	printf("\n2. `X(NAME)` in `src/libos/layout/list.h`. From now on `make test` fails, in `test/static/layouts.sh`, until "
	       "`test/layout/NAME.c` of step 4 is there and `make docs` has drawn the table here.\n3. `user/layout/NAME.c`: a program that lives in it, "
	       "`void layout_work(void)`, with something in each area but a heap or a room for mappings: `test/boot/layouts.py` looks at its maps. `make run CMD='run layout NAME; halt'`; a table that can't be is refused by `make`, in words.\n"
	       "4. `test/layout/NAME.c`: what must hold, in numbered lines; `make test-layouts`. `make docs` draws its picture here.\n\n"
	       "[`layout.h`](../src/libos/layout.h) says what the words of a table mean. A rule that a table can't say is a function: "
	       "`arrange` (the parent moves areas), `stack` (what is on the first one), `start` (what is mapped before main), `choose` "
	       "(where mappings go), and the fault functions of regions that `start` adds. generations.c below is the next step after flat.c. "
	       "`test/static/newlayout.sh` goes these steps in a copy of the tree.\n");
	for (const struct layout *const *p = layouts; *p; p++) {
		const struct layout *l = *p;
		printf("\n## %s\n\n%c%s. ", l->name, toupper(*l->title), l->title + 1);
		if (l->seed)
			printf("From `%.*s`%s. ", (int)strcspn(l->seed, ","), l->seed, l->seed + strcspn(l->seed, ","));
		printf("Table: [`src/libos/layout/%s.c`](../src/libos/layout/%s.c).\n\n", l->name, l->name);
		picture(l);
		printf("\n%s\n", l->teaches);
		if (l->said)
			printf("\nWhat the seed said, and how it was settled: %s\n", l->said);
		for (int i = 0, any = 0; i < end_of(l); i++)
			if (l->area[i].note) /* moved, or unlike the seed */
				printf("%s- `%s`: %s\n", any++ ? "" : "\n", l->area[i].name, l->area[i].note);
		if (l->untested)
			printf("\nNot tested in test/layout/%s.c:\n\n%s\n", l->name, l->untested);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct layout *const *p = layouts;

	if (argc == 2 && strcmp(argv[1], "check") == 0) {
		for (; *p; p++)
			check(*p);
		return wrong;
	}
	if (argc == 2 && strcmp(argv[1], "docs") == 0)
		return docs();
	while (argc == 3 && *p && strcmp((*p)->name, argv[2]) != 0)
		p++;
	if (argc == 3 && *p && strcmp(argv[1], "ld") == 0)
		ld(*p);
	else if (argc == 3 && *p && strcmp(argv[1], "areas") == 0)
		areas(*p);
	else
		return fprintf(stderr, "usage: layouts check|docs, layouts ld|areas NAME\n"), 2;
	return 0;
}
