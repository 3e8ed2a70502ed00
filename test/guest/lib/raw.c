/* raw.c - see raw.h. */
#include "raw.h"

#include <string.h>

#include "spacewalk.h"

static const unsigned rights[RAW_PAGES] = {
    [RAW_CODE] = RIGHT_R | RIGHT_X,
    [RAW_STACK] = RIGHT_R | RIGHT_W,
    [RAW_UPCALL] = RIGHT_R | RIGHT_W,
    [RAW_BATCH] = RIGHT_R | RIGHT_W,
    [RAW_DATA] = RIGHT_R | RIGHT_W,
};

int64_t raw_write(struct raw *r, const struct fh_thread_args *args)
{
	uint64_t offset, size;
	struct fh_thread_args *a = batch_area(&offset, &size);

	*a = *args;
	return sys_thread_write(r->name, offset);
}

int raw_reset(struct raw *r)
{
	struct fh_thread_args a = {
	    .fields = FH_SET_ALL,
	    .regs = raw_regs(r, 0),
	    .gs_base = raw_va(r, RAW_UPCALL),
	    .root = r->root,
	    .upcall = r->frames + RAW_UPCALL,
	    .batch = r->frames + RAW_BATCH,
	    .keeper = thread_self_name(),
	    .keeper_bits = RAW_BELL,
	};
	return (int)raw_write(r, &a);
}

static int make_thread(struct raw *r)
{
	if (!(r->thread = frame_get_typed(&frames_first, r->env, FH_THREAD)))
		return -FH_EDQUOT;
	if (!(r->view = scratch_map(r->thread, 1, RIGHT_R)))
		return -FH_EPERM;
	r->name = fh_name(r->thread, r->view->serial);
	r->upcall = (struct fh_upcall *)r->page[RAW_UPCALL];
	r->batch = (struct fh_op *)r->page[RAW_BATCH];
	r->upcall->self_va = raw_va(r, RAW_UPCALL);
	raw_code(r, "", 0);
	return raw_reset(r);
}

static int map_pages(struct raw *r, struct space *s)
{
	int e = 0;

	if (!(r->frames = frame_get(&frames_first, RAW_PAGES, 1, r->env, 0)))
		return -FH_EDQUOT;
	for (unsigned i = 0; i < RAW_PAGES && e == 0; i++)
		e = space_map(s, raw_va(r, i), r->frames + i, 1, rights[i]);
	char *here = e < 0 ? NULL : scratch_map(r->frames, RAW_PAGES, RIGHT_R | RIGHT_W);
	for (unsigned i = 0; i < RAW_PAGES; i++)
		r->page[i] = here + i * FH_PAGE;
	return e < 0 ? e : here ? 0 : -FH_EPERM;
}

int raw_new(struct raw *r, uint64_t quota) { return raw_below(r, 0, quota); }

int raw_below(struct raw *r, pfn_t parent, uint64_t quota)
{
	struct fh_env view;
	int e;

	*r = (struct raw){.own = true, .base = RAW_BASE};
	if (!(r->env = frame_get_typed(&frames_first, parent, FH_ENV)))
		return -FH_EDQUOT;
	if ((e = env_look(r->env, &view)) < 0)
		return e;
	r->env_name = fh_name(r->env, view.serial);
	if ((e = (int)sys_env_ctl(r->env_name, FH_ENV_QUOTA, quota, 0)) < 0)
		return e;
	if ((e = space_new(&r->space, r->env, &frames_first)) < 0)
		return e;
	r->root = r->space.root;
	if ((e = map_pages(r, &r->space)) < 0 || (e = make_thread(r)) < 0)
		return e;
	space_unpeek(&r->space);
	return 0;
}

int raw_here(struct raw *r)
{
	static unsigned places;
	int e;

	*r = (struct raw){.env = env_self(), .base = RAW_AREA + places++ * 16 * FH_PAGE, .root = space_current()->root};
	r->env_name = env_self_name();
	if ((e = map_pages(r, space_current())) < 0)
		return e;
	return make_thread(r);
}

int raw_beside(struct raw *r, struct raw *first)
{
	int e;

	*r = (struct raw){.env = first->env, .env_name = first->env_name, .base = first->base + 16 * FH_PAGE, .root = first->root};
	e = map_pages(r, &first->space);
	space_unpeek(&first->space);
	return e < 0 ? e : make_thread(r);
}

void raw_forget(struct raw *r)
{
	if (r->view)
		scratch_put((va_t)r->view, 1);
	if (r->page[0])
		scratch_put((va_t)r->page[0], RAW_PAGES);
	if (r->own)
		space_unpeek(&r->space);
	r->view = NULL, r->page[0] = NULL;
}

int raw_end(struct raw *r)
{
	uint64_t freed;
	int e = 0;

	raw_forget(r);
	if (r->own)
		return env_reap_pfn(r->env, &freed);
	thread_stop(r->name, 0);
	space_unmap(space_current(), r->base, RAW_PAGES);
	if ((e = frame_put_typed(r->thread)) < 0)
		return e;
	/* Another CPU may be looking at one of them: an operation that it will be refused. */
	for (unsigned i = 0, tries = 0; i < RAW_PAGES && e == 0; i += e == 0)
		while ((e = frame_put(r->frames + i, 1)) == -FH_EBUSY && tries++ < RAW_PATIENCE)
			thread_sleep(1);
	return e;
}

struct fh_regs raw_regs(const struct raw *r, unsigned offset)
{
	return (struct fh_regs){.rip = raw_va(r, RAW_CODE) + offset, .rsp = raw_stack_top(r), .rflags = 2};
}

unsigned raw_wait(struct raw *r, unsigned ms)
{
	for (unsigned i = 0;; i++) {
		unsigned state = r->view->state;
		if (state == FH_STOPPED || state == FH_FAULTED)
			return state;
		if (state == FH_SLEEPING && r->view->deadline == ~0ul)
			return state;
		if (i > ms)
			break;
		sys_thread_switch(r->name, 0, RAW_BELL, cpu_tsc() + info->tsc_khz);
	}
	thread_stop(r->name, 0);
	return FH_READY;
}

void raw_let(struct raw *r, uint64_t give, unsigned ms)
{
	sys_thread_switch(0, 0, RAW_BELL, 1); /* a bell from before would end the wait at once */
	for (unsigned i = 0; i < 4; i++, give = 0) /* the rest of our slice that it gets may be nothing, once */
		if (sys_thread_switch(r->name, give, RAW_BELL, cpu_tsc() + ms * info->tsc_khz / 4) != 0)
			break;
	while (r->view->state == FH_RUNNING) /* on another CPU, which goes on with it until its next tick */
		thread_sleep(1);
}

unsigned raw_resume(struct raw *r, unsigned ms)
{
	int64_t e = sys_thread_ctl(r->name, FH_THREAD_START, 0);

	return e < 0 ? (unsigned)e : raw_wait(r, ms);
}

unsigned raw_run(struct raw *r, const struct fh_regs *regs, unsigned ms)
{
	struct fh_thread_args a = {.fields = FH_SET_REGS, .regs = *regs};
	int64_t e = raw_write(r, &a);

	return e < 0 ? (unsigned)e : raw_resume(r, ms);
}

int64_t raw_call(struct raw *r, uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	struct fh_regs regs = raw_regs(r, 0);

	raw_code(r, "\x0f\x05\x0f\x0b", 4); /* syscall; ud2 */
	regs.rax = number, regs.rdi = a, regs.rsi = b, regs.rdx = c, regs.r10 = d;
	unsigned state = raw_run(r, &regs, RAW_PATIENCE);
	return state == FH_FAULTED ? (int64_t)r->view->regs.rax : -10000 - (int64_t)state;
}

void raw_code(struct raw *r, const void *bytes, size_t n)
{
	static const unsigned char stop[] = {
	    0xb8, FH_SYS_thread_ctl, 0, 0, 0,              /* mov eax, FH_SYS_thread_ctl */
	    0x31, 0xff,                                    /* xor edi, edi */
	    0xbe, FH_THREAD_STOP, 0, 0, 0,                 /* mov esi, FH_THREAD_STOP */
	    0xba, RAW_STOP_STATUS, 0, 0, 0,                /* mov edx, 1 */
	    0x0f, 0x05,                                    /* syscall */
	    0xeb, 0xeb,                                    /* jmp to the first of these */
	};

	memcpy(r->page[RAW_CODE], bytes, n);
	memcpy(r->page[RAW_CODE] + n, stop, sizeof(stop));
	memset(r->page[RAW_CODE] + n + sizeof(stop), 0xf4, FH_PAGE - n - sizeof(stop)); /* hlt: a fault */
}
