/* lab2.h - assignment 2: your first page table. What you write, in user/lab2/pagetable.c; docs/lab/2-page-table.md tells the
 * story. Only system calls (syscall.h), the ownership table (frames.h) and batch_area (batch.h): nothing of space.h. */
#pragma once

#include "kit.h"

/* A PT4 that is ours and empty, but for slot FH_WINDOW_SLOT, where it names itself (read-only, NX). 0: no frame. */
pfn_t pt_new(void);

/*
 * All others are about the address space that the caller runs on; its tables are read in the recursive window, which a PT4
 * from pt_new has at WINDOW_VA. Errors are negative (-FH_EEXIST, ...). `bits` are any of FH_W and FH_NX.
 */

/* The entry that maps va, and in *level whether it is a 4 KiB page (1) or a 2 MiB page (2). 0: nothing is mapped there. */
pte_t pt_entry(va_t va, unsigned *level);
/* The physical address behind va. */
#define PT_NOWHERE (~0ul)
uint64_t pt_translate(va_t va);

/* Map frame pfn at va, a 4 KiB page; tables that are missing are made. -FH_EEXIST: something is mapped there, a 2 MiB page
 * too. -FH_EINVAL: va is not a multiple of 4 KiB. 0: done. */
int pt_map(va_t va, pfn_t pfn, pte_t bits);
/* The same for 512 frames from pfn on, as one 2 MiB page. -FH_EEXIST: also when there is a page table for smaller pages. */
int pt_map_large(va_t va, pfn_t pfn, pte_t bits);
/* The page at va, of either size, has these bits from now on: on return nobody can do what they don't allow. -FH_ENOENT:
 * there is none. */
int pt_protect(va_t va, pte_t bits);
/* Unmap the page at va, of either size, and free its frames; on return nobody can reach it. -FH_ENOENT: there is none. */
int pt_unmap(va_t va);
/* Free the tables on va's way that hold nothing: its PT1, then its PT2, then its PT3. Returns how many. */
int pt_trim(va_t va);

/* Map n frames from pfn on at va, 4 KiB pages, with few system calls: one operation for each PT1, in a batch. -FH_EEXIST:
 * something is mapped in the range; then nothing is changed (but tables may have been made). */
int pt_map_run(va_t va, pfn_t pfn, size_t n, pte_t bits);
