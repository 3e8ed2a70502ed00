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

/* Find room for the table, build the kernel's page tables, load them. */
void memory_init(void);
/* The area of one more CPU. */
void memory_map_cpu(unsigned id);
/* Type every frame; what is not the kernel's becomes FREE. Returns how many are. */
uint64_t memory_fill_table(void);
/* Make n frames of the kernel's own TABLE frames, readable by all. */
void memory_publish(pfn_t first, uint64_t n);
