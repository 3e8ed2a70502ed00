/* elf_kit.h - between elf.c, which sees the kernel's headers, and elf_kit.c, which sees the kit's. */
#pragma once
#include "fuzz.h"

/* The kit's spawn of a file that may be anything, with arguments that a number tells. */
void spawn_kit(const uint8_t *file, size_t n, uint32_t arguments);
