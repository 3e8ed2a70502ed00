/* 25: batch words that another CPU changes while they are read; a batch frame that is also the target. */
#include <string.h>

#include "hostile.h"

static struct fh_op *shared;
static volatile bool stop;
static volatile uint64_t scribbled;
static pfn_t mine[4];

/* Good words and bad ones: other tables, counts past the end, slot 511, frames of others. */
static struct fh_op word(unsigned i)
{
	switch (i % 8) {
	case 0: return (struct fh_op){fh_what(FH_OP_SET, 0, pt1, 100, 4), mine[0] << 12 | RW};
	case 1: return (struct fh_op){fh_what(FH_OP_SET, 0, pt1, 510, 300), STAGE->page[0] << 12 | RW};
	case 2: return (struct fh_op){fh_what(FH_OP_CLEAR, 0, pt4, 511, 1), 0};
	case 3: return (struct fh_op){fh_what(FH_OP_CLEAR, 0, pt1, 100, 64), 0};
	case 4: return (struct fh_op){fh_what(FH_OP_SET, 0, STAGE->root, 3, 1), mine[1] << 12 | LINK};
	case 5: return (struct fh_op){fh_what(FH_OP_SET, 0, pt1, 130, 1), 0x100ul << 12 | RW};
	case 6: return (struct fh_op){fh_what(FH_OP_SET, 0, pt1, 110, 2), mine[2] << 12 | RO};
	default: return (struct fh_op){~0ul, ~0ul};
	}
}

static void scribble(void *arg)
{
	(void)arg;
	for (unsigned i = 0; !stop; i++) {
		struct fh_op w = word(i * 5 + i / 7);
		__atomic_store_n(&shared[i % 16].what, w.what, __ATOMIC_RELAXED);
		__atomic_store_n(&shared[i % 16].entry, word(i * 3 + i / 16).entry, __ATOMIC_RELAXED); /* rarely the word's own */
		scribbled = scribbled + 1;
	}
}

void attack(void)
{
	struct tally t = {0};
	unsigned good = 0, refused = 0, raced = 0;

	for (unsigned i = 0; i < 4; i++)
		mine[i] = data_new(1, 1);
	shared = batch_here();
	stop = false;
	crew_begin(scribble);
	uint64_t off = (va_t)shared - (va_t)thread_self()->batch;
	/* Enough of them have to fall together with a change; a host's other work may hold the other CPUs up. */
	uint64_t end = cpu_tsc() + ms(20000);
	for (unsigned i = 0; i < 4000 || (raced < 2000 && info->ncpus > 1 && cpu_tsc() < end); i++) {
		uint64_t then = scribbled;
		for (unsigned k = 0; info->ncpus == 1 && k < 16; k++)
			shared[k] = word(i + k * 3);
		int64_t r = sys_pt_update(off, 16).rax;
		good += r == 0, refused += r < 0, raced += scribbled != then;
		if (r != 0 && r != -FH_EINVAL && r != -FH_EPERM && r != -FH_EACCES && r != -FH_EBUSY)
			count_bad(&t, "batch %u: %ld", i, r);
	}
	stop = true;
	for (unsigned i = 0; i < 512; i++) { /* what stands in the table now is ours */
		pte_t e = *window_slot(VA + i * FH_PAGE, 1);
		if ((e & FH_P) && owner(fh_pte_pfn(e)) != env_self() && fh_pte_pfn(e) != 0)
			count_bad(&t, "slot %u: %#lx", i, e);
		clear(pt1, i);
	}
	crew_end(); /* its frames may have been named, too */
	none_bad(&t, "%u batches, the words of %u changed by other CPUs meanwhile: each is read once, and what stands in the table is ours",
		good + refused, raced);
	for (unsigned i = 0; i < 4; i++)
		want(&t, (int64_t)refs(mine[i]), 0, "references of frame %u", i);
	ok(t.bad == 0, "no reference is lost or left");
	frame_put(mine[0], 1), frame_put(mine[1], 1), frame_put(mine[2], 1), frame_put(mine[3], 1);

	/* The batch frame as page, as upcall frame and as its own target. */
	struct raw r;
	t.bad = 0;
	if (raw_here(&r) < 0)
		panic("no thread");
	struct fh_thread_args a = {.fields = FH_SET_UPCALL, .upcall = r.frames + RAW_BATCH};
	want(&t, raw_write(&r, &a), 0, "one frame is batch and upcall frame");
	memset(r.batch, 0, FH_PAGE);
	r.batch[0] =
		(struct fh_op){fh_what(FH_OP_SET, 0, pt1, 5, 1), (r.frames + RAW_BATCH) << 12 | RW}; /* max_depth is its words, too */
	raw_code(&r, "\x0f\x05\x0f\x0b", 4);
	struct fh_regs regs = raw_regs(&r, 0);
	regs.rax = FH_SYS_pt_update, regs.rsi = 1;
	want(&t, raw_run(&r, &regs, 50), FH_FAULTED, "it runs a batch from it, and faults");
	want(&t, (int64_t)refs(r.frames + RAW_BATCH), 5, "references: ours and its page, two pins, the new page");
	want(&t, sys_frame_free(r.frames + RAW_BATCH, 1), -FH_EBUSY, "freed");
	clear(pt1, 5);
	a.upcall = r.frames + RAW_UPCALL;
	want(&t, raw_write(&r, &a), 0, "parted again");
	r.batch[0] = (struct fh_op){fh_what(FH_OP_UNMAP_FREE, 0, space_table(space_current(), raw_va(&r, RAW_BATCH), 1),
	                                    pt_index(raw_va(&r, RAW_BATCH), 1), 1),
	                            0};
	regs.rax = FH_SYS_pt_update;
	want(&t, raw_run(&r, &regs, 50), FH_FAULTED, "it unmaps and frees its batch frame by a batch");
	want(&t, fh_what_status(r.batch[0].what), FH_OP_KEPT, "status, still written there");
	want(&t, type(r.frames + RAW_BATCH) == FH_DATA, 1, "the frame is there");
	none_bad(&t, "a batch frame that is upcall frame or its own target stays pinned: survived");
	space_map(space_current(), raw_va(&r, RAW_BATCH), r.frames + RAW_BATCH, 1, RIGHT_R | RIGHT_W);
	raw_end(&r);
}
