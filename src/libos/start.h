/*
 * start.h - the beginning and the end of a program, what the kernel told root, and the modules.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "abi.h"

extern const struct fh_info *info; /* the info page */

/* End the program: the first thread's status is the env's. root halts the machine. Low 8 bits of status. */
_Noreturn void exit(int status);
/* Print "program: message" and exit with status 134. */
_Noreturn void panic(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* argc, argv[], NULL, envp[], NULL, auxv[] as the program found them on its stack (System V ABI, 3.4.1). root has none. */
extern const uint64_t *program_stack;
/* argv[0] without directory and ".elf". */
extern const char *program_name;

/* A module as mapped at BOOTFS_VA. */
struct module {
	const void *data;
	size_t bytes;
	const char *command; /* its command line */
	char name[32];       /* first word of it, without directory and ".elf" */
};
/* Module i (0 is root itself). 0, or -ENOENT: no such module, or modules are not mapped in this program. */
int module_get(unsigned i, struct module *);
/* The module with that name. */
int module_named(const char *name, struct module *);
/* root only: map all modules. */
int module_map_all(void);
/* Value of "key=value" in the kernel command line into buffer; false: not there. */
int boot_option(const char *key, char *buffer, size_t n);
/* Seconds since 1970-01-01 UTC. */
uint64_t clock_seconds(void);
