/* resea.c - the vm server: see resea.h. Nothing a task says, and nothing in its file, is trusted. */
#include "resea.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mm.h"
#include "spacewalk.h"
#include "start.h"
#include "syscall.h"

#define RW (RIGHT_R | RIGHT_W)
#define PAGE_FAULT 14u
#define TASK_QUOTA 1024ul /* frames, or a quarter of those left */
#define STACK_TOP_VA 0x4200000ul
#define SHARED 16u
#define SHARED_PAGES 64u

struct resea_task resea_task[RESEA_TASKS];

static struct shared {
	size_t pages; /* 0: unused */
	bool closed;
	unsigned users; /* ranges that show it */
	va_t va;      /* where it is mapped here */
} shared[SHARED + 1]; /* by id, from 1 */

/* ---- Pages ---- */

int resea_vm_map(int caller, unsigned task, va_t va, pfn_t pfn, pfn_t *page, unsigned rights)
{
	if (caller >= 0)
		return -EPERM;
	if (task >= RESEA_TASKS || resea_task[task].state != RESEA_RUNNING)
		return -ESRCH;
	if (va >= 0x800000000000ul)
		return -EFAULT;
	if (va % FH_PAGE || !(rights & RIGHT_R) || rights & ~(RW | RIGHT_X))
		return -EINVAL;
	struct space s = child_space(resea_task[task].env);
	pfn_t table = s.root;
	int r = 0;
	for (unsigned level = 4; level > 1 && r == 0; level--) {
		pte_t e = *space_slot(&s, va, level);
		if (e & FH_P) {
			table = fh_pte_pfn(e);
			continue;
		}
		if (!*page) {
			r = -EAGAIN;
			break;
		}
		r = (int)sys_frame_retype(*page, FH_PT1 + level - 2);
		e = *page << 12 | FH_P | FH_W | FH_U;
		if (r == 0 && (r = pt_one(s.frames, FH_OP_SET, 0, table, pt_index(va, level), &e, 0)) >= 0) {
			*page = 0;
			r = -EAGAIN;
		}
	}
	if (r == 0) {
		pte_t e = pte_make(pfn, rights);
		r = *space_slot(&s, va, 1) & FH_P ? -EEXIST : pt_one(s.frames, FH_OP_SET, 0, table, pt_index(va, 1), &e, 0);
	}
	space_unpeek(&s);
	return r < 0 ? r : 0;
}

/* The same until it is done, with the task's own frames as tables. */
static int map(unsigned i, va_t va, pfn_t pfn, unsigned rights)
{
	pfn_t page = 0;
	int r;

	while ((r = resea_vm_map(-1, i, va, pfn, &page, rights)) == -EAGAIN)
		if (!page && !(page = frame_get(&frames_first, 1, 1, resea_task[i].env->pfn, 0)))
			return -ENOMEM;
	if (page)
		frame_put(page, 1);
	return r;
}

/* A new page of the task's own, with n bytes from src at its beginning + lead. */
static int place(unsigned i, va_t va, unsigned rights, const void *src, size_t n, size_t lead)
{
	pfn_t f = frame_get(&frames_first, 1, 1, resea_task[i].env->pfn, 0);
	char *p = f ? scratch_map(f, 1, RW) : NULL;
	int r = -ENOMEM;

	if (p) {
		memcpy(p + lead, src, n);
		scratch_put((va_t)p, 1);
		r = map(i, va, f, rights);
	}
	if (r < 0 && f)
		frame_put(f, 1);
	return r;
}

/* The part of the file that belongs into the page at va. -ENOENT: no segment has that page. */
static int place_segment(unsigned i, va_t va)
{
	const struct image *m = &resea_task[i].image;
	const Elf64_Ehdr *h = (const void *)m->elf;

	for (unsigned k = 0; k < h->e_phnum; k++) {
		const Elf64_Phdr *p = (const Elf64_Phdr *)(m->elf + h->e_phoff) + k;
		if (p->p_type != PT_LOAD || va < page_down(p->p_vaddr) || va >= page_up(p->p_vaddr + p->p_memsz))
			continue;
		unsigned rights = RIGHT_R | (p->p_flags & PF_W ? RIGHT_W : 0) | (p->p_flags & PF_X ? RIGHT_X : 0);
		va_t from = va > p->p_vaddr ? va : p->p_vaddr, to = p->p_vaddr + p->p_filesz;
		to = to > va + FH_PAGE ? va + FH_PAGE : to;
		return place(i, va, rights, m->elf + p->p_offset + (from - p->p_vaddr), to > from ? to - from : 0, from - va);
	}
	return -ENOENT;
}

static const struct area *area_at(va_t va)
{
	const struct area *a = layout_resea.area, *found = NULL;

	for (; a->kind != AREA_END; a++)
		if (!(a->after && !a->lo) && a->lo <= va)
			found = a;
	return found;
}

static struct resea_range *range_at(struct resea_task *t, va_t va)
{
	for (unsigned k = 0; k < RESEA_RANGES; k++)
		if (va >= t->range[k].lo && va < t->range[k].hi)
			return &t->range[k];
	return NULL;
}

/* The page at va, by the table. NULL: it is there now; else why it can't be. */
static const char *provide(unsigned i, va_t va)
{
	struct resea_task *t = &resea_task[i];
	const struct area *a = area_at(va);
	int r = -ENOENT;

	va = page_down(va);
	if (a->kind == AREA_GUARD && va < a->hi)
		return "null";
	if (a->kind == AREA_TEXT || a->kind == AREA_DATA)
		r = place_segment(i, va);
	else if (a->kind == AREA_ARGS)
		r = place(i, va, RW, t->cmdline, strlen(t->cmdline), 0);
	else if (a->kind == AREA_STACK || a->kind == AREA_HEAP || a->kind == AREA_BSS)
		r = place(i, va, RW, "", 0, 0);
	else if (a->kind == AREA_ALIAS && range_at(t, va))
		r = place(i, va, RW, "", 0, 0);
	return r == 0 ? NULL : r == -ENOENT ? "nothing is there" : "no memory for its page";
}

/* ---- The end of a task ---- */

static void forget(struct resea_task *t)
{
	for (unsigned k = 0; k < RESEA_RANGES; k++)
		if (t->range[k].shm)
			shared[t->range[k].shm].users--;
	for (unsigned k = 1; k <= SHARED; k++)
		if (shared[k].pages && shared[k].closed && !shared[k].users) {
			mm_unmap(shared[k].va, shared[k].pages * FH_PAGE);
			shared[k].pages = 0;
		}
}

/* All its frames come back: the window first, then what it owned. */
static void reap(struct resea_task *t)
{
	window_withdraw(&t->window);
	env_reap(&t->env, &t->freed);
	window_free(&t->window);
	mm_unmap((va_t)t->message, FH_PAGE);
	free(t->mail);
	forget(t);
}

int resea_kill(unsigned i, const char *why)
{
	struct resea_task *t = &resea_task[i];

	if (i >= RESEA_TASKS || t->state != RESEA_RUNNING)
		return -ESRCH;
	env_kill(t->env);
	t->state = RESEA_KILLED;
	t->why = why;
	t->rip = t->env->view->regs.rip;
	reap(t);
	return 0;
}

static void fault(unsigned i)
{
	struct resea_task *t = &resea_task[i];
	const volatile struct fh_thread *v = t->env->view; /* what the kernel says, nobody else */
	va_t va = v->fault_address;
	const char *why = v->regs.vector != PAGE_FAULT ? "an exception" : v->regs.error & FAULT_PRESENT ? "not allowed" : provide(i, va);

	if (!why) {
		t->faults++;
		sys_thread_ctl(t->env->thread_name, FH_THREAD_START, 0);
		return;
	}
	t->address = va;
	printf("vm: task %s is killed: %s: address %#lx, rip %#lx (vector %lu, error %#lx)\n", t->name, why, va, v->regs.rip, v->regs.vector,
	       v->regs.error);
	resea_kill(i, why);
}

/* ---- Calls ---- */

/* n bytes between the task's memory at va and `here`, whatever pages they lie in. 0 or -EFAULT. */
static int copy(unsigned i, va_t va, char *here, size_t n, bool out)
{
	struct space s = child_space(resea_task[i].env);
	int r = 0;

	while (n > 0 && r == 0) {
		size_t part = FH_PAGE - va % FH_PAGE;
		part = part < n ? part : n;
		pte_t e = va < 0x800000000000ul ? space_get(&s, va) : 0;
		if (!(e & FH_P) && va < 0x800000000000ul && !provide(i, va))
			e = space_get(&s, va);
		char *p = e & FH_P && (e & FH_W || !out) ? scratch_map(fh_pte_pfn(e), 1, out ? RW : RIGHT_R) : NULL;
		if (p) {
			memcpy(out ? p + va % FH_PAGE : here, out ? here : p + va % FH_PAGE, part);
			scratch_put((va_t)p, 1);
		}
		r = p ? 0 : -EFAULT;
		va += part, here += part, n -= part;
	}
	space_unpeek(&s);
	return r;
}

static struct resea_range *range_new(struct resea_task *t, uint64_t bytes, bool *exhausted)
{
	*exhausted = bytes == 0 || bytes > RESEA_DYNAMIC_END - t->next;
	for (unsigned k = 0; k < RESEA_RANGES && !*exhausted; k++)
		if (!t->range[k].lo) {
			t->range[k] = (struct resea_range){t->next, t->next + page_up(bytes), 0};
			t->next += page_up(bytes);
			return &t->range[k];
		}
	return NULL;
}

static int64_t shm_map(unsigned i, uint64_t id)
{
	struct resea_task *t = &resea_task[i];
	bool exhausted;

	if (id == 0 || id > SHARED || !shared[id].pages || shared[id].closed)
		return -ENOENT;
	struct resea_range *r = range_new(t, shared[id].pages * FH_PAGE, &exhausted);
	if (!r)
		return -ENOMEM;
	int e = 0;
	size_t k = 0;
	for (; k < shared[id].pages && e == 0; k += e == 0) /* frames of the server's, in a table of the task's */
		e = map(i, r->lo + k * FH_PAGE, fh_pte_pfn(space_get(&space_main, shared[id].va + k * FH_PAGE)), RW);
	if (e < 0) { /* as if it had not been asked for: nobody has had the addresses */
		struct space s = child_space(t->env);
		space_unmap(&s, r->lo, k);
		space_unpeek(&s);
		t->next = r->lo;
		*r = (struct resea_range){0, 0, 0};
		return e;
	}
	r->shm = (unsigned)id;
	shared[id].users++;
	return (int64_t)r->lo;
}

static int64_t shm_create(uint64_t bytes)
{
	for (unsigned id = 1; id <= SHARED; id++) {
		if (shared[id].pages)
			continue;
		int64_t va = bytes && bytes <= SHARED_PAGES * FH_PAGE ? mm_map(0, bytes, RW, MM_EAGER | MM_SHARED) : -ENOMEM;
		if (mm_failed(va))
			return va;
		shared[id] = (struct shared){.pages = page_up(bytes) / FH_PAGE, .va = (va_t)va};
		return id;
	}
	return -ENOMEM;
}

static int64_t shm_close(uint64_t id)
{
	if (id == 0 || id > SHARED || !shared[id].pages || shared[id].closed)
		return -ENOENT;
	shared[id].closed = true;
	forget(&(struct resea_task){0});
	return 0;
}

static int64_t range_free(unsigned i, va_t va)
{
	struct resea_range *r = range_at(&resea_task[i], va);
	struct space s = child_space(resea_task[i].env);

	if (!r || r->lo != va)
		return -EINVAL;
	int e = r->shm ? space_unmap(&s, r->lo, (r->hi - r->lo) / FH_PAGE) : space_drop(&s, r->lo, (r->hi - r->lo) / FH_PAGE);
	space_unpeek(&s);
	if (r->shm)
		shared[r->shm].users--;
	*r = (struct resea_range){0, 0, 0};
	forget(&(struct resea_task){0}); /* it may have been the last one that shows it */
	return e;
}

static int64_t mail_send(unsigned i, uint64_t to, va_t va, size_t n)
{
	if (to >= RESEA_TASKS || resea_task[to].state != RESEA_RUNNING)
		return -ESRCH;
	struct resea_mail *m = resea_task[to].mail;
	if (m->full || n > RESEA_PAYLOAD)
		return m->full ? -EBUSY : -E2BIG;
	int r = copy(i, va, m->text, n, false);
	m->full = r == 0;
	m->bytes = n;
	return r;
}

static int64_t mail_receive(unsigned i, va_t va, size_t room)
{
	struct resea_mail *m = resea_task[i].mail;

	if (!m->full)
		return -EAGAIN;
	size_t n = m->bytes < room ? m->bytes : room;
	int r = copy(i, va, m->text, n, true);
	m->full = r < 0;
	return r < 0 ? r : (int64_t)n;
}

static void call(unsigned i)
{
	struct resea_task *t = &resea_task[i];
	struct resea_message m = *(volatile struct resea_message *)t->message; /* once: the task could write it meanwhile */
	pfn_t none = 0;
	bool exhausted = false;
	int64_t r = -ENOSYS;

	if (m.call == RESEA_ALLOC) {
		struct resea_range *range = range_new(t, m.arg[0], &exhausted);
		r = range ? (int64_t)range->lo : -ENOMEM;
	} else if (m.call == RESEA_FREE) {
		r = range_free(i, m.arg[0]);
	} else if (m.call == RESEA_SHM_CREATE) {
		r = shm_create(m.arg[0]);
	} else if (m.call == RESEA_SHM_MAP) {
		r = shm_map(i, m.arg[0]);
	} else if (m.call == RESEA_SHM_CLOSE) {
		r = shm_close(m.arg[0]);
	} else if (m.call == RESEA_SEND) {
		r = mail_send(i, m.arg[0], m.arg[1], m.arg[2]);
	} else if (m.call == RESEA_RECEIVE) {
		r = mail_receive(i, m.arg[0], m.arg[1]);
	} else if (m.call == RESEA_MAP) {
		r = resea_vm_map((int)i, (unsigned)m.arg[0], m.arg[1], m.arg[2], &none, RW);
	} else if (m.call == RESEA_FAULT) {
		t->forged++; /* faults are told by the kernel, in the THREAD frame */
		r = -EPERM;
	}
	if (exhausted && m.arg[0]) {
		t->address = t->next;
		printf("vm: task %s is killed: it wants %#lx bytes from %#lx on: past 10 TiB\n", t->name, m.arg[0], t->next);
		resea_kill(i, "out of addresses");
		return;
	}
	t->message->result = r;
	sys_thread_ctl(t->env->thread_name, FH_THREAD_START, 0);
}

/* ---- Tasks ---- */

static int make_window(struct resea_task *t)
{
	struct space s = child_space(t->env);
	int64_t va = mm_map(0, FH_PAGE, RW, MM_EAGER | MM_SHARED);
	int r = mm_failed(va) ? (int)va : window_new(&t->window);

	if (r < 0)
		return r;
	t->message = (struct resea_message *)va;
	if ((r = window_show(&t->window, 0, (va_t)va, 1, RW)) < 0 || (r = window_grant(&t->window, t->env->name)) < 0)
		return r;
	pfn_t over = space_table(&s, RESEA_MESSAGE_VA, 2);
	pte_t link = t->window.table << 12 | FH_P | FH_W | FH_U;
	r = over ? pt_one(s.frames, FH_OP_SET, 0, over, pt_index(RESEA_MESSAGE_VA, 2), &link, 0) : -ENOMEM;
	space_unpeek(&s);
	return r < 0 ? r : 0;
}

static int make(unsigned i, const void *elf, size_t bytes)
{
	struct resea_task *t = &resea_task[i];
	struct child c;
	struct places places;
	int r;

	const char *wrong = image_open(&t->image, elf, bytes, &layout_resea);
	if (!wrong && layout_arrange(&layout_resea, 0, 0, &places) == 0)
		wrong = image_fits(&t->image, &places);
	if (wrong) {
		printf("vm: task %s: %s\n", t->name, wrong);
		return -ENOEXEC;
	}
	uint64_t account = env_view()->account, share = (fh_quota(account) - fh_owned(account)) / 4;
	if ((r = child_new(&c, t->name, share < TASK_QUOTA ? share : TASK_QUOTA, &frames_first, false)) < 0)
		return r;
	t->env = c.env;
	/* No entry, no depth: each fault goes to the keeper. */
	if ((r = child_place(&c.space, info->batch_va, 1, RW, NULL, 0, 0)) < 0 ||
	    (r = child_place(&c.space, info->upcall_va, 1, RW, NULL, 0, 0)) < 0)
		return child_abandon(&c, r);
	struct fh_regs regs = {.rip = t->image.entry, .rsp = STACK_TOP_VA, .rflags = 2};
	if ((r = child_start(&c, &regs, 0, 1, true)) < 0)
		return child_abandon(&c, r);
	return make_window(t);
}

int resea_start(const char *name, const void *elf, size_t bytes, const char *cmdline)
{
	unsigned i = 0;

	while (i < RESEA_TASKS && resea_task[i].state == RESEA_RUNNING)
		i++;
	if (i == RESEA_TASKS)
		return -EAGAIN;
	struct resea_task *t = &resea_task[i];
	*t = (struct resea_task){.next = RESEA_DYNAMIC, .mail = calloc(1, sizeof(struct resea_mail))};
	snprintf(t->name, sizeof(t->name), "%s", name);
	snprintf(t->cmdline, sizeof(t->cmdline), "%s", cmdline);
	int r = t->mail ? make(i, elf, bytes) : -ENOMEM;
	if (r < 0) {
		if (t->env)
			reap(t);
		else
			free(t->mail);
		return r;
	}
	t->state = RESEA_RUNNING;
	sys_thread_ctl(t->env->thread_name, FH_THREAD_START, 0);
	return (int)i;
}

/* What task i wants, if it wants something. */
static bool serve(unsigned i)
{
	struct resea_task *t = &resea_task[i];
	enum env_state state = t->state == RESEA_RUNNING ? env_state(t->env) : ENV_RUNNING;

	if (state == ENV_RUNNING)
		return false;
	if (state == ENV_FAULTED) {
		fault(i);
	} else if (t->env->view->status == RESEA_CALL) {
		call(i);
	} else {
		t->state = RESEA_EXITED;
		t->status = env_status(t->env);
		reap(t);
	}
	return true;
}

void resea_serve(int i)
{
	for (;;) {
		bool worked = false, running = false;
		for (unsigned k = 0; k < RESEA_TASKS; k++) {
			worked |= serve(k);
			running |= resea_task[k].state == RESEA_RUNNING && (i < 0 || (unsigned)i == k);
		}
		if (!running)
			return;
		if (!worked)
			sys_thread_switch(0, 0, 1ul << BELL_CHILD, 0);
	}
}
