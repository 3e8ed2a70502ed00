/* resea.c - the lines of the layout resea, by a vm server and tasks that do what their command line says (user/bootfs/resea/probe.c). */
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lines.h"
#include "resea.h"
#include "spacewalk.h"

const unsigned lines_total = 13;

#define RW (RIGHT_R | RIGHT_W)

static const void *probe;
static size_t probe_bytes;

static int start(const char *cmdline)
{
	if (!probe)
		probe = bootfs_file("probe", &probe_bytes);
	int i = resea_start("probe", probe, probe_bytes, cmdline);
	expect(i >= 0, "a task is started: %s", cmdline);
	return i;
}

/* Run one task to its end. */
static struct resea_task *run(const char *cmdline)
{
	int i = start(cmdline);

	if (i < 0)
		return &resea_task[0];
	resea_serve(i);
	return &resea_task[i];
}

static void exits(const char *cmdline, int status, const char *sentence)
{
	struct resea_task *t = run(cmdline);

	expect(t->state == RESEA_EXITED, "%s: the task lives (%s)", sentence, t->why ? t->why : "running");
	expect_is(t->status, status, "%s: its exit status (from 128 on: a wrong value, 128 + the column in \"%s\")", sentence, cmdline);
}

static void killed(const char *cmdline, va_t address, const char *why, const char *sentence)
{
	struct resea_task *t = run(cmdline);

	expect(t->state == RESEA_KILLED && strcmp(t->why, why) == 0, "%s kills: %s", sentence, t->why ? t->why : "it lives");
	expect_is((int64_t)t->address, (int64_t)address, "%s: the address in the report", sentence);
	expect(t->rip >= 0x1000000 && t->rip < RESEA_CMDLINE_VA, "%s: its instruction, %#lx", sentence, t->rip);
}

/* ---- 1 to 5, 7 ---- */

static unsigned sum(const char *line)
{
	unsigned n = 0;

	while (*line)
		n += (unsigned char)*line++;
	return n;
}

static void command_line(void)
{
	char line[100], spaces[64] = "";

	size_t n0 = strlen("r 2fff000 = 72 r 2fff001 = 20 r 2fff... = 0 r 2ffffff = 0");
	snprintf(line, sizeof(line), "r 2fff000 = 72 r 2fff001 = 20 r 2fff%03lx = 0 r 2ffffff = 0", n0);
	exits(line, 0, "its first bytes, NUL behind the last, the last byte of the page");
	/* A line that knows the sum of its own bytes, so that a byte that isn't 0 behind it would show. */
	for (unsigned n = 0, pad = 0; pad < 60; n++) {
		snprintf(line, sizeof(line), "s 2fff000 = %x%s", n, spaces);
		if (sum(line) == n)
			break;
		if (n == 0xfff)
			n = 0, spaces[pad++] = ' ';
	}
	exits(line, (int)sum(line) & 127, "the whole page's sum is that of the line: the rest is zero");
}

static void untouched(void)
{
	struct resea_task *t = run("r 41ffff0 r 3000000"); /* all that it touches by itself */
	uint64_t base = t->freed, faults = t->faults;

	t = run("r 41fe000 = 0 r 4200000 = 0 r 6000000 = 0 r c1ff000 = 0 r c201000 = 0 r e000000 = 0 r ffffff0 = 0");
	expect(t->state == RESEA_EXITED && t->status == 0, "stack, heap and bss read 0 (status %d)", t->status);
	expect_is((int64_t)(t->faults - faults), 7, "pages that came for seven touches");
	expect(t->freed >= base + 7 && t->freed <= base + 7 + 7, "it took %lu frames, without them %lu: as many, and at most as many tables", t->freed, base);
	struct resea_task *once = run("w 5000000 1"), *often;
	unsigned long one = once->freed;
	often = run("w 5000000 1 w 5000ff8 2 r 5000123 r 5000000 = 1");
	expect_is((int64_t)often->freed, (int64_t)one, "frames for a page touched often");
	/* .text and .data are what the file has. */
	const Elf64_Ehdr *h = probe;
	char line[200];
	const Elf64_Phdr *p = (const Elf64_Phdr *)((const char *)probe + h->e_phoff);
	for (unsigned i = 0; i < h->e_phnum; i++, p++) {
		if (p->p_type != PT_LOAD || p->p_filesz < 32 || p->p_flags & PF_W)
			continue;
		const unsigned char *bytes = (const unsigned char *)probe + p->p_offset;
		snprintf(line, sizeof(line), "r %lx = %x r %lx = %x r %lx = %x", p->p_vaddr, bytes[0], p->p_vaddr + 17, bytes[17],
		         p->p_vaddr + p->p_filesz - 1, bytes[p->p_filesz - 1]);
		exits(line, bytes[p->p_filesz - 1] & 127, "text and constants come from the file");
	}
	exits("r 3000000 = 69 r 3000001 = 6e r 300003e = 0 w 3000000 5 r 3000000 = 5", 5, ".data does, and can be written");
	exits("r 3000000 = 69", 0x69, "another task has a .data of its own");
	t = run("w 1000000 1");
	expect(t->state == RESEA_KILLED && strcmp(t->why, "not allowed") == 0, "a write to .text kills: %s", t->why ? t->why : "it lives");
	t = run("j 4200000");
	expect(t->state == RESEA_KILLED && strcmp(t->why, "not allowed") == 0, "a jump into the heap kills: %s", t->why ? t->why : "it lives");
}

static void below_the_stack(void)
{
	exits("w 41ffff8 7 r 41ffff8 = 7", 7, "a write to the top of the stack");
	exits("w 4000000 7 r 4000000 = 7", 7, "one to its lowest byte");
	killed("r 3fff000", 0x3fff000, "nothing is there", "a touch under the stack, past .data,");
	killed("w 3ffffff 1", 0x3ffffff, "nothing is there", "a write to the last byte under it");
}

static void null(void)
{
	killed("r 0", 0, "null", "a read of 0");
	killed("w fff 1", 0xfff, "null", "a write to 0xfff");
	struct resea_task *t = run("j 0");
	expect(t->state == RESEA_KILLED && strcmp(t->why, "null") == 0 && t->rip == 0, "a jump to 0 kills: %s, rip %#lx", t->why, t->rip);
	killed("r 1000", 0x1000, "nothing is there", "one page on it is not null, but a read");
}

static void heap_meets_bss(void)
{
	exits("w c1fffff 9 r c200000 = 0 r c1fffff = 9 w c200000 8 r c1fffff = 9", 9, "both sides of 0xc200000");
}

static void kernel_half(void)
{
	killed("r ffff800000000000", 0xffff800000000000, "nothing is there", "a touch of 0xffff800000000000");
	killed("w ffff8000ffffffff 1", 0xffff8000ffffffff, "nothing is there", "a write to the last byte of the 4 GiB");
	struct resea_task *t = run("r 8000000000000000");
	expect(t->state == RESEA_KILLED && strcmp(t->why, "an exception") == 0, "what is not canonical kills: %s", t->why ? t->why : "it lives");
	char *copy = malloc(probe_bytes);
	if (!expect(copy != NULL, "a copy of the file"))
		return;
	static const va_t entries[] = {0x800000000000, 0x8000000000000000, 0xffff7fffffffffff, 0};
	for (unsigned i = 0; i < 4; i++) {
		memcpy(copy, probe, probe_bytes);
		((Elf64_Ehdr *)copy)->e_entry = entries[i];
		expect_is(resea_start("entry", copy, probe_bytes, ""), -ENOEXEC, "a file with entry %#lx", entries[i]);
	}
	free(copy);
}

/* ---- 6 ---- */

static void dynamic(void)
{
	exits("a 1000 = 10000000 a 3000 = 10001000 a 1 = 10004000 w 10003fff 5 r 10003fff = 5 r 10004000 = 0 w 10004fff 1", 0, "they are contiguous");
	exits("a 2000 = 10000000 w 10000000 5 f 10000000 = 0 a 1000 = 10002000 r 10002000 = 0 a 1000 = 10003000", 0, "what was freed isn't used again");
	killed("a 2000 w 10000000 5 f 10000000 = 0 r 10001000", 0x10001000, "nothing is there", "a touch of what was freed");
	killed("r 10000000", 0x10000000, "nothing is there", "a touch before the first allocation");
	killed("a 1000 r 10001000", 0x10001000, "nothing is there", "a touch past the last one");
	exits("a 2000 f 10001000 = ffffffffffffffea f 20000000 = ffffffffffffffea", 0x6a, "freeing what wasn't allocated is EINVAL");
	killed("a 9fff0000000 w 9ffffffffff 3 r 9ffffffffff = 3 a 1", RESEA_DYNAMIC_END, "out of addresses", "one byte past 10 TiB");
	killed("a 9fff0001000", RESEA_DYNAMIC, "out of addresses", "a first request of more than there is");
}

/* ---- 8, 9, 10 ---- */

static pfn_t page_for(int i) { return frame_get(&frames_first, 1, 1, resea_task[i].env->pfn, 0); }

static void map_protocol(void)
{
	const va_t fresh = 0x200000000000;
	int i = start("! 4200000 8 r 200000000000 = 5a");

	if (i < 0)
		return;
	unsigned u = (unsigned)i;
	pfn_t page = 0, data = page_for(i), none = 0;
	char *p = scratch_map(data, 1, RW);
	p[0] = 0x5a;
	scratch_put((va_t)p, 1);
	expect_returns(resea_vm_map(-1, u, fresh + 8, data, &none, RW), -EINVAL, "an unaligned address");
	expect_returns(resea_vm_map(-1, u, fresh, data, &none, RIGHT_W), -EINVAL, "rights without reading");
	expect_returns(resea_vm_map(-1, u, fresh, data, &none, 16), -EINVAL, "odd rights");
	expect_returns(resea_vm_map(-1, u, 0xffff800000000000, data, &none, RW), -EFAULT, "the upper half");
	expect_returns(resea_vm_map(-1, u, 0x800000000000, data, &none, RW), -EFAULT, "the first address past the lower half");
	expect_returns(resea_vm_map(i, u, fresh, data, &none, RW), -EPERM, "by a task, which is no pager");
	expect_returns(resea_vm_map(-1, RESEA_TASKS, fresh, data, &none, RW), -ESRCH, "in no task");
	expect_returns(resea_vm_map(-1, u, fresh, data, &none, RW), -EAGAIN, "without a page for a table");
	unsigned used = 0;
	int r;
	for (r = -EAGAIN; r == -EAGAIN && used < 9;) {
		page = page_for(i);
		r = resea_vm_map(-1, u, fresh, data, &page, RW);
		used += page == 0;
	}
	expect_returns(r, 0, "after some tries");
	expect_is(used, 3, "pages used for tables");
	expect(page != 0, "the fourth one was not wanted");
	expect_returns(resea_vm_map(-1, u, fresh, data, &none, RW), -EEXIST, "there again");
	pfn_t second = page_for(i);
	expect_returns(resea_vm_map(-1, u, fresh + FH_PAGE, second, &none, RW), 0, "its neighbour needs no table");
	expect_is(frame_put(page, 1), 0, "a page not used is given back");
	int j = start("");
	char line[64];
	snprintf(line, sizeof(line), "v %x = ffffffffffffffff > %x 4200000 8 = 0", u, u);
	expect(j >= 0 && j != i, "another task runs");
	resea_serve(j);
	j = start(line); /* asks for it, and lets the first one go on */
	resea_serve(-1);
	expect(resea_task[i].state == RESEA_EXITED && resea_task[i].status == 0x5a, "the task reads what was mapped: %d", resea_task[i].status);
	expect(j >= 0 && resea_task[j].status == 0, "a task that asks for vm_map is refused, EPERM: %d", resea_task[j].status);
}

static void forged(void)
{
	int victim = start("! 4200000 8 r 4200000 = 0");
	char line[100];

	if (victim < 0)
		return;
	snprintf(line, sizeof(line), "p %x 5000000 = ffffffffffffffff p %x 0 = ffffffffffffffff > %x 4200010 8 = 0", (unsigned)victim,
	         (unsigned)victim, (unsigned)victim);
	int liar = start(line);
	resea_serve(-1);
	expect(liar >= 0 && resea_task[liar].state == RESEA_EXITED && resea_task[liar].status == 0, "it is answered EPERM");
	expect_is((int64_t)resea_task[liar].forged, 2, "messages that claimed a fault");
	expect(resea_task[victim].state == RESEA_EXITED && resea_task[victim].status == 0, "the other task goes on to its own end");
}

static uint64_t books(void) { return frame_count_free() + (meta_end() - META_VA) / FH_PAGE; }

/* Until it waits for mail; then it is held in that call, until the server serves again. */
static void wait_for_receive(int i)
{
	while (resea_task[i].message->call != RESEA_RECEIVE) {
		resea_serve((int)RESEA_TASKS);
		thread_yield();
	}
}

static void frames_back(void)
{
	run("w 5000000 1"); /* the server's own tables and records are there now */
	int i = start("c 3000 m 1 x 1 a 9000 w 10004000 1 w c200000 1 ! 4200000 8");
	resea_kill((unsigned)i, "the first time is for the heap's pages");
	uint64_t before = books();
	for (unsigned k = 0; k < 3; k++) {
		i = start("c 3000 = 1 m 1 w 10000000 1 x 1 = 0 a 9000 w 10004000 1 w c200000 1 w 8000000 1 ! 4200000 8");
		if (i < 0)
			return;
		wait_for_receive(i);
		expect(frame_owned(resea_task[i].env->pfn) > 20, "it holds %ld frames", frame_owned(resea_task[i].env->pfn));
		expect_is(resea_kill((unsigned)i, "the test says so"), 0, "it is killed");
		expect(books() == before, "and every frame is back: %lu before, %lu now", before, books());
	}
	expect_is(resea_kill((unsigned)i, "again"), -ESRCH, "killing it again");
	killed("a 5000 w 10004000 1 w 8000000 1 r 1000", 0x1000, "nothing is there", "a stray touch");
	expect(books() == before, "then they are back, too: %lu", books());
}

/* ---- 11, 12, 13 ---- */

/* Two pages on both sides of a 2 MiB boundary, and no frame for the second one's page table. */
static void sharing_fails(void)
{
	struct fh_env e;
	int i = start("c 2000 = 1 m 1 = 10000000 f 10000000 = 0 a 1fd000 = 10002000 w 101fe000 7 w 4200000 1 ! 4200000 8 m 1 = fffffffffffffff4 "
	              "x 1 = 0 c 1000 = 1 m 1 = 101ff000 r 101ff000 = 0 w 101fffff 8 x 1 = 0 f 101ff000 = 0 c 3000 = 1 x 1 = 0");

	if (i < 0)
		return;
	struct resea_task *t = &resea_task[i];
	wait_for_receive(i);
	expect_is(env_look(t->env->pfn, &e), 0, "its account");
	int64_t spare = (int64_t)(fh_quota(e.account) - fh_owned(e.account));
	expect(spare > 0 && (int64_t)sys_env_ctl(t->env->name, FH_ENV_QUOTA, (uint64_t)-spare, 0) >= 0, "its unused quota of %ld is taken", spare);
	t->mail->full = true;
	t->mail->bytes = 8;
	resea_serve(i);
	expect(t->state == RESEA_EXITED && t->status == 0,
	       "mapping shared memory fails half way: its page is taken out, its id can be closed and its addresses had (%s, status %d)",
	       t->why ? t->why : "it lives", t->status);
}

static void sharing(void)
{
	exits("m 1 = fffffffffffffffe x 1 = fffffffffffffffe m 0 = fffffffffffffffe m ffff = fffffffffffffffe", 0x7e, "an id nobody has made is ENOENT");
	int reader = start("! 4200000 8 m 1 = 10000000 r 10000000 = 11 r 10001000 = 12 r 10004fff = 13 w 10002000 14 > 1 4200000 8 ! 4200000 8 m 1 = fffffffffffffffe r 10000000 = 11");
	int writer = start("c 5000 = 1 m 1 = 10000000 w 10000000 11 w 10001000 12 w 10004fff 13 > 0 4200000 8 = 0 ! 4200000 8 r 10002000 = 14 x 1 = 0 x 1 = fffffffffffffffe > 0 4200000 8 = 0");

	if (!expect(reader == 0 && writer == 1, "two tasks"))
		return;
	resea_serve(-1);
	expect(resea_task[0].state == RESEA_EXITED && resea_task[0].status == 0x11, "the reader saw each page, and keeps them when the id is closed: %d",
	       resea_task[0].status);
	expect(resea_task[1].state == RESEA_EXITED && resea_task[1].status == 0, "the writer saw what the reader wrote: %d", resea_task[1].status);
	expect(resea_task[0].faults <= 6, "pages of shared memory don't fault: all are mapped (%lu faults)", resea_task[0].faults);
	exits("c 0 = fffffffffffffff4 c 100000 = fffffffffffffff4", 0x74, "none, or too much, is ENOMEM");
	sharing_fails();
}

static void payload(void)
{
	/* From 0x5000ff0 in one task, across a page, to 0x6001ff8 in another; the pages behind are touched by nobody before. */
	int to = start("! 6001ff8 20 = 20 r 6001ff8 = 1 r 6001fff = 8 r 6002000 = 9 r 6002007 = 10 r 6002008 = 11 r 6002017 = 20 r 6002018 = 0");
	int from = start("w 5000ff0 1 w 5000ff7 8 w 5000ff8 9 w 5000fff 10 w 5001000 11 w 500100f 20 w 5001010 77 > 0 5000ff0 20 = 0");

	if (!expect(to == 0 && from == 1, "two tasks"))
		return;
	resea_serve(-1);
	expect(resea_task[0].state == RESEA_EXITED && resea_task[0].status == 0, "32 bytes, 16 of them behind the page's end, arrive: %d", resea_task[0].status);
	expect(resea_task[1].state == RESEA_EXITED && resea_task[1].status == 0, "the sender: %d", resea_task[1].status);
	to = start("! 6000ffc 2000 = 1800 r 6000ffb = 0 r 6002000 = 0 ");
	from = start("> 0 5000800 1800 = 0 > 7 5000800 8 = fffffffffffffffd > 0 3fff000 8");
	resea_serve(-1);
	expect(resea_task[0].status == 0 && resea_task[1].state == RESEA_EXITED, "6 KiB over three pages, and to nobody: %d %d", resea_task[0].status,
	       resea_task[1].status);
	exits("> 0 3fff000 8 = fffffffffffffff2 > 0 ffff800000000000 8 = fffffffffffffff2 > 0 5000000 2001 = fffffffffffffff9", 0x79,
	      "a copy from where nothing is is EFAULT, of too much E2BIG");
}

static void straight(void)
{
	struct frames high = frames_first;
	unsigned held = 0;

	touch_begin();
	for (pfn_t f = 0x10000; f < info->nframes && f < 0x10000 + 64; f++)
		if (fh_owner(frame_record(f)->state) != env_self() || fh_type(frame_record(f)->state) != FH_DATA)
			expect(!reads((char *)(f * FH_PAGE)), "frame %#lx is not the server's: nothing is there", f);
	touch_end();
	if (info->nframes <= 0x10000 + 1024) {
		expect(frame_find(0xffff, FH_NTYPES, env_self()) == 0, "it holds no frame at or above 0x10000000");
		cannot("this machine has no memory at or above 0x10000000, so the server holds none");
		return;
	}
	high.lo = high.cursor = 0x10000;
	high.hi = info->nframes;
	for (unsigned k = 0; k < 20; k++)
		expect(frame_get(&high, k % 3 + 1, 1, 0, 0) >= 0x10000, "frames from there are claimed");
	for (pfn_t f = 0xffff; (f = frame_find(f, FH_DATA, env_self())) != 0; held++) {
		volatile uint64_t *p = (volatile uint64_t *)(f * FH_PAGE);
		uint64_t old = *p;
		*p = f;
		expect(frame_at((void *)p) == f && *p == f, "frame %#lx is at %p", f, (void *)p);
		*p = old;
	}
	expect(held >= 20, "%u frames are held there, each at virtual = physical", held);
	pfn_t f = frame_get(&high, 2, 1, 0, 0);
	*(volatile char *)(f * FH_PAGE) = TOUCH_RET;
	touch_begin();
	expect(runs((char *)(f * FH_PAGE)), "it is rwx, as in the original");
	resea_straight(true);
	*(volatile char *)((f + 1) * FH_PAGE) = TOUCH_RET;
	expect(!runs((char *)((f + 1) * FH_PAGE)), "in the other mode not x");
	expect(rights_at((char *)((f + 1) * FH_PAGE)) == RW, "but rw");
	resea_straight(false);
	touch_end();
}

const struct line lines[] = {
    {1, "the first touch of 0x2fff000 reads the command line, NUL behind it, the rest of the page is zero", command_line},
    {2, "untouched stack, heap and bss read 0 and take a frame only then; text and data come from the file", untouched},
    {3, "a write to the stack's top works; a touch of 0x3fff000 under a small .data kills, the report names address and rip", below_the_stack},
    {4, "a touch of 0 and of 0xfff kills, the reason is null", null},
    {5, "the heap's last byte and the first of bss both work: no guard is there", heap_meets_bss},
    {6, "dynamic memory begins at 0x10000000, is contiguous, isn't used again; reaching 10 TiB kills", dynamic},
    {7, "a touch of 0xffff800000000000 kills; a file with an entry that isn't canonical is refused", kernel_half},
    {8, "vm_map: unaligned, upper half, not allowed, and a table needed (3 pages in a fresh slot) have their errors", map_protocol},
    {9, "a fault message that a task has made up is ignored", forged},
    {10, "killing a task gives back all its frames", frames_back},
    {11, "memory is shared by id, all pages of it or none; unknown and closed ids are refused", sharing},
    {12, "a payload that crosses a page boundary arrives whole", payload},
    {13, "in the vm server virtual is physical for each frame it holds at or above 0x10000000", straight},
    {0},
};
