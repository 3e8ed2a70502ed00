/*
 * meta.h - memory for the kit's own records (regions, threads, children). Its pages are mapped when they are handed
 * out, so touching a record never faults: the fault handler itself reads them.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Zeroed, 64-byte aligned; n up to 1 GiB. Rounded up to a power of two. NULL: no frames. */
void *meta_alloc(size_t n);
/* n as it was asked for. */
void meta_free(void *p, size_t n);
/* Nobody allocates while it is held: a fork copies records that are whole. */
void meta_lock(void);
void meta_unlock(void);
void meta_reset(void); /* in the fork's child: nobody holds it */
/* First address of the kit's area that was never handed out: all below it is mapped (fork copies it). */
uint64_t meta_end(void);
