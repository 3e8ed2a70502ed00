/*
 * main.c - runs the test programs of all layouts, which are the other modules, one after another: one machine for them all.
 * Each goes on with the TAP lines and exits with the number of those it added.
 */
#include <stdio.h>

#include "kit.h"
#include "tap.h"

#define LINES_MAX 100 /* of one layout; a status above says how the program died */

static uint64_t books(void) { return frame_count_free() + (meta_end() - META_VA) / FH_PAGE; }

static void run(const struct module *m, const char *first)
{
	char count[12], *argv[] = {(char *)m->name, count, NULL};
	struct env *e = NULL;

	snprintf(count, sizeof(count), "%s", first);
	uint64_t before = books();
	int r = spawn(&e, m->data, m->bytes, argv, &(struct spawn_options){.devices = true});
	if (!returns(r, 0, "%s: a program in this layout starts", m->name))
		return;
	enum env_state state = env_wait(e);
	int status = env_status(e);
	if (state == ENV_FAULTED)
		env_report(e);
	bool good = state == ENV_EXITED && status > 0 && status <= LINES_MAX;
	if (good)
		tap_continue(tap_count() + (unsigned)status);
	ok(good, "%s: it runs to its end", m->name);
	r = env_reap(&e, NULL);
	space_trim(space_current(), layout_mmap.lo, layout_stack.lo);
	ok(r == 0 && books() == before, "%s: killing it gives every frame back", m->name);
}

int main(void)
{
	struct module m;
	char next[12];

	devices_take();
	tap_begin();
	for (unsigned i = 1; module_get(i, &m) == 0; i++) {
		snprintf(next, sizeof(next), "%u", tap_count() + 1); /* after "starts" */
		if (__builtin_strcmp(m.name, program_name) != 0)
			run(&m, next);
	}
	return tap_end();
}
