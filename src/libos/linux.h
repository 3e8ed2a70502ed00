/*
 * linux.h - the rules that only the layout linux has (layout/linux.c), for programs that live in it.
 */
#pragma once

#include <stdint.h>

#define LINUX_TASK_SIZE 0x7ffffffff000ul  /* one page less than the lower half: nothing is mapped at or above it */
#define LINUX_MMAP_MIN 0x10000ul          /* vm.mmap_min_addr: nor below this */
#define LINUX_PIE_BASE 0x555555554000ul   /* two thirds of TASK_SIZE: an ET_DYN's first page, without randomisation */
#define LINUX_STACK_LIMIT (8ul << 20)     /* RLIMIT_STACK, bytes, unless the parent says otherwise */
#define LINUX_STACK_GUARD 256u            /* pages between the stack and what is accessible below it */
#define LINUX_RND_PAGES (1ul << 28)       /* the mmap base and an ET_DYN come this many pages lower or higher, less 1, at most */
#define LINUX_STACK_RND_PAGES (1ul << 22) /* 16 GiB */
#define LINUX_HEAP_RND_PAGES (1ul << 18)  /* 1 GiB */
#define LINUX_SP_RND 8192ul               /* bytes */
#define LINUX_STRING_MOST (32ul << 12)    /* MAX_ARG_STRLEN: an argument, with its NUL */

/* RLIMIT_STACK of this program: how far the first stack grows from now on. Where mappings go stays as it is. */
uint64_t linux_stack_limit(void);
void linux_stack_limit_set(uint64_t bytes);
