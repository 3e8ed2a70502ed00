/* startup.h - between the kit's own files. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* In a fork's child: no other thread holds the console. */
void console_reset(void);
/* Map what the running env may read of itself: THREAD, ENV, CPU frames. Also for a fork's child, whose are others. */
void startup_views(void);
/* Add the region of the modules, which are mapped. */
void startup_bootfs(void);
/* First word of path without directory and ".elf", into buffer; returns buffer. */
const char *startup_name(const char *path, char *buffer, size_t n);
/* Is this upcall a part of entering or leaving another space (enter.h)? Then the context is where to go on. */
struct fh_context;
bool enter_upcall(struct fh_context *);
