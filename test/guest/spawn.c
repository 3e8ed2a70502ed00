/*
 * spawn.c - children made from an ELF image: this program, in other roles. What they are told and what they say; images
 * that are refused, in words; quotas that don't suffice; and that whatever a child did, killed or dead it gives back
 * every frame and every CPU slot, and its children's too.
 */
#include <elf.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "tap.h"

static struct module image;
static char *copy; /* of the image, to be spoilt */

/* ---- The roles ---- */

static void spin(void *arg)
{
	(void)arg;
	for (;;)
		cpu_pause();
}

/* n threads that spin, k forks that each do the same with one less. */
static void family(unsigned n, unsigned k)
{
	struct env *child;

	for (unsigned i = 0; i < n; i++)
		thread_new(spin, NULL, NULL);
	for (unsigned i = 0; i < k; i++)
		if (env_fork(&child) == 0)
			family(n / 2, k - 1), spin(NULL);
}

/* 0: as it should be; else which is not. */
static int check_arguments(int argc, char **argv)
{
	if (argc != 5 || argv[5] || strcmp(argv[0], "dir/child.elf") || strcmp(argv[2], "two words") || argv[3][0] ||
	    strlen(argv[4]) != 1000)
		return 1;
	if (strcmp(program_name, "child"))
		return 2;
	if (thread_count() != 1 || env_list || upcall_depth())
		return 3;
	char *p = malloc(100000);
	memset(p, 1, 100000);
	return p && (uintptr_t)__builtin_frame_address(0) > layout_stack.lo ? 0 : 4;
}

static int role(int argc, char **argv)
{
	const char *what = argv[1];
	volatile char *nowhere = NULL;

	if (strcmp(what, "arguments") == 0)
		return check_arguments(argc, argv);
	if (strcmp(what, "status") == 0)
		return argv[2][0] == '-' ? -1 : (argv[2][0] - '0') * 100 + 7;
	if (strcmp(what, "null") == 0)
		*nowhere = 1;
	if (strcmp(what, "fault") == 0) { /* nobody takes its upcall */
		thread_self()->upcall->max_depth = 0;
		__asm__ volatile("ud2");
	}
	if (strcmp(what, "lost") == 0) { /* its upcall frame leads nowhere */
		thread_self()->upcall->entry = 0x123456;
		*nowhere = 1;
	}
	if (strcmp(what, "greedy") == 0) {
		for (;;) {
			char *p = malloc(4096);
			if (!p)
				return 9;
			*(volatile char *)p = 1;
		}
	}
	if (strcmp(what, "family") == 0)
		family(3, 2);
	if (strcmp(what, "orphans") == 0) { /* ends before its children do */
		family(2, 2);
		return 5;
	}
	if (strcmp(what, "frames") == 0) { /* frames mapped nowhere, a space and a table of no use */
		static struct space s;
		frame_get(&frames_first, 50, 1, 0, 0);
		frame_get_typed(&frames_first, 0, FH_PT2);
		frame_get_typed(&frames_first, 0, FH_THREAD);
		return space_fork(&s, space_current()) ? 1 : 6;
	}
	spin(NULL);
	return 0;
}

/* ---- Helpers ---- */

static char *const spinning[] = {"child", "spin", NULL};

static uint64_t books(void) { return frame_count_free() + (meta_end() - META_VA) / FH_PAGE; }

/* Nothing is lost, no slot, no child. */
static void whole(uint64_t before, unsigned slots, const char *what)
{
	space_trim(space_current(), layout_mmap.lo, layout_stack.lo);
	is((int64_t)books(), (int64_t)before, "%s: as many frames FREE as before", what);
	ok(slot_count() == slots && !env_list, "and as many CPU slots, no child");
}

static struct env *run(const char *what, const char *arg)
{
	char *const argv[] = {"child", (char *)what, (char *)arg, NULL};
	struct env *child = NULL;
	int r = spawn(&child, image.data, image.bytes, argv, &(struct spawn_options){.slots = 16});

	if (r < 0)
		panic("spawn %s: %s", what, error_name(r));
	return child;
}

/* ---- The tests ---- */

static void check_arguments_and_status(void)
{
	char long_word[1001];
	char *argv[] = {"dir/child.elf", "arguments", "two words", "", long_word, NULL};
	struct env *child;
	uint64_t before = books(), freed = 0;
	unsigned slots = slot_count();

	memset(long_word, 'x', 1000);
	long_word[1000] = '\0';
	returns(spawn(&child, image.data, image.bytes, argv, NULL), 0, "a child is made of this program's image");
	ok(strcmp(child->title, "child") == 0 && env_list == child, "it has a title and is on our list");
	is(env_wait(child), ENV_EXITED, "it ends by itself");
	is(env_status(child), 0, "having found its arguments, its heap, and itself alone");
	uint64_t owned = (uint64_t)frame_owned(child->pfn);
	returns(env_reap(&child, &freed), 0, "it is reaped");
	ok(!child && freed == owned + 1, "%lu frames: all that it had, and its ENV frame", freed);
	whole(before, slots, "arguments");

	static const struct {
		const char *digit;
		int status;
	} cases[] = {{"0", 7}, {"1", 107}, {"5", 507 & 255}, {"-", 255}};
	for (unsigned i = 0; i < 4; i++) {
		child = run("status", cases[i].digit);
		env_wait(child);
		is(env_status(child), cases[i].status, "exit status %d", cases[i].status);
		env_reap(&child, NULL);
	}
	char *many[520];
	for (unsigned i = 0; i < 519; i++)
		many[i] = "";
	many[519] = NULL;
	child = NULL;
	returns(spawn(&child, image.data, image.bytes, many, NULL), -E2BIG, "more arguments than fit a page");
	char huge[5000];
	memset(huge, 'x', sizeof(huge));
	huge[4999] = '\0';
	argv[4] = huge;
	returns(spawn(&child, image.data, image.bytes, argv, NULL), -E2BIG, "or too long a one");
	whole(before, slots, "status");
}

/* ---- Bad images ---- */

static Elf64_Ehdr *header(void) { return (Elf64_Ehdr *)copy; }
static Elf64_Phdr *load(unsigned n) /* the nth PT_LOAD */
{
	Elf64_Phdr *p = (Elf64_Phdr *)(copy + header()->e_phoff);

	for (;; p++)
		if (p->p_type == PT_LOAD && n-- == 0)
			return p;
}

#define SPOIL(X)                                                                                                       \
	X("no magic", header()->e_ident[1] = 'F')                                                                          \
	X("32 bits", header()->e_ident[EI_CLASS] = ELFCLASS32)                                                             \
	X("big-endian", header()->e_ident[EI_DATA] = ELFDATA2MSB)                                                          \
	X("for ARM", header()->e_machine = EM_AARCH64)                                                                     \
	X("a shared object", header()->e_type = ET_DYN)                                                                    \
	X("an object file", header()->e_type = ET_REL)                                                                     \
	X("no segments", header()->e_phnum = 0)                                                                            \
	X("65535 segments", header()->e_phnum = 65535)                                                                     \
	X("segment entries of 8 bytes", header()->e_phentsize = 8)                                                         \
	X("a segment table beyond the file", header()->e_phoff = image.bytes)                                              \
	X("a segment table beyond 2^64", header()->e_phoff = ~7ul)                                                         \
	X("a crooked segment table", header()->e_phoff++)                                                                  \
	X("an entry point at 0", header()->e_entry = 0)                                                                    \
	X("an entry point in the kernel", header()->e_entry = FH_KERNEL_BASE)                                              \
	X("an entry point in the data", header()->e_entry = load(1)->p_vaddr)                                              \
	X("a segment beyond the file", load(0)->p_offset = image.bytes)                                                    \
	X("an offset near 2^64", load(0)->p_offset = ~0ul - 100)                                                           \
	X("a length near 2^64", load(0)->p_filesz = load(0)->p_memsz = ~0ul - 100)                                         \
	X("less memory than file", load(0)->p_memsz = load(0)->p_filesz - 1)                                               \
	X("a segment at 0", load(0)->p_vaddr = 0)                                                                          \
	X("a segment over the kit", load(0)->p_vaddr = META_VA)                                                            \
	X("a segment in the kernel", load(0)->p_vaddr = FH_KERNEL_BASE)                                                    \
	X("a segment that wraps", load(0)->p_memsz = -load(0)->p_vaddr)                                                    \
	X("segments over each other", load(1)->p_vaddr = load(0)->p_vaddr)                                                 \
	X("a dynamic linker", load(1)->p_type = PT_INTERP)

static void check_bad_images(void)
{
	struct env *child = NULL;
	uint64_t before = books();
	unsigned slots = slot_count();
	struct tally t = {0};

#define REFUSED(text, change)                                                                                          \
	memcpy(copy, image.data, image.bytes);                                                                             \
	change;                                                                                                            \
	ok(elf_check(copy, image.bytes) && spawn(&child, copy, image.bytes, spinning, NULL) == -ENOEXEC && !child,         \
	   text ": \"%s\"", elf_check(copy, image.bytes) ? elf_check(copy, image.bytes) : "taken");
	SPOIL(REFUSED)

	memcpy(copy, image.data, image.bytes);
	size_t needed = 0;
	for (unsigned i = 0; i < header()->e_phnum; i++) {
		const Elf64_Phdr *p = (const Elf64_Phdr *)(copy + header()->e_phoff) + i;
		if (p->p_type == PT_LOAD && p->p_filesz && p->p_offset + p->p_filesz > needed)
			needed = p->p_offset + p->p_filesz;
	}
	for (size_t n = 0; n < needed; n += n < 700 ? 1 : 487)
		if (!elf_check(copy, n))
			count_bad(&t, "%lu bytes of %lu are enough", n, needed);
	none_bad(&t, "cut off anywhere before its last segment's end it is refused");
	ok(elf_check(copy + 1, image.bytes - 1) != NULL, "a crooked address: \"%s\"", elf_check(copy + 1, image.bytes - 1));
	is(spawn(&child, image.data, needed - 5000, spinning, NULL), -ENOEXEC, "spawn refuses a truncated one");
	is(spawn(&child, "hello", 5, spinning, NULL), -ENOEXEC, "and a text");
	whole(before, slots, "bad images");
}

/* Headers with bytes changed at random: refused, or started and killed. */
static void check_mutations(void)
{
	uint64_t before = books();
	unsigned slots = slot_count(), refused = 0, started = 0, bad = 0;

	for (unsigned round = 0; round < 400; round++) {
		struct env *child = NULL;
		memcpy(copy, image.data, 1024);
		for (unsigned i = 0; i <= round % 3; i++)
			copy[random64() % 400] ^= (char)(1u << random64() % 8);
		if (elf_check(copy, image.bytes) ? 1 : started > 40) {
			refused++;
			continue;
		}
		int r = spawn(&child, copy, image.bytes, spinning, &(struct spawn_options){.quota = 400, .slots = 1});
		started += r == 0;
		if (r == 0) {
			thread_yield();
			bad += env_kill(child) < 0;
			bad += env_reap(&child, NULL) < 0;
		}
	}
	kputs("\n"); /* one may have been killed in the middle of a line */
	is(bad, 0, "of 400 images with random bits changed, %u are passed over, %u run until they are killed", refused, started);
	whole(before, slots, "random images");
}

/* ---- A position-independent program, made by hand: it ends with the byte that a relocated pointer leads to ---- */

extern const char pie_begin[], pie_end[];
__asm__(".pushsection .text\n"
        "pie_begin: movq pie_begin+0x1000(%rip), %rax\n"
        "movzbl (%rax), %edx\n"
        "xorl %edi, %edi\n"
        "movl $1, %esi\n" /* FH_THREAD_STOP */
        "movl $1, %eax\n"
        "syscall\n"
        "ud2\n"
        "pie_end: .popsection");
_Static_assert(FH_THREAD_STOP == 1 && FH_SYS_thread_ctl == 1, "pie_begin");

static struct pie {
	union {
		struct {
			Elf64_Ehdr header;
			Elf64_Phdr text, data, dynamic, more;
		};
		char page[FH_PAGE];
	};
	char code[FH_PAGE];
	uint64_t pointer, byte; /* the data segment begins here */
	Elf64_Dyn dyn[8];
	Elf64_Rela rela[3];
} pie __attribute__((aligned(4096)));

#define PIE_AT(member) offsetof(struct pie, member) /* in the file, and in its addresses */
#define PIE_DATA (sizeof(struct pie) - PIE_AT(pointer))
#define PIE_STATUS 77

static void make_pie(void)
{
	memset(&pie, 0, sizeof(pie));
	pie.header = (Elf64_Ehdr){
	    .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT}, .e_type = ET_DYN, .e_machine = EM_X86_64,
	    .e_version = EV_CURRENT, .e_entry = PIE_AT(code), .e_phoff = PIE_AT(text), .e_ehsize = sizeof(Elf64_Ehdr),
	    .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 4};
	pie.text = (Elf64_Phdr){PT_LOAD, PF_R | PF_X, PIE_AT(code), PIE_AT(code), 0, FH_PAGE, FH_PAGE, FH_PAGE};
	pie.data = (Elf64_Phdr){PT_LOAD, PF_R | PF_W, PIE_AT(pointer), PIE_AT(pointer), 0, PIE_DATA, 2 * FH_PAGE, FH_PAGE};
	pie.dynamic = (Elf64_Phdr){PT_DYNAMIC, PF_R | PF_W, PIE_AT(dyn), PIE_AT(dyn), 0, sizeof(pie.dyn), sizeof(pie.dyn), 8};
	pie.more.p_type = PT_NULL;
	memcpy(pie.code, pie_begin, (size_t)(pie_end - pie_begin));
	pie.byte = PIE_STATUS;
	pie.dyn[0] = (Elf64_Dyn){DT_RELA, {PIE_AT(rela)}};
	pie.dyn[1] = (Elf64_Dyn){DT_RELASZ, {2 * sizeof(Elf64_Rela)}};
	pie.dyn[2] = (Elf64_Dyn){DT_RELAENT, {sizeof(Elf64_Rela)}};
	pie.rela[0] = (Elf64_Rela){PIE_AT(pointer), ELF64_R_INFO(0, R_X86_64_RELATIVE), PIE_AT(byte)};
	pie.rela[1] = pie.rela[0];
}

/* Its status; or, if it isn't started or doesn't end by itself, -1. */
static int run_pie(const struct spawn_options *o)
{
	struct env *child = NULL;
	int status = -1;

	if (spawn(&child, &pie, sizeof(pie), spinning, o) < 0)
		return -1;
	if (env_wait(child) == ENV_EXITED)
		status = env_status(child);
	env_reap(&child, NULL);
	return status;
}

#define SPOIL_PIE(X)                                                                                                          \
	X("no dynamic section", "without a dynamic section", pie.dynamic.p_type = PT_NULL)                                        \
	X("two of them", "two dynamic sections", pie.more = pie.dynamic)                                                          \
	X("one beyond the file", "truncated: segment", pie.dynamic.p_offset = sizeof(pie) - 8)                                    \
	X("one beyond 2^64", "truncated: segment", pie.dynamic.p_offset = ~0ul - 8)                                               \
	X("one as long as 2^64", "truncated: segment", pie.dynamic.p_filesz = ~0ul)                                               \
	X("in an ET_EXEC", "needs a dynamic linker", pie.header.e_type = ET_EXEC)                                                 \
	X("a library that it needs", "needs a dynamic linker", pie.dyn[3].d_tag = DT_NEEDED)                                      \
	X("relocations for procedures", "needs a dynamic linker", pie.dyn[3].d_tag = DT_JMPREL)                                   \
	X("relocations without addends", "needs a dynamic linker", pie.dyn[3].d_tag = DT_REL)                                     \
	X("packed relocations", "needs a dynamic linker", pie.dyn[3].d_tag = 36)                                                  \
	X("relocations in the code", "needs a dynamic linker", pie.dyn[3].d_tag = DT_TEXTREL)                                     \
	X("relocations of 8 bytes", "odd size", pie.dyn[2].d_un.d_val = 8)                                                        \
	X("relocations outside", "truncated: relocations", pie.dyn[0].d_un.d_ptr = sizeof(pie))                                   \
	X("relocations at 2^64", "truncated: relocations", pie.dyn[0].d_un.d_ptr = -24ul)                                         \
	X("relocations where memory is, but no file", "truncated: relocations", pie.dyn[0].d_un.d_ptr = PIE_AT(pointer) + FH_PAGE) \
	X("more relocations than there is file", "truncated: relocations", pie.dyn[1].d_un.d_val = 4 * sizeof(Elf64_Rela))        \
	X("2^64 bytes of relocations", "truncated: relocations", pie.dyn[1].d_un.d_val = ~0ul)                                    \
	X("a relocation of another type", "isn't RELATIVE", pie.rela[1].r_info = ELF64_R_INFO(0, R_X86_64_64))                    \
	X("one with a symbol", "isn't RELATIVE", pie.rela[1].r_info = ELF64_R_INFO(1, R_X86_64_RELATIVE))                         \
	X("one before the image", "outside the segments", pie.rela[1].r_offset = PIE_AT(code) - 4)                                \
	X("one across its end", "outside the segments", pie.rela[1].r_offset = sizeof(pie) - 4)                                   \
	X("one in memory that is no file", "outside the segments", pie.rela[1].r_offset = sizeof(pie))                            \
	X("one across 2^64", "outside the segments", pie.rela[1].r_offset = ~0ul - 3)                                             \
	X("one in the kernel", "outside the segments", pie.rela[1].r_offset = FH_KERNEL_BASE)                                     \
	X("one in the parent's data", "outside the segments", pie.rela[1].r_offset = (uint64_t)&pie)                              \
	X("an image as high as 2^64", "out of order", pie.text.p_vaddr = pie.header.e_entry = 0xffffff0000000000ul)

static void check_relocations(void)
{
	uint64_t before = books();
	unsigned slots = slot_count(), refused = 0, whole_ones = 0;
	struct env *child = NULL;
	struct tally t = {0};

	make_pie();
	is(run_pie(NULL), PIE_STATUS, "a position-independent program made by hand: its relocated pointer leads to its byte");
	for (uint64_t seed = 0; seed < 4; seed++)
		if (run_pie(&(struct spawn_options){.layout = &layout_linux, .seed = seed}) != PIE_STATUS)
			count_bad(&t, "seed %lu", seed);
	none_bad(&t, "and it does wherever the layout linux puts it");
	pie.rela[1] = (Elf64_Rela){PIE_AT(rela[0]) + 1, ELF64_R_INFO(0, R_X86_64_RELATIVE), -1};
	is(run_pie(NULL), PIE_STATUS, "a relocation of the relocations changes none of them");
	pie.rela[1] = (Elf64_Rela){PIE_AT(text), ELF64_R_INFO(0, R_X86_64_RELATIVE), -1};
	ok(elf_check(&pie, sizeof(pie)), "one of the file's headers, which are in no segment: \"%s\"", elf_check(&pie, sizeof(pie)));

#define REFUSED_PIE(text, why, change)                                                                                        \
	make_pie();                                                                                                               \
	change;                                                                                                                   \
	ok(elf_check(&pie, sizeof(pie)) && strstr(elf_check(&pie, sizeof(pie)), why) &&                                           \
	   spawn(&child, &pie, sizeof(pie), spinning, NULL) == -ENOEXEC && !child,                                                \
	   text ": \"%s\"", elf_check(&pie, sizeof(pie)) ? elf_check(&pie, sizeof(pie)) : "taken");
	SPOIL_PIE(REFUSED_PIE)

	for (unsigned round = 0; round < 200; round++) {
		make_pie();
		for (unsigned i = 0; i <= round % 3; i++)
			((char *)pie.dyn)[random64() % (sizeof(pie.dyn) + sizeof(pie.rela))] ^= (char)(1u << random64() % 8);
		if (elf_check(&pie, sizeof(pie)))
			refused++;
		else
			whole_ones += run_pie(&(struct spawn_options){.quota = 400}) == PIE_STATUS;
	}
	ok(refused > 20 && whole_ones > 20, "of 200 with random bits changed in its tables, %u are refused, %u work all the same", refused,
	   whole_ones);
	whole(before, slots, "relocations");
}

static void check_quota(void)
{
	uint64_t before = books();
	unsigned slots = slot_count(), refused = 0, started = 0, lost = 0;
	struct env *child = NULL;

	for (uint64_t quota = 1; quota < 140; quota += quota < 60 ? 3 : 20) {
		int r = spawn(&child, image.data, image.bytes, (char *const[]){"child", "status", "0", NULL},
		              &(struct spawn_options){.quota = quota});
		refused += r < 0;
		if (r < 0 && (r != -ENOMEM && r != -EDQUOT))
			note("quota %lu: %s", quota, error_name(r));
		if (r == 0) {
			started++;
			env_wait(child);
			lost += env_state(child) == ENV_EXITED && env_status(child) == 7;
			lost += env_reap(&child, NULL) < 0 ? 100 : 0;
		}
	}
	ok(refused >= 10 && started >= 1 && lost >= 1 && lost < 100,
	   "of quotas up to 140 frames, %u don't suffice for a child; of %u children %u live", refused, started, lost);
	returns(spawn(&child, image.data, image.bytes, spinning, &(struct spawn_options){.quota = 1ul << 30}), -EDQUOT,
	        "more quota than we have is refused");
	returns(spawn(&child, image.data, image.bytes, (char *const[]){"child", "greedy", NULL},
	              &(struct spawn_options){.quota = 500}), 0,
	        "a child that takes all it can get");
	env_wait(child);
	is(env_state(child), ENV_EXITED, "meets the end of its quota, not ours: status %d", env_status(child));
	env_reap(&child, NULL);
	whole(before, slots, "quota");
}

static void check_death(void)
{
	uint64_t before = books();
	unsigned slots = slot_count();
	struct env *child = run("spin", NULL), *others[6];

	thread_sleep(10);
	is(env_state(child), ENV_RUNNING, "a child that runs for ever");
	returns(env_kill(child), 0, "is killed");
	is(env_wait(child), ENV_EXITED, "it has ended");
	is(env_status(child), 137, "with status 128 + SIGKILL");
	returns(env_reap(&child, NULL), 0, "and is reaped");
	child = run("spin", NULL);
	returns(env_reap(&child, NULL), 0, "one that runs may be reaped at once");

	child = run("null", NULL);
	is(env_wait(child), ENV_EXITED, "a child that writes to address 0");
	is(env_status(child), 128 + 14, "says so itself, and ends");
	env_reap(&child, NULL);
	child = run("fault", NULL);
	is(env_wait(child), ENV_FAULTED, "one that takes no upcalls is stopped");
	is((int64_t)child->view->regs.vector, 6, "where and why can be read");
	env_report(child);
	returns(env_reap(&child, NULL), 0, "it is reaped");
	child = run("lost", NULL);
	is(env_wait(child), ENV_FAULTED, "so is one whose upcalls lead nowhere");
	env_report(child);
	returns(env_reap(&child, NULL), 0, "and reaped");
	whole(before, slots, "deaths");

	for (unsigned i = 0; i < 6; i++)
		others[i] = run(i % 2 ? "spin" : "status", "0");
	for (unsigned i = 6; i-- > 0;) {
		if (i % 2)
			env_kill(others[i]);
		env_wait(others[i]);
		if (env_reap(&others[i], NULL) < 0)
			note("child %u is not reaped", i);
	}
	whole(before, slots, "six at once");
}

static void check_families(void)
{
	static const struct {
		const char *role;
		bool ends;
	} cases[] = {{"family", false}, {"orphans", true}, {"frames", true}};
	uint64_t before = books();
	unsigned slots = slot_count();

	for (unsigned i = 0; i < 3; i++) {
		struct env *child = run(cases[i].role, NULL);
		uint64_t freed = 0;
		unsigned envs = 0, threads = 0;
		if (cases[i].ends)
			env_wait(child);
		for (unsigned tries = 0; tries < 100 && i < 2 && (envs < 3 || threads < envs + 2); tries++) {
			thread_sleep(30);
			envs = threads = 0;
			for (pfn_t p = env_next(0); p; p = env_next(p))
				envs += env_below(p, child->pfn);
			for (pfn_t p = frame_find(0, FH_THREAD, 0); p; p = frame_find(p, FH_THREAD, 0))
				threads += env_below(fh_owner(frame_record(p)->state), child->pfn);
		}
		if (i < 2)
			ok(envs >= 3 && threads >= envs + 2, "%s: %u envs with %u threads", cases[i].role, envs, threads);
		int r = env_reap(&child, &freed);
		ok(r == 0 && freed > 100, "are reaped at one stroke: %s, %lu frames", r ? error_name(r) : "done", freed);
		whole(before, slots, cases[i].role);
	}
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return role(argc, argv);
	if (module_named(program_name, &image) < 0)
		panic("no image of this program");
	copy = (char *)mm_map(0, page_up(image.bytes), RIGHT_R | RIGHT_W, MM_EAGER);
	struct env *first = run("status", "0"); /* scratch tables, records: made once and kept */
	env_wait(first);
	env_reap(&first, NULL);
	tap_begin();
	check_arguments_and_status();
	check_bad_images();
	check_mutations();
	check_relocations();
	check_quota();
	check_death();
	check_families();
	return tap_end();
}
