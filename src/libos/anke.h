/*
 * anke.h - the rules that only the layout anke has (layout/anke.c): one env, two address spaces. In K, where this program
 * runs, all its memory is in a direct map and there is no user half; in U there is a user half, and heap and image at the
 * same addresses as in K, by one shared table. Functions return 0 or -errno.
 */
#pragma once

#include "enter.h"
#include "space.h"

/* ---- What the boot loader hands over ---- */
struct anke_boot {
	struct anke_memory {
		uint64_t base, bytes; /* physical */
	} memory[8];             /* what this machine's memory is; ends with bytes 0 */
	va_t hhdm;               /* offset of the direct map */
	uint64_t kernel_pa;      /* physical address of the image's first page; the others are anywhere */
	va_t kernel_va;
};
extern struct anke_boot anke_boot;
/* What is missing, in words; NULL: nothing. */
const char *anke_boot_check(const struct anke_boot *);
/* Stop with the message unless all is there. start() has called it before main. */
void anke_boot_take(const struct anke_boot *);

/* ---- K ---- */
/* Where the byte at physical address pa is; readable if the frame is this env's, writable if it is DATA. A frame that has
 * been touched there stays ours until hhdm_forget, also if it is unmapped everywhere else. */
static inline void *hhdm(uint64_t pa) { return (void *)(anke_boot.hhdm + pa); }
int hhdm_forget(uint64_t pa);
/* Map `bytes` of a device from physical address pa on, uncached, in the MMIO area. The address; -EINVAL; -EPERM: no DEVICE
 * frame of ours; -ENOMEM. Device frames come from the parent (root's are the VGA's, 0xa0000 to 0xbffff): taken at the start. */
int64_t anke_mmio(uint64_t pa, uint64_t bytes);

/* ---- U ---- */
struct anke_user {
	struct space space;
};
/* A user context: nothing in its user half; heap and image as in K, but not writable there. */
int anke_user_new(struct anke_user *);
/* n pages of zeroed memory at va in its user half. -EINVAL: not in it; -ENOMEM. */
int anke_user_map(struct anke_user *, va_t va, size_t n, unsigned rights);
/* Run its code until a fault or a system call. */
int anke_user_run(struct anke_user *, struct entry *e);
/* Where n bytes of its memory are in K; NULL: not mapped, or not in one page. What a system call reads its arguments by. */
void *anke_user_at(struct anke_user *, va_t va, size_t n);
int anke_user_free(struct anke_user *);
