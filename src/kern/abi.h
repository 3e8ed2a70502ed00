/*
 * abi.h - all that the kernel and user code share: the ownership table, the system calls, page-table operations, the
 * frames with a public layout. User code sees no other kernel header.
 *
 * Units: a pfn is a physical frame number (physical address / 4096). Addresses are bytes. Times are TSC ticks. The
 * clock is the kernel's TLB clock: it has no unit, it only advances.
 */
#pragma once
#include <stdint.h>

#define FH_VERSION 1u
#define FH_PAGE 4096ul
#define FH_LARGE_FRAMES 512ul /* frames in a 2 MiB page */

/*
 * Address space of every env (PML4 slots of 512 GiB):
 *
 *   ffffffff_ffffffff +--------------------------------------+        user  kernel
 *                     | slot 511: the kernel, the same        |         --    (src/kern/layout.h
 *   ffffff80_00000000 | in every address space               |               draws the inside)
 *                     +--------------------------------------+
 *                     | slot 510                             |        libOS
 *   ffffff00_00000000 +--------------------------------------+
 *                     | slot 509: root's recursive window    |         r-    rw (by the direct map)
 *   fffffe80_00000000 | (its tables, read-only; see info)    |
 *                     +--------------------------------------+
 *                     | slots 256-508; in root's 508 are the |        libOS
 *                     | pages that info names                |
 *   ffff8000_00000000 +--------------------------------------+
 *                     :        non-canonical                 :
 *   00007fff_ffffffff +--------------------------------------+
 *                     | slots 0-255                          |        libOS
 *   00000000_00000000 +--------------------------------------+
 */
#define FH_KERNEL_SLOT 511u
#define FH_KERNEL_BASE 0xffffff8000000000ul

/* ---- Errors ---------------------------------------------------------------------------------------------------- */

/* One number for each class of refusal, with Linux's values. A call returns -E... and has changed nothing. */
#define FH_ERRORS(X)                                                                                                   \
	X(EPERM, 1, "no authority over the frame, env, thread or CPU named")                                           \
	X(ENOENT, 2, "the slot holds no present entry")                                                                \
	X(ESRCH, 3, "no such env or thread: wrong type, or another serial")                                            \
	X(EINTR, 4, "an upcall came first")                                                                            \
	X(EAGAIN, 11, "not quiet yet and the slice's flushes are spent, or no upcall slot: try again")                 \
	X(EACCES, 13, "more rights than this frame or link may have")                                                  \
	X(EBUSY, 16, "claimed by another CPU, not of the type asked for, still referenced, or still running")          \
	X(EEXIST, 17, "the slot already holds a present entry")                                                        \
	X(EINVAL, 22, "malformed: a number out of range, a reserved bit, an address that is no user address")         \
	X(ENOSPC, 28, "a counter is at its limit: references, depth of envs, serials")                                 \
	X(ENOSYS, 38, "no such system call")                                                                           \
	X(ENOTEMPTY, 39, "the table has present entries, the env still owns frames")                                   \
	X(EDQUOT, 122, "the env's quota is used up")                                                                   \
	X(ECANCELED, 125, "the env is frozen or dead")

#define FH_X(name, number, text) FH_##name = number,
enum fh_error { FH_ERRORS(FH_X) };
#undef FH_X

/* ---- The ownership table ---------------------------------------------------------------------------------------- */

/*
 * One record for each frame, readable by every env that maps the TABLE frames. Records change under the reader's
 * eyes: what is read is a hint, the system call checks.
 *
 *   state   type 0-3 | lock 4 | refs 8-31 | owner 32-58 (pfn of an ENV frame; 0: nobody)
 *   link    count of present entries 0-9 (tables) | index 16-24, parent pfn 32-58 (table linked by a foreign owner)
 *   tenant  name of the env the frame is granted to; in a FREE record the last owner's name
 *   stamp   clock when the frame last lost or narrowed a mapping 0-47 | ticket lock 48-55 next, 56-63 serving
 */
struct fh_frame {
	uint64_t state, link, tenant, stamp;
};

#define FH_TYPES(X)                                                                                                    \
	X(KERNEL, 0, "the kernel's, or no RAM")                                                                        \
	X(FREE, 1, "nobody's: anyone with quota may claim it")                                                         \
	X(DATA, 2, "memory")                                                                                           \
	X(PT1, 3, "page table, 4 KiB leaves")                                                                          \
	X(PT2, 4, "page directory: PT1s and 2 MiB leaves")                                                             \
	X(PT3, 5, "page-directory-pointer table")                                                                      \
	X(PT4, 6, "PML4: the root of an address space")                                                                \
	X(ENV, 7, "a protection domain; its owner is its parent")                                                      \
	X(THREAD, 8, "registers and scheduling state of a thread")                                                     \
	X(CPU, 9, "a CPU's slices")                                                                                    \
	X(DEVICE, 10, "device memory")                                                                                 \
	X(TABLE, 11, "the ownership table, info page, clock: readable by all")                                         \
	X(BUSY, 12, "claimed by a CPU for a change")

#define FH_X(name, number, text) FH_##name = number,
enum fh_type { FH_TYPES(FH_X) FH_NTYPES };
#undef FH_X

#define FH_PFN_BITS 27
#define FH_PFN_MASK ((1ul << FH_PFN_BITS) - 1)
#define FH_REFS_MAX ((1ul << 24) - 1)
#define FH_STAMP_MASK ((1ul << 48) - 1)
#define FH_SERIAL_MAX ((1ul << 37) - 1)

#define FH_STATE_LOCK (1ul << 4)
#define FH_STATE_REF (1ul << 8) /* one reference */

static inline unsigned fh_type(uint64_t state) { return state & 15; }
static inline uint64_t fh_refs(uint64_t state) { return state >> 8 & FH_REFS_MAX; }
static inline uint64_t fh_owner(uint64_t state) { return state >> 32 & FH_PFN_MASK; }
static inline uint64_t fh_count(uint64_t link) { return link & 1023; }
static inline uint64_t fh_link_index(uint64_t link) { return link >> 16 & 511; }
static inline uint64_t fh_link_parent(uint64_t link) { return link >> 32 & FH_PFN_MASK; }

/* A name: the pfn of an ENV or THREAD frame and its serial. Serial 0 means "whichever lives there now" and is taken
 * only from callers with authority over it. Name 0 is the caller itself, or nobody, as each call says. */
static inline uint64_t fh_name(uint64_t pfn, uint64_t serial) { return pfn | serial << FH_PFN_BITS; }
static inline uint64_t fh_name_pfn(uint64_t name) { return name & FH_PFN_MASK; }
static inline uint64_t fh_name_serial(uint64_t name) { return name >> FH_PFN_BITS; }

/* ---- Page-table entries (SDM vol. 3A, 4.5) ----------------------------------------------------------------------- */

#define FH_P (1ul << 0)
#define FH_W (1ul << 1)
#define FH_U (1ul << 2)
#define FH_PWT (1ul << 3)
#define FH_PCD (1ul << 4)
#define FH_A (1ul << 5)
#define FH_D (1ul << 6)
#define FH_PS (1ul << 7)  /* levels 2-4 */
#define FH_PAT (1ul << 7) /* level 1 */
#define FH_G (1ul << 8)
#define FH_NX (1ul << 63)
#define FH_AVL (7ul << 9 | 127ul << 52 | 15ul << 59) /* bits the hardware and the kernel ignore: the libOS's own */
#define FH_PFN_FIELD (FH_PFN_MASK << 12)

static inline uint64_t fh_pte_pfn(uint64_t entry) { return entry >> 12 & FH_PFN_MASK; }

/* ---- Page-table operations ----------------------------------------------------------------------------------------- */

/*
 * An operation is two words. The first names what, where and how often; the second is an entry. `count` repeats it
 * over consecutive slots of one table, the pfn in the entry advancing by 1 (by 512 for a 2 MiB entry).
 *
 *   word 0   op 0-3 | flags 4-7 | count 8-17 (1-512) | index 18-26 | table pfn 32-58 | status 59-63 (written back)
 *            27-29: what the rounds done so far saw, if it stopped midway; 0 at first
 *   word 1   entry; written back: the last old entry, with A and D ORed over all slots
 */
struct fh_op {
	uint64_t what, entry;
};

#define FH_OPS(X)                                                                                                      \
	X(READ, 0, "return the entry; changes nothing")                                                                \
	X(SET, 1, "replace the entry by this one: a leaf, a link to an existing table, or a non-present word")         \
	X(NARROW, 2, "take away W and/or X where this entry lacks them; AVL bits as given; keeps pfn, A, D")           \
	X(PROTECT, 3, "set W, NX and AVL bits as given; keeps pfn, cache bits, A, D")                                  \
	X(CLEAR, 4, "replace the entry by this non-present word (0, or the libOS's own)")                              \
	X(HARVEST, 5, "return A and D and clear them")                                                                 \
	X(CLAIM, 6, "claim the FREE frame named, zero it, map it into this empty slot")                                \
	X(UNMAP_FREE, 7, "clear, and free the frame if nothing else refers to it")                                     \
	X(LINK_NEW, 8, "claim the FREE frame named as the next lower table and link it into this empty slot")          \
	X(UNLINK_FREE, 9, "unlink the next lower table, and free it if it is empty and nothing else refers to it")

#define FH_X(name, number, text) FH_OP_##name = number,
enum fh_opcode { FH_OPS(FH_X) FH_NOPS };
#undef FH_X

#define FH_FLUSH_NONE (0ul << 4)
#define FH_FLUSH_LOCAL (1ul << 4) /* this CPU: CR3 reload; for pt_set only the page at va. Enough for a thread that is alone:
                                   * taken up by another CPU, it begins there with nothing in the TLB */
#define FH_FLUSH_ALL (2ul << 4)   /* every CPU whose loaded root belongs to the table's owner */
#define FH_FLUSH_MASK (3ul << 4)
#define FH_KEEP (1ul << 6)        /* CLAIM: contents don't matter, if the table's owner was also the frame's last */

/* Status of an operation in word 0. */
#define FH_OP_PENDING 0u /* not carried out, or not wholly */
#define FH_OP_DONE 1u
#define FH_OP_KEPT 2u    /* unmapped or unlinked, but (some of) it still referenced, not empty, or not yours: not freed. A 2 MiB page
                       * is only freed in a table and of frames of the caller's own */

static inline uint64_t fh_what(unsigned op, uint64_t flags, uint64_t table, unsigned index, unsigned count)
{
	return op | flags | (uint64_t)count << 8 | (uint64_t)index << 18 | table << 32;
}
static inline unsigned fh_what_op(uint64_t w) { return w & 15; }
static inline unsigned fh_what_count(uint64_t w) { return w >> 8 & 1023; }
static inline unsigned fh_what_index(uint64_t w) { return w >> 18 & 511; }
static inline uint64_t fh_what_table(uint64_t w) { return w >> 32 & FH_PFN_MASK; }
static inline unsigned fh_what_status(uint64_t w) { return w >> 59; }

/* ---- Frames with a public layout -------------------------------------------------------------------------------- */

/* Registers in the order in which the kernel keeps them. cs and ss are for reading only; of rflags only the
 * arithmetic flags, DF, TF, AC and ID are taken. */
struct fh_regs {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error; /* of the exception that put them here */
	uint64_t rip, cs, rflags, rsp, ss;
};

/* One upcall: who was interrupted, where, why. */
struct fh_context {
	struct fh_regs regs;
	uint64_t address; /* CR2 of a page fault; the bits of a doorbell */
	uint64_t root;    /* pfn of the PT4 that was loaded */
};

#define FH_VEC_DOORBELL 32u /* context.address: the bits taken */
#define FH_VEC_SYSCALL 256u /* a system call from outside the native range, or off the upcall root */

#define FH_UPCALL_SLOTS 16u
/*
 * The upcall frame: a DATA frame of the thread's owner, pinned by thread_write. The libOS writes all of it but where
 * marked (k): written by the kernel. On a fault the kernel fills slot[depth], adds 1 to depth, and enters `entry`
 * with rsp = stack_top - depth*stack_stride and rdi = the slot's address. A handler ends by loading the registers
 * from its slot, storing depth, and, within [resume_lo, resume_hi), loading rsp and jumping to rip.
 */
struct fh_upcall {
	uint64_t entry;
	uint64_t stack_top, stack_stride;
	uint64_t depth, max_depth;     /* max_depth <= FH_UPCALL_SLOTS; a fault beyond stops the thread */
	uint64_t mask;                 /* doorbell bits that wait */
	uint64_t pending;              /* (k) ORed in: bits that waited; clear it, then poll with thread_switch */
	uint64_t resume_lo, resume_hi; /* at the last two instructions the slot is still the interrupted context */
	uint64_t self_va;              /* where this frame is mapped */
	uint64_t thread, env;          /* (k) names, written when the frame is pinned */
	uint64_t cpu;                  /* (k) index of the CPU, written at dispatch */
	uint64_t libos[19];            /* not looked at by the kernel */
	struct fh_context slot[FH_UPCALL_SLOTS];
	uint64_t libos_area[96];
};

/* The batch frame: arguments of pt_update, thread_write, console_write/read. */
#define FH_BATCH_OPS (FH_PAGE / sizeof(struct fh_op))

/* Argument of thread_write: `fields` says which parts to take. */
#define FH_SET_REGS (1ul << 0)
#define FH_SET_BASES (1ul << 1)
#define FH_SET_ROOT (1ul << 2)
#define FH_SET_UPCALL_ROOT (1ul << 3)
#define FH_SET_UPCALL (1ul << 4)
#define FH_SET_BATCH (1ul << 5)
#define FH_SET_KEEPER (1ul << 6)
#define FH_SET_NATIVE (1ul << 7)
#define FH_SET_ALL (255ul)
struct fh_thread_args {
	uint64_t fields;
	struct fh_regs regs;          /* not for a running thread, itself included */
	uint64_t fs_base, gs_base;    /* canonical */
	uint64_t root;                /* pfn of a PT4 of the thread's owner; 0: none (only while stopped) */
	uint64_t upcall_root;         /* the same; 0: upcalls stay in the root they come from */
	uint64_t upcall, batch;       /* pfns of DATA frames of the thread's owner; 0: none */
	uint64_t keeper, keeper_bits; /* name of a thread: rung when this one stops or faults past its depth; 0: none */
	uint64_t native_lo, native_hi; /* system calls from outside become upcalls; both 0: none do */
};

/* CHANGING: a CPU is writing, starting or stopping it; everybody else gets -EBUSY. */
enum fh_thread_state { FH_STOPPED, FH_READY, FH_RUNNING, FH_SLEEPING, FH_FAULTED, FH_CHANGING };

/* A THREAD frame; the owner and its ancestors may map it read-only. */
struct fh_thread {
	uint64_t serial;
	uint32_t state;       /* enum fh_thread_state */
	uint32_t stop;        /* it has been told to stop while it ran: at its CPU's next interrupt, with stop_status */
	uint64_t root, upcall_root, upcall, batch; /* pfns, each counted */
	uint64_t loaded;      /* pfn of the root it runs on: root or upcall_root */
	uint64_t fs_base, gs_base;
	uint64_t native_lo, native_hi;
	uint64_t keeper, keeper_bits;
	uint64_t bells;       /* doorbell bits not yet taken */
	uint64_t wait;        /* bits a sleeper waits for */
	uint64_t deadline;    /* TSC; 0: none */
	uint64_t home;        /* index of a CPU that has it in its slices, the last one given if that still has it: woken if idle
	                       * when it gets ready; info.ncpus: none had it */
	uint64_t status;      /* argument of the thread_ctl that stopped it */
	uint64_t fault_address; /* of a FAULTED thread; vector and error are in regs */
	uint64_t ran_on;      /* 1 + index of the CPU that ran it last; 0: none has */
	uint64_t stop_status; /* the status that `stop` will give it */
	uint64_t cpus[4];     /* bit i of word i/64: CPU i has it in its slices */
	uint64_t reserved[7];
	struct fh_regs regs;
	uint64_t reserved2[10];
	uint8_t fx[512];      /* FXSAVE image (SDM vol. 1, 10.5.1) */
};

#define FH_BELLS_USER ((1ul << 56) - 1) /* bits that thread_switch may ring */
#define FH_BELL_REVOKE (1ul << 61)      /* an ancestor wants frames back (struct fh_env): for the env's listener */
#define FH_BELL_SLICE (1ul << 62)       /* a slice begins; rung only where unmasked and at depth 0 */

#define FH_ENV_DEPTH 16u   /* longest line from an env to root */
#define FH_ENV_CALLERS 16u /* entries of a doorbell list */
#define FH_REPOSSESSIONS 256u
/*
 * An ENV frame; the env itself, its owner and ancestors may map it read-only.
 *
 * A request for frames is advice: the env gives back what it can best spare before the deadline, and after it an
 * ancestor takes what it likes. Each frame that an ancestor frees, or grants to somebody, is entered in the env's
 * repossession vector: number s (from 0) in repossession[s % 256] as pfn | s << 32. A reader goes from the number it saw
 * last to `repossessed`; an entry with another number in its upper half is lost (256 newer ones came) or not there yet.
 */
struct fh_env {
	uint64_t account; /* owned 0-30 | quota 31-61 | dead 62 | frozen 63 */
	uint64_t serial;
	uint64_t depth;   /* root: 0 */
	uint64_t callers[FH_ENV_CALLERS]; /* names of envs that may ring this one's threads */
	uint64_t listener;                /* name of the thread rung with FH_BELL_REVOKE; 0: nobody */
	uint64_t revoke_frames, revoke_deadline; /* the last request: how many frames, by which TSC */
	uint64_t revoke_seq;              /* requests so far, counted after the two are written */
	uint64_t repossessed;             /* frames ever entered below */
	uint64_t repossession[FH_REPOSSESSIONS];
};
#define FH_ACCOUNT_MAX ((1ul << 31) - 1)
#define FH_ACCOUNT_DEAD (1ul << 62)
#define FH_ACCOUNT_FROZEN (1ul << 63)
static inline uint64_t fh_owned(uint64_t account) { return account & FH_ACCOUNT_MAX; }
static inline uint64_t fh_quota(uint64_t account) { return account >> 31 & FH_ACCOUNT_MAX; }

/* Events that a CPU counts since boot: what its work has cost others. */
#define FH_COUNTS(X)                                                                                                   \
	X(LOCKS, 0, "records locked: a page table for an operation, a frame for a grant")                              \
	X(LOCK_SPINS, 1, "pauses while waiting for such a lock")                                                       \
	X(ACCOUNTS, 2, "changes of an env's quota word")                                                               \
	X(CLOCKS, 3, "attempts to advance the TLB clock")                                                              \
	X(ROOT_LOADS, 4, "CR3 loads")                                                                                  \
	X(FORCED, 5, "waits for other CPUs to flush")                                                                  \
	X(FLUSH_IPIS, 6, "flush interrupts sent")                                                                      \
	X(RESCHED_IPIS, 7, "interrupts sent to wake an idle CPU, or to stop a thread")                                 \
	X(UPCALLS, 8, "faults and doorbells handed to a handler")                                                      \
	X(CALLS, 9, "system calls, up to when it last changed threads")

#define FH_X(name, number, text) FH_COUNT_##name = number,
enum fh_count { FH_COUNTS(FH_X) FH_NCOUNTS };
#undef FH_X

#define FH_CPU_SLICES 256u
/* A CPU frame, mappable read-only by all. The timer walks `slice` up to the first `nslices`. */
struct fh_cpu {
	uint64_t id, apic_id;
	uint64_t thread;  /* name of the thread running, 0 when idle */
	uint64_t ticks;   /* slices begun */
	uint64_t idle;    /* times halted */
	uint64_t nslices;
	uint64_t reserved[58];
	uint64_t count[64]; /* what its kernel code has done, by enum fh_count; on cache lines of its own */
	uint64_t slice[FH_CPU_SLICES]; /* names of threads, 0: empty */
};

#define FH_MAX_CPUS 255u
/* The clock frames (5): the clock, then each CPU's epoch on its own cache line. A frame is quiet when every epoch of
 * a running CPU is greater than its stamp (frames_quiet in the kit). */
struct fh_clock {
	uint64_t clock, pad[511];
	struct { uint64_t epoch, pad[7]; } cpu[256];
};
#define FH_EPOCH_INF (~0ul) /* off-line or idle */

/* The refusal ring (debug builds; else info.refusals_va is 0): why calls were refused, in words. */
#define FH_REFUSALS 31u
struct fh_refusals {
	uint64_t next, pad[15]; /* sequence number of the next entry, which goes into entry[next % FH_REFUSALS] */
	struct {
		uint64_t seq;
		uint32_t env, error;
		char text[112]; /* NUL-terminated */
	} entry[FH_REFUSALS];
};

#define FH_MAX_MODULES 32u
struct fh_module {
	uint32_t pfn;     /* first frame; consecutive; DATA frames of root */
	uint32_t command; /* offset of its command line in info.strings */
	uint64_t bytes;
};

/* CPU features in info.features */
#define FH_HAS_SMEP (1u << 0)
#define FH_HAS_SMAP (1u << 1)
#define FH_HAS_UMIP (1u << 2)
#define FH_HAS_1G (1u << 3)     /* for the kernel's own direct map; user entries are 4 KiB and 2 MiB */
#define FH_HAS_LARGE_X (1u << 4) /* 2 MiB entries may be executable (no iTLB-multihit erratum) */

/* The info page: TABLE type, readable by all. rdi of root's first thread points to it. */
struct fh_info {
	uint32_t version, debug;           /* debug: a DEBUG=1 kernel */
	uint64_t nframes;                  /* records in the table */
	uint64_t first_user, usable;       /* lowest pfn ever handed out; frames FREE when root started */
	uint64_t tsc_khz;
	uint64_t boot_tsc, boot_time;      /* seconds since 1970-01-01 UTC (CMOS clock) at TSC boot_tsc */
	uint32_t features, ncpus, nmodules, nclock; /* nclock: frames of the clock */
	uint64_t root_env, root_thread;    /* names */
	uint64_t info_va, clock_va, refusals_va, batch_va, upcall_va, table_va, window_va; /* root's mappings */
	uint64_t stack_lo, stack_hi;       /* root's first stack */
	uint32_t info_pfn, clock_pfn, refusals_pfn, table_pfn; /* TABLE frames, consecutive from here */
	uint32_t table_frames;             /* a multiple of 512; table_pfn is 2 MiB-aligned */
	uint32_t command;                  /* kernel command line, offset in strings */
	uint32_t tables[16];               /* root's PT4, then its other page tables; 0 ends the list */
	uint8_t random[32];                /* readable by all who map the page: mix it, don't keep it secret */
	uint32_t cpu_pfn[FH_MAX_CPUS + 1];
	struct fh_module module[FH_MAX_MODULES];
	char strings[1984];
};
#define FH_WINDOW_SLOT 509u /* where root's PT4 names itself */

_Static_assert(sizeof(struct fh_frame) == 32, "DESIGN 2: 32 bytes a record");
_Static_assert(sizeof(struct fh_op) == 16, "an operation is 16 bytes");
_Static_assert(sizeof(struct fh_regs) == 176 && sizeof(struct fh_context) == 192, "upcall slot");
_Static_assert(sizeof(struct fh_upcall) == FH_PAGE, "the upcall frame is one frame");
_Static_assert(__builtin_offsetof(struct fh_upcall, slot) == 256, "slots after the header");
_Static_assert(__builtin_offsetof(struct fh_thread, regs) == 256, "entry.asm relies on it");
_Static_assert(__builtin_offsetof(struct fh_thread, fx) == 512, "FXSAVE wants 16-byte alignment");
_Static_assert(sizeof(struct fh_thread) <= FH_PAGE && sizeof(struct fh_env) <= FH_PAGE, "one frame each");
_Static_assert(sizeof(struct fh_cpu) <= FH_PAGE && sizeof(struct fh_info) <= FH_PAGE, "one frame each");
_Static_assert(sizeof(struct fh_refusals) <= FH_PAGE && sizeof(struct fh_clock) == 5 * FH_PAGE, "whole frames");
_Static_assert(sizeof(struct fh_thread_args) <= FH_PAGE, "fits the batch frame");

/* ---- System calls ------------------------------------------------------------------------------------------------ */

/*
 * thread_switch(to, give, mask, deadline) -> bits taken
 *
 * Ring thread `to`'s doorbell with the bits `give`, hand it the rest of the slice, and sleep until one of the bits
 * `mask` is rung or the TSC passes `deadline`: notify, directed yield, wait and sleep in one call. 0 leaves a part
 * out: to 0 names nobody; mask and deadline both 0: stay ready (a plain yield); deadline 0: no deadline. Bits are
 * sticky: if one of `mask` is set already it is taken and returned at once, without sleeping and without yielding. Bits
 * are 0-55. Returns the bits of `mask` taken, 0 after the deadline or a yield. Strangers ring only threads of envs that
 * list theirs (env_ctl, FH_ENV_CALLER).
 *
 *   EINVAL  reserved bits in give or mask, or bits for nobody
 *   ESRCH   `to` names no living thread
 *   EPERM   the thread's env doesn't list the caller's; or a name without serial and no authority
 *   ENOSPC  the thread is referenced too often
 *   EINTR   a bit outside `mask`, unmasked for upcalls, came first: its upcall has run
 */
/*
 * thread_ctl(t, op, arg) -> 0
 *
 * FH_THREAD_START makes a STOPPED or FAULTED thread ready; FH_THREAD_STOP stops one and keeps `arg` as its status in the
 * THREAD frame (of the caller itself too: then it doesn't return), and rings its keeper; FH_THREAD_RETURN leaves the
 * caller's newest upcall: all registers and the root are taken from slot[depth-1], which a handler needs only when the
 * slot's root is another than the one it runs on. t: a thread's name, 0 or its own: the caller.
 *
 *   EINVAL  unknown op; a thread without a root; no upcall to return from, or its slot names neither of the roots
 *   ESRCH   no such thread
 *   EPERM   no authority over it
 *   EBUSY   START of one not stopped; STOP of one that runs on another CPU: that is interrupted, and it stops with this
 *           status. If it goes to sleep before, it is stopped by the next STOP
 *   ENOSPC  the thread is referenced too often
 */
/*
 * frame_alloc(pfn, n, env, flags) -> frames claimed
 *
 * Claim the FREE frames pfn, pfn+1, ... as DATA of env (a name; 0: the caller's own, else a descendant), against its
 * quota. They are zeroed, unless flags has FH_ALLOC_KEEP and env was the frame's last owner. At most 64 are claimed in a
 * call, and the run ends at the first frame that isn't FREE or past the quota: call again for the rest.
 *
 *   EINVAL     n is 0, the run leaves the table, unknown flag
 *   ESRCH      no such env
 *   EPERM      env is neither the caller nor a descendant
 *   EBUSY      the first frame isn't FREE: pick another
 *   EDQUOT     env's quota is used up
 *   ECANCELED  env is frozen or dead
 *   EAGAIN     the frames aren't quiet and the slice's forced flushes are spent
 */
/*
 * frame_free(pfn, n) -> frames freed
 *
 * DATA frames of the caller or its descendants become FREE. At most 64 in a call; the run ends at the first that can't
 * be freed: call again for the rest.
 *
 *   EINVAL  n is 0, or the run leaves the table
 *   EPERM   the first frame isn't the caller's or a descendant's
 *   EBUSY   it isn't DATA, is still mapped or pinned, or another CPU is changing it
 */
/*
 * frame_retype(pfn, type) -> 0
 *
 * A DATA frame that nothing refers to becomes FH_PT1..FH_PT4, FH_ENV or FH_THREAD, zeroed (a PT4 with the kernel's slot
 * filled, a THREAD stopped, an ENV with quota 0 whose parent is the frame's owner); an empty table, a stopped THREAD or
 * an ENV that owns nothing becomes DATA, zeroed. An ENV dies by this: its quota goes back to its parent, and it stays
 * dead even if the call then fails.
 *
 *   EINVAL     no such frame, or not one of these types
 *   EPERM      the frame isn't the caller's or a descendant's; root's ENV
 *   EBUSY      not DATA (or not to DATA); still mapped, linked, loaded, pinned or running; changing on another CPU
 *   ENOTEMPTY  the table has present entries, the ENV owns frames
 *   ENOSPC     the line of envs would be longer than FH_ENV_DEPTH, or serials have run out
 *   EAGAIN     not quiet yet, and the slice's forced flushes are spent
 */
/*
 * frame_grant(pfn, env) -> 0
 *
 * Grant a frame of the caller or a descendant to the env named, its tenant: a DATA, DEVICE or CPU frame to be taken
 * (frame_take), a PT1 or PT2 as a window to be linked into the tenant's own tree (pt_set). Until then nothing changes for
 * the owner, who goes on to say what stands in a window. A frame has one tenant; a table is granted when no CPU has
 * translations left from where it was linked before. env 0 withdraws what was granted, or nothing: it takes a window out
 * of the foreign table that links it (but not out of a table of the owner's ancestor), and returns when no CPU can reach
 * it by a link that is gone. When withdrawing returns EAGAIN the tenant can't take or link it any more, but may still reach
 * it by a link from before: call again until it is 0. Until then nobody else is granted the window, either. Freeing or retyping
 * a frame ends its grant.
 *
 *   EINVAL     no such frame, or its owner is the env named
 *   ESRCH      no such env
 *   EPERM      the frame isn't the caller's or a descendant's; a name without serial and no authority
 *   EBUSY      it is granted already, or linked by a table of neither the env named nor an ancestor of the owner; none of these
 *              types; another CPU is changing it
 *   ECANCELED  env is dead
 *   EAGAIN     the table isn't quiet yet and the slice's forced flushes are spent; or another CPU is changing the tenant's
 *              table that links it
 */
/*
 * frame_take(pfn, n) -> frames taken
 *
 * The caller becomes the owner of the frames pfn, pfn+1, ... that are granted to it, against its quota: DATA or DEVICE
 * frames that nothing refers to, with their contents, or CPU frames. At most 64 are taken in a call; the run ends at the
 * first of another type than the first one's, or that can't be taken, or past the quota: call again for the rest.
 *
 *   EINVAL     n is 0, or the run leaves the table
 *   EPERM      the first frame isn't DATA, DEVICE or CPU, or isn't granted to the caller
 *   EBUSY      it is still mapped or pinned, or another CPU is changing it
 *   EDQUOT     the caller's quota is used up
 *   ECANCELED  the caller is frozen or dead
 *   EAGAIN     the frames aren't quiet and the slice's forced flushes are spent
 */
/*
 * frame_sync(pfn, n) -> frames synced
 *
 * Returns when no CPU can use a translation to the frames (at most 64) by an entry that had gone, or had had more rights,
 * before the call: after taking one page out of a window, say, or a right, that its tenant must not have any more. For a
 * table: by a link that had gone. Not for TABLE and CPU frames, which all may read.
 *
 *   EINVAL  n is 0, or the run leaves the table
 *   EAGAIN  the slice's forced flushes are spent
 */
/*
 * pt_set(what, entry, va) -> status
 *
 * One page-table operation (struct fh_op) of count 1 in registers; rdx: the old entry. Returns FH_OP_DONE or FH_OP_KEPT.
 * With FH_FLUSH_LOCAL only the page at va is flushed (va 0: all). What an entry may be:
 *
 * - present entries have U=1, G=0, no reserved bit, a pfn inside the table; cache bits only on 4 KiB DEVICE leaves;
 * - a writable leaf names a DATA or DEVICE frame; a read-only one also a TABLE or CPU frame, or a table, THREAD or ENV
 *   of the table's owner or its descendants; frame and table belong to one env, or to an env and its ancestor, and the
 *   caller has authority over both;
 * - 2 MiB leaves stand in a PT2, over 512 aligned DATA frames of one owner (or TABLE frames, read-only, NX), only in an
 *   empty slot, NX unless info.features has FH_HAS_LARGE_X;
 * - a link names a table one level down: of the same owner any number of times; of another owner once, by a caller with
 *   authority over both, or by the table's tenant in a table of its own;
 * - a PT4 may name itself, read-only and NX; slot 511 is the kernel's;
 * - a non-present word is the libOS's own, but must not name a frame (L1TF): its address bits are 0 or beyond the table;
 *   with PS set in a PT2 or PT3 it names a whole large page.
 *
 * CLAIM and LINK_NEW take FREE frames for the table's owner, against its quota. In an empty slot UNMAP_FREE and
 * UNLINK_FREE only leave their word.
 *
 *   EINVAL     malformed operation, entry or va; slot 511; a leaf where a link is asked for, or the reverse
 *   EPERM      no authority over the table or the frame, nor (or not any more) a grant of the table linked; frame and table
 *              of unrelated envs
 *   EACCES     more rights than the frame may have (writable table, executable large page, writable self-map)
 *   EBUSY      frame or table is changing on another CPU, isn't FREE (CLAIM, LINK_NEW), isn't a table of that level
 *   EEXIST     the slot already holds a present entry (CLAIM, LINK_NEW, 2 MiB)
 *   ENOENT     the slot holds no present entry (NARROW, PROTECT)
 *   ENOSPC     the frame has as many references as can be counted
 *   EDQUOT     the quota of the table's owner is used up
 *   ECANCELED  the table's owner is frozen or dead (CLAIM, LINK_NEW)
 *   EAGAIN     the frames aren't quiet and the slice's forced flushes are spent
 */
/*
 * pt_update(off, n) -> 0
 *
 * Carry out n operations (struct fh_op, 16 bytes each) that stand in the batch frame from byte off on; rdx: how many are
 * wholly done. Old entries and status are written back in place. It stops at the first that is refused (its errno is the
 * result; the ones before it stay done), after a forced flush, when an interrupt is pending, and after some thousand slots
 * (64 times as many as between two looks for interrupts): then the result is 0 and rdx < n, and the operation it stopped in
 * has been advanced (count, index and pfn): call again from there. At least one slot is handled in a call. Flushes asked for
 * by any operation are made once, at the end of the call.
 *
 *   EINVAL  no batch frame, or the range is misaligned or leaves it; as pt_set
 *   EPERM, EACCES, EBUSY, EEXIST, ENOENT, ENOSPC, EDQUOT, ECANCELED, EAGAIN  as pt_set
 */
/*
 * tlb_flush(root, mode, va, n) -> 0
 *
 * Forget translations: mode FH_TLB_LOCAL on this CPU, FH_TLB_ALL on every CPU that runs a root of the same owner,
 * FH_TLB_NONE nowhere. n pages from va; everything if n is 0 or above 32. root: pfn of a PT4; 0: the one loaded.
 *
 *   EINVAL  unknown mode, no PT4, or the range leaves user space
 *   EPERM   no authority over the root
 *   EBUSY   another CPU is changing the frame
 *   EAGAIN  the slice's forced flushes are spent
 */
/*
 * env_ctl(env, op, arg, arg2) -> 0
 *
 * env: a name, 0: the caller's own. FH_ENV_QUOTA moves arg frames of quota (signed) from env's parent to env: for its
 * ancestors; giving back is for env itself too. FH_ENV_FREEZE: nothing of env is dispatched or allocated any more;
 * FH_ENV_THAW (ancestors only) undoes it. FH_ENV_CALLER: entry arg (0-15) of env's doorbell list becomes the env named
 * arg2 (0: nobody): its threads may ring env's. FH_ENV_CONSOLE (root only): env may read the console.
 * FH_ENV_REVOKE (ancestors only): ask env for arg frames by TSC arg2, in its ENV frame, and ring its listener with
 * FH_BELL_REVOKE, which comes as a doorbell upcall as soon as that is unmasked; the kernel does no more. FH_ENV_LISTENER: the
 * thread named arg (0: nobody), the caller's or a descendant's, becomes env's listener.
 * FH_ENV_AUDIT (debug kernels): recompute every invariant of the ownership table; returns how many are broken.
 *
 *   EINVAL     unknown op, index or amount out of range, a doorbell name without serial
 *   ESRCH      no such env, no such listener
 *   EPERM      no authority over env or the listener; root's own quota or freezing; revoking from oneself
 *   EBUSY      env is dying
 *   ENOSPC     the listener is referenced too often
 *   EDQUOT     that much quota isn't free to move
 *   ECANCELED  env is dead
 *   EAGAIN     another CPU audits just now
 */
/*
 * thread_write(t, off) -> 0
 *
 * Set parts of a thread from the struct fh_thread_args at byte off of the caller's batch frame: registers, FS and GS
 * base, root and upcall root, upcall and batch frames (pinned: they can't be freed until replaced), keeper, native range.
 * t: a thread's name; 0: the caller, whose registers can't be set, and whose new root is loaded at once, or, where it runs on
 * its upcall root, when an upcall returns there. Another thread must be STOPPED or FAULTED.
 *
 *   EINVAL  no batch frame, misaligned, unknown field, rip or a base that is no user address, a running thread's root 0
 *   ESRCH   no such thread, or no such keeper
 *   EPERM   no authority over it; a frame of another owner than the thread's; a keeper whom the caller may not ring
 *   EBUSY   it runs or is ready; a frame of another type; the upcall root changed in an upcall on it
 *   ENOSPC  a frame has as many references as can be counted
 */
/*
 * cpu_slice(cpu, slot, t) -> 0
 *
 * Put the thread named t (0: nobody) into a slot (0-255) of the CPU's vector of slices; cpu: the pfn of a CPU frame
 * (info.cpu_pfn). For the owner of the CPU frame and its ancestors; and for whoever has authority over the thread now
 * in the slot. The timer walks the vector; a slot whose thread can't run is skipped. This CPU becomes t's home, which is
 * woken if it idles when t gets ready. A thread whose home has lost it gets another one of the CPUs that have it.
 *
 *   EINVAL  no such CPU or slot
 *   ESRCH   no such thread
 *   EPERM   the slot is empty or a stranger's, or t is
 *   EBUSY   another CPU has just changed the slot
 *   ENOSPC  the thread is referenced too often
 */
/*
 * console_write(off, n) -> bytes taken
 *
 * Queue n bytes from byte off of the batch frame for COM1 and the screen; never waits. At most 128 are taken in a call,
 * fewer (down to 0) when the queue is full: yield and call again. off is a multiple of 8.
 *
 *   EINVAL  no batch frame, or the range is misaligned or leaves it
 */
/*
 * console_read(off, n, bits) -> bytes read
 *
 * Up to n (at most 128) bytes of input into the batch frame at byte off. Never waits. bits, if not 0, are rung on the
 * calling thread when there is input (at once, if some is left). Ctrl-P never arrives: the kernel prints its state.
 *
 *   EINVAL  no batch frame, the range is misaligned or leaves it, or reserved bits
 *   EPERM   neither root nor the env that root named
 */
/*
 * machine_halt(code) -> never
 *
 * Power off: isa-debug-exit (QEMU exits with 2*(32+code)+1), Bochs' and QEMU's power-off ports, then halt. Root only.
 *
 *   EINVAL  code above 63
 *   EPERM   not root
 */

/*
 * `syscall`: number in rax; arguments in rdi, rsi, rdx, r10; result in rax, >= 0 or -errno; a second result in rdx
 * where the call says so. rcx and r11 are clobbered, all else is kept (the Linux convention).
 *
 * The one list: X(number, name, number of arguments, argument names). tools/abidoc makes docs/abi.md from it and from
 * the comments above. Calls 0 and 1 need the whole context saved; the others return by the short path.
 */
#define FH_SYSCALLS(X)                                                                                                 \
	X(0, thread_switch, 4, "to, give, mask, deadline")                                                             \
	X(1, thread_ctl, 3, "t, op, arg")                                                                              \
	X(2, frame_alloc, 4, "pfn, n, env, flags")                                                                     \
	X(3, frame_free, 2, "pfn, n")                                                                                  \
	X(4, frame_retype, 2, "pfn, type")                                                                             \
	X(5, frame_grant, 2, "pfn, env")                                                                               \
	X(6, frame_take, 2, "pfn, n")                                                                                  \
	X(7, frame_sync, 2, "pfn, n")                                                                                  \
	X(8, pt_set, 3, "what, entry, va")                                                                             \
	X(9, pt_update, 2, "off, n")                                                                                   \
	X(10, tlb_flush, 4, "root, mode, va, n")                                                                       \
	X(11, env_ctl, 4, "env, op, arg, arg2")                                                                        \
	X(12, thread_write, 2, "t, off")                                                                               \
	X(13, cpu_slice, 3, "cpu, slot, t")                                                                            \
	X(14, console_write, 2, "off, n")                                                                              \
	X(15, console_read, 3, "off, n, bits")                                                                         \
	X(16, machine_halt, 1, "code")

#define FH_X(number, name, nargs, args) FH_SYS_##name = number,
enum fh_syscall { FH_SYSCALLS(FH_X) FH_NSYSCALLS };
#undef FH_X

/* frame_alloc flags */
#define FH_ALLOC_KEEP 1ul /* contents don't matter if env was the last owner: skips the zeroing */

/* tlb_flush modes */
#define FH_TLB_NONE 0ul
#define FH_TLB_LOCAL 1ul
#define FH_TLB_ALL 2ul

/* env_ctl operations */
#define FH_ENV_QUOTA 0ul   /* arg: frames (signed) to move from env's parent to env */
#define FH_ENV_FREEZE 1ul
#define FH_ENV_THAW 2ul
#define FH_ENV_CALLER 3ul  /* arg: index, arg2: name of an env (0: nobody): who may ring env's threads */
#define FH_ENV_CONSOLE 4ul /* root only: env may read the console from now on, beside root */
#define FH_ENV_REVOKE 5ul  /* arg: frames, arg2: TSC deadline: asked back by an ancestor */
#define FH_ENV_LISTENER 6ul /* arg: name of a thread (0: nobody) that FH_ENV_REVOKE rings */
#define FH_ENV_AUDIT 7ul   /* debug builds: recompute every invariant; returns how many are broken */

/* thread_ctl operations */
#define FH_THREAD_START 0ul  /* STOPPED or FAULTED -> READY */
#define FH_THREAD_STOP 1ul   /* any -> STOPPED; arg: status, kept in the THREAD frame */
#define FH_THREAD_RETURN 2ul /* self: leave the newest upcall: all registers and the root from slot[depth-1] */

/* machine_halt codes: 0 success, up to this */
#define FH_HALT_MAX 63ul
/* What the kernel writes to isa-debug-exit (QEMU then exits with 2*value+1): this + code for machine_halt; for the
 * kernel's own reports: */
#define FH_EXIT_HALT 32u
#define FH_EXIT_PANIC 17u /* a kernel bug */
#define FH_EXIT_BOOT 16u  /* the machine, the modules or root can't be used */
