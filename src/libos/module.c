/*
 * module.c - the boot modules: root maps them all, read-only, from BOOTFS_VA on, each on pages of its own; a child that
 * was given them (spawn_options.bootfs) finds them at the same addresses.
 */
#include <errno.h>
#include <string.h>

#include "region.h"
#include "start.h"
#include "startup.h"

static uint64_t pages_of(unsigned i) { return page_up(info->module[i].bytes) / FH_PAGE; }

static va_t address_of(unsigned i)
{
	va_t va = BOOTFS_VA;

	for (unsigned k = 0; k < i; k++)
		va += pages_of(k) * FH_PAGE;
	return va;
}

int module_get(unsigned i, struct module *m)
{
	if (i >= info->nmodules || !(space_get(space_current(), address_of(i)) & FH_P))
		return -ENOENT;
	m->data = (const void *)address_of(i);
	m->bytes = info->module[i].bytes;
	m->command = info->strings + info->module[i].command;
	startup_name(m->command, m->name, sizeof(m->name));
	return 0;
}

int module_named(const char *name, struct module *m)
{
	for (unsigned i = 0; i < info->nmodules; i++)
		if (module_get(i, m) == 0 && strcmp(m->name, name) == 0)
			return 0;
	return -ENOENT;
}

void startup_bootfs(void)
{
	struct region r = {
	    .base = BOOTFS_VA,
	    .end = address_of(info->nmodules),
	    .rights = RIGHT_R,
	    .fork = REGION_SKIP,
	    .fault = fault_guard,
	    .name = "[bootfs]",
	};
	region_add(&space_main, &r);
}

int module_map_all(void)
{
	for (unsigned i = 0; i < info->nmodules; i++) {
		int r = space_map(&space_main, address_of(i), info->module[i].pfn, pages_of(i), RIGHT_R);
		if (r < 0)
			return r;
	}
	space_lock(&space_main);
	startup_bootfs();
	space_unlock(&space_main);
	return 0;
}

int boot_option(const char *key, char *buffer, size_t n)
{
	const char *p = info->strings + info->command;
	size_t len = strlen(key);

	while (*p) {
		p += strspn(p, " ");
		size_t word = strcspn(p, " ");
		if (word > len && memcmp(p, key, len) == 0 && p[len] == '=') {
			size_t value = word - len - 1 < n - 1 ? word - len - 1 : n - 1;
			memcpy(buffer, p + len + 1, value);
			buffer[value] = '\0';
			return 1;
		}
		p += word;
	}
	return 0;
}
