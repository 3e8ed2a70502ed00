/* layout.c - the list of layouts, and where the areas of this program's are. */
#include "layout.h"

#include <string.h>

const struct layout *const layouts[] = {
#define X(name) &layout_##name,
#include "layout/list.h"
#undef X
    NULL,
};

struct places layout_here;
const char *layout_mmap_name;
struct extent layout_heap, layout_mmap, layout_stack, layout_stacks;

va_t (*layout_choose)(struct space *, uint64_t bytes, uint64_t align);

/* user.ld */
extern const char __image_start[], __text_end[], __rodata_start[], __rodata_end[], __data_start[], __data_end[], __bss_start[],
    __image_end[];

const struct layout *layout_find(const char *name)
{
	for (const struct layout *const *l = layouts; *l; l++)
		if (strcmp((*l)->name, name) == 0)
			return *l;
	return NULL;
}

unsigned layout_index(const struct layout *l, enum area_kind kind)
{
	unsigned i = 0;

	while (l->area[i].kind != AREA_END && l->area[i].kind != kind)
		i++;
	return i;
}

struct extent layout_named(const char *name)
{
	for (unsigned i = 0; program_layout->area[i].kind != AREA_END; i++)
		if (strcmp(program_layout->area[i].name, name) == 0)
			return layout_here.area[i];
	return (struct extent){0, 0};
}

va_t layout_limit(const struct layout *l, const struct places *p, unsigned i)
{
	while (l->area[i].kind != AREA_END && !p->area[i].hi)
		i++;
	return p->area[i].hi;
}

int layout_arrange(const struct layout *l, uint64_t seed, uint64_t stack_limit, struct places *p)
{
	*p = (struct places){.seed = seed, .stack_limit = stack_limit};
	for (unsigned i = 0; l->area[i].kind != AREA_END; i++)
		p->area[i] = (struct extent){l->area[i].lo, l->area[i].hi};
	return l->arrange ? l->arrange(l, p) : 0;
}

/* What is where the linker put it. */
static void image(enum area_kind kind, const char *lo, const char *hi)
{
	layout_here.area[layout_index(program_layout, kind)] = (struct extent){(va_t)lo, (va_t)hi};
}

static va_t lowest(struct space *s, uint64_t bytes, uint64_t align)
{
	return region_gap_up(s, layout_mmap.lo, layout_mmap.hi, bytes, align);
}

void layout_begin(const struct places *given)
{
	const struct layout *l = program_layout;
	struct extent *at = layout_here.area;

	if (given)
		layout_here = *given;
	else
		layout_arrange(l, 0, 0, &layout_here);
	image(AREA_TEXT, __image_start, __text_end);
	image(AREA_RODATA, __rodata_start, __rodata_end);
	image(AREA_DATA, __data_start, __data_end);
	image(AREA_BSS, __bss_start, __image_end);
	unsigned heap = layout_index(l, AREA_HEAP), mmap = layout_index(l, AREA_MMAP), stack = layout_index(l, AREA_STACK);
	if (l->area[heap].after && !at[heap].lo)
		at[heap].lo = at[heap - 1].hi + layout_here.heap_gap;
	layout_heap = (struct extent){at[heap].lo, layout_limit(l, &layout_here, heap)};
	if (l->area[mmap].after && !at[mmap].lo)
		at[mmap].lo = at[heap].lo;
	layout_mmap = at[mmap];
	layout_mmap_name = l->area[mmap].name;
	layout_choose = l->choose ? l->choose : l->area[mmap].grow == REGION_GROW_UP ? lowest : NULL;
	layout_stack = layout_stacks = at[stack];
	if (l->area[stack].bytes)
		layout_stack.lo = layout_stack.hi - l->area[stack].bytes;
	else
		layout_stacks = layout_mmap;
}
