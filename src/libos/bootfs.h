/*
 * bootfs.h - files inside a program: those of user/bootfs/NAME, for programs that live in the layout NAME (GNUmakefile,
 * "bootfs"), as an archive.
 */
#pragma once

#include <stddef.h>

/* The file `name` and its length, at a multiple of 512; NULL: there is none. */
const void *bootfs_file(const char *name, size_t *bytes);
