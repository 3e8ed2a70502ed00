/* spawn.c - a child env from a program in memory, laid out by the table of the layout that the program names. */
#include "spawn.h"

#include <errno.h>
#include <string.h>

#include "console.h"
#include "meta.h"
#include "share.h"
#include "start.h"
#include "startup.h"

#define STACK_PAGES 4u /* mapped before it starts; start.c must not fault */

static size_t count(char *const *v)
{
	size_t n = 0;

	while (v && v[n])
		n++;
	return n;
}

/*
 * Lay out the stack's highest page, which will lie at `base`: argc, argv, NULL, envp, NULL, auxv's end; strings; the places
 * on top. Returns rsp, or 0: too long.
 */
static va_t arguments(char *page, va_t base, const struct program *p)
{
	uint64_t *words = (uint64_t *)page;
	size_t argc = count(p->argv), envc = count(p->envp), text = 0, top = FH_PAGE - sizeof(p->places);

	for (size_t i = 0; i < argc + envc; i++)
		text += strlen(i < argc ? p->argv[i] : p->envp[i - argc]) + 1;
	size_t vector = (argc + envc + 5) * sizeof(uint64_t); /* argc, argv, NULL, envp, NULL, AT_NULL, 0 */
	if (text > FH_PAGE / 2 || vector > FH_PAGE / 2 - 16 - sizeof(p->places))
		return 0;
	memcpy(page + top, &p->places, sizeof(p->places));
	size_t at = (top - text - vector) & ~15ul, w = at / sizeof(uint64_t);
	words[w++] = argc;
	for (size_t i = 0; i < argc + envc; i++) {
		const char *s = i < argc ? p->argv[i] : p->envp[i - argc];
		size_t n = strlen(s) + 1;
		top -= n;
		memcpy(page + top, s, n);
		words[w++] = base + top;
		if (i + 1 == argc)
			w++; /* NULL */
	}
	return base + at;
}

int spawn_stack(struct child *c, const struct program *p, struct fh_regs *regs)
{
	const struct layout *l = p->image.layout;
	unsigned i = layout_index(l, AREA_STACK);
	va_t top = p->places.area[i].hi, last = top - FH_PAGE;
	unsigned rights = l->area[i].rights;
	char *page = meta_alloc(FH_PAGE);
	int r = -ENOMEM;

	if (page) {
		regs->rsp = arguments(page, last, p);
		regs->rsi = top - sizeof(p->places);
		r = regs->rsp ? child_place(&c->space, last, 1, rights, page, FH_PAGE, 0) : -E2BIG;
		meta_free(page, FH_PAGE);
	}
	if (r == 0)
		r = child_place(&c->space, top - STACK_PAGES * FH_PAGE, STACK_PAGES - 1, rights, NULL, 0, 0);
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
	char title[ENV_TITLE];
	struct program p = {.argv = argv};
	struct child c;
	int r;

	o = o ? o : &defaults;
	p.envp = o->envp;
	startup_name(argv[0] ? argv[0] : "?", title, sizeof(title));
	const char *wrong = image_open(&p.image, elf, bytes, o->layout);
	if (!wrong && (r = layout_arrange(p.image.layout, o->seed, o->stack_limit, &p.places)) < 0)
		return r;
	if (!wrong)
		wrong = image_fits(&p.image, &p.places);
	if (wrong) {
		printf("spawn %s: %s\n", title, wrong);
		return -ENOEXEC;
	}
	struct fh_regs regs = {.rip = p.image.entry, .rdi = info->info_va};
	int (*stack)(struct child *, const struct program *, struct fh_regs *) = p.image.layout->stack;
	if ((r = child_new(&c, title, o->quota, o->frames ? o->frames : space_current()->frames, false)) < 0)
		return r;
	c.env->layout = p.image.layout;
	if ((r = image_load(&p.image, &p.places, &c)) < 0 || (r = (stack ? stack : spawn_stack)(&c, &p, &regs)) < 0 ||
	    (r = child_place(&c.space, info->batch_va, 1, RIGHT_R | RIGHT_W, NULL, 0, 0)) < 0 ||
	    (r = child_place(&c.space, info->upcall_va, 1, RIGHT_R | RIGHT_W, NULL, 0, 0)) < 0 ||
	    (o->bootfs && (r = map_modules(&c.space)) < 0))
		return child_abandon(&c, r);
	if (o->devices)
		devices_give(c.env->name);
	if ((r = child_start(&c, &regs, 0, o->slots, o->stopped)) < 0)
		return child_abandon(&c, r);
	*child = c.env;
	return 0;
}
