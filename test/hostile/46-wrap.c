/* 46: count times size that wraps, an offset added after the check (212), misaligned entries (227). */
#include "hostile.h"

void attack(void)
{
	struct tally t = {0};
	static const uint64_t counts[] = {0,         1,    2,        255, 256, 257, 1ul << 32, 1ul << 59, 1ul << 60, (1ul << 60) + 1,
	                                  1ul << 63, ~0ul, ~0ul - 15};
	static const uint64_t offsets[] = {0,    1,    8,         15,        16,   4080,     4088,      4095,   4096,
	                                   4097, 8192, 1ul << 32, 1ul << 63, ~0ul, ~0ul - 7, ~0ul - 15, -4096ul};
	uint64_t n = 0;
	struct raw *v = victim(64); /* it tries: its batch frame is all zeroes, and each operation in it malformed */

	for (unsigned i = 0; i < sizeof(offsets) / sizeof(*offsets); i++) {
		for (unsigned k = 0; k < sizeof(counts) / sizeof(*counts); k++, n++) {
			uint64_t off = offsets[i], c = counts[k];
			bool inside = off <= FH_PAGE && c <= FH_PAGE;
			bool ops = inside && off % 16 == 0 && c <= 256 && off + c * 16 <= FH_PAGE,
				 bytes = inside && off % 8 == 0 && off + c <= FH_PAGE;
			struct sys_result r = {raw_call(v, FH_SYS_pt_update, off, c, 0, 0), v->view->regs.rdx};
			want(&t, r.rax, ops && c == 0 ? 0 : -FH_EINVAL, "pt_update(%#lx, %#lx)", off, c);
			want(&t, (int64_t)r.rdx, 0, "operations done");
			want(&t, sys_console_read(off, c, 0), -FH_EPERM, "console_read(%#lx, %#lx)", off, c);
			if (!bytes)
				want(&t, sys_console_write(off, c), -FH_EINVAL, "console_write(%#lx, %#lx)", off, c);
			bool args = off % 8 == 0 && off <= FH_PAGE - sizeof(struct fh_thread_args);
			want(&t, raw_call(v, FH_SYS_thread_write, 0, off, 0, 0), args ? 0 : -FH_EINVAL, "thread_write(%#lx)", off);
		}
	}
	none_bad(&t, "%lu pairs of offset and count: what leaves the batch frame, is misaligned or wraps is EINVAL", n);

	t.bad = 0;
	static const uint64_t runs[] = {0, 1ul << 63, ~0ul, 1ul << 59, 1ul << 52, (1ul << 32) + 1, FH_PFN_MASK};
	for (unsigned i = 0; i < 7; i++) {
		for (unsigned k = 0; k < 4; k++) {
			const uint64_t first = (uint64_t[]){data, info->nframes - 1, info->nframes, ~0ul}[k], c = runs[i];
			want(&t, sys_frame_alloc(first, c, 0, 0), -FH_EINVAL, "frame_alloc(%#lx, %#lx)", first, c);
			want(&t, sys_frame_free(first, c), -FH_EINVAL, "frame_free(%#lx, %#lx)", first, c);
			want(&t, sys_frame_take(first, c), -FH_EINVAL, "frame_take(%#lx, %#lx)", first, c);
			want(&t, sys_frame_sync(first, c), -FH_EINVAL, "frame_sync(%#lx, %#lx)", first, c);
		}
	}
	struct fh_op *b = batch_here();
	for (unsigned index = 0; index < 512; index++) {
		for (unsigned c = 0; c < 1024; c += c < 3 || index > 500 ? 1 : 37) {
			b[0] = (struct fh_op){fh_what(FH_OP_READ, 0, pt1, index, c), 0};
			want(&t, sys_pt_update((va_t)b - (va_t)thread_self()->batch, 1).rax, c && index + c <= 512 ? 0 : -FH_EINVAL,
			     "%u slots from %u on", c, index);
		}
	}
	b[0] = (struct fh_op){fh_what(FH_OP_SET, 0, pt1, 0, 4), (info->nframes - 2) << 12 | RO};
	if (update(b, 1) >= 0)
		count_bad(&t, "a run of pfns leaves the table");
	b[0] = (struct fh_op){fh_what(FH_OP_CLAIM, 0, pt1, 0, 4), (info->nframes - 2) << 12 | RW};
	if (update(b, 1) >= 0)
		count_bad(&t, "a claim of pfns leaves the table");
	for (unsigned i = 0; i < 4; i++)
		op(FH_OP_UNMAP_FREE, 0, pt1, i, 0, 0);
	none_bad(&t, "runs of frames and slots that leave their table, or wrap: EINVAL");
	victim_end(v, &t);
}
