/*
 * memory.h - at boot: where the kernel's own memory lies, its page tables, the ownership table's first contents.
 */
#pragma once
#include "multiboot.h"

extern struct boot_info boot;

/* Is the word on the kernel's command line? Debug builds only: bugs on purpose, for the tests of the reports. */
#ifdef DEBUG
bool boot_option(const char *word);
#else
static inline bool boot_option(const char *word) { (void)word; return false; }
#endif

/* `bytes` of RAM (whole pages, aligned), zeroed by nobody: below USER_START if they fit, else as high as possible. */
uint64_t boot_alloc(uint64_t bytes, uint64_t align, uint64_t limit, const char *what);
/* Map in the kernel half; large pages where they fit. `flags` beside P. */
void kernel_map(va_t va, uint64_t at, uint64_t bytes, pte_t flags);
/* Find room for the table, build the kernel's page tables, load them. */
void memory_init(void);
/* The area of one more CPU. */
void memory_map_cpu(unsigned id);
/* Type every frame; what is not the kernel's becomes FREE. Returns how many are. */
uint64_t memory_fill_table(void);
/* What boot_alloc gave must not become FREE: made TABLE (readable by all) instead of KERNEL. */
void memory_publish(pfn_t first, uint64_t n);
