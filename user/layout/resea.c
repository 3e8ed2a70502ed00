/* resea.c - a vm server with three tasks from its bootfs: two that share memory and a message, and one that goes astray. */
#include <stdio.h>
#include <string.h>

#include "resea.h"
#include "work.h"

void layout_work(void)
{
	size_t bytes = 0;
	const void *probe = bootfs_file("probe", &bytes);

	check(probe && strcmp((const char *)RESEA_CMDLINE_VA, "resea") >= 0, "the bootfs has a program of %lu bytes; our command line: %s", bytes,
	      (const char *)RESEA_CMDLINE_VA);
	/* The first makes a shared page, puts 2a into it, and mails 100 bytes of its stack; the second waits for them. */
	int reader = resea_start("reader", probe, bytes, "! 4200ff0 64 = 64 r 4200ff0 = 2a m 1 r 10000000 = 2a");
	int writer = resea_start("writer", probe, bytes, "c 1000 = 1 m 1 w 10000000 2a w 41fff00 2a > 0 41fff00 64 = 0");
	int stray = resea_start("stray", probe, bytes, "w 41ffff8 1 r 3fff000");
	if (!check(reader == 0 && writer == 1 && stray == 2, "three tasks of it are started"))
		return;
	resea_serve(-1);
	check(resea_task[0].state == RESEA_EXITED && resea_task[0].status == 0x2a && resea_task[1].state == RESEA_EXITED,
	      "one shared memory and a message with the other; %lu and %lu page faults answered", resea_task[0].faults, resea_task[1].faults);
	check(resea_task[2].state == RESEA_KILLED && resea_task[2].address == 0x3fff000, "the third touched %#lx, and is gone: %s",
	      resea_task[2].address, resea_task[2].why);
}
