/* documented.c - see documented.h. */
#include "documented.h"

static const int listed[FH_NSYSCALLS][12] = {
    [FH_SYS_thread_switch] = {FH_EINVAL, FH_ESRCH, FH_EPERM, FH_ENOSPC, FH_EINTR},
    [FH_SYS_thread_ctl] = {FH_EINVAL, FH_ESRCH, FH_EPERM, FH_EBUSY, FH_ENOSPC},
    [FH_SYS_frame_alloc] = {FH_EINVAL, FH_ESRCH, FH_EPERM, FH_EBUSY, FH_EDQUOT, FH_ECANCELED, FH_EAGAIN},
    [FH_SYS_frame_free] = {FH_EINVAL, FH_EPERM, FH_EBUSY},
    [FH_SYS_frame_retype] = {FH_EINVAL, FH_EPERM, FH_EBUSY, FH_ENOTEMPTY, FH_ENOSPC, FH_EAGAIN},
    [FH_SYS_frame_grant] = {FH_EINVAL, FH_ESRCH, FH_EPERM, FH_EBUSY, FH_ECANCELED, FH_EAGAIN},
    [FH_SYS_frame_take] = {FH_EINVAL, FH_EPERM, FH_EBUSY, FH_EDQUOT, FH_ECANCELED, FH_EAGAIN},
    [FH_SYS_frame_sync] = {FH_EINVAL, FH_EAGAIN},
    [FH_SYS_pt_set] = {FH_EINVAL, FH_EPERM, FH_EACCES, FH_EBUSY, FH_EEXIST, FH_ENOENT, FH_ENOSPC, FH_EDQUOT,
                       FH_ECANCELED, FH_EAGAIN},
    [FH_SYS_pt_update] = {FH_EINVAL, FH_EPERM, FH_EACCES, FH_EBUSY, FH_EEXIST, FH_ENOENT, FH_ENOSPC, FH_EDQUOT,
                          FH_ECANCELED, FH_EAGAIN},
    [FH_SYS_tlb_flush] = {FH_EINVAL, FH_EPERM, FH_EAGAIN},
    [FH_SYS_env_ctl] = {FH_EINVAL, FH_ESRCH, FH_EPERM, FH_EBUSY, FH_ENOSPC, FH_EDQUOT, FH_ECANCELED, FH_EAGAIN},
    [FH_SYS_thread_write] = {FH_EINVAL, FH_ESRCH, FH_EPERM, FH_EBUSY, FH_ENOSPC},
    [FH_SYS_cpu_slice] = {FH_EINVAL, FH_ESRCH, FH_EPERM, FH_EBUSY, FH_ENOSPC},
    [FH_SYS_console_write] = {FH_EINVAL},
    [FH_SYS_console_read] = {FH_EINVAL, FH_EPERM},
    [FH_SYS_machine_halt] = {FH_EINVAL, FH_EPERM},
};

const char *const call_names[] = {
#define FH_X(number, name, nargs, args) [number] = #name,
    FH_SYSCALLS(FH_X)
#undef FH_X
};
/* The largest result of a success. */
static const int64_t largest[FH_NSYSCALLS] = {
    [FH_SYS_thread_switch] = (int64_t)FH_BELLS_USER, [FH_SYS_frame_alloc] = 64,    [FH_SYS_frame_free] = 64,
    [FH_SYS_frame_take] = 64,                        [FH_SYS_frame_sync] = 64,
    [FH_SYS_pt_set] = FH_OP_KEPT,                    [FH_SYS_console_write] = 128, [FH_SYS_console_read] = 128,
};

bool documented(uint64_t number, int64_t result)
{
	if (number >= FH_NSYSCALLS)
		return result == -FH_ENOSYS;
	if (result >= 0)
		return result <= largest[number] && number != FH_SYS_machine_halt;
	for (unsigned i = 0; i < 12 && listed[number][i]; i++)
		if (result == -listed[number][i])
			return true;
	return false;
}
