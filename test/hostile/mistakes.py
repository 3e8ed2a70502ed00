#!/usr/bin/env python3
"""test/hostile/mistakes.py [--short] [WORD...]: kernels with a mistake seeded, each of which a program of test/hostile must
notice. Prints TAP.

Each mistake replaces a piece of text that stands exactly once in its file: one that doesn't is a failure. The changed file is
compiled as the debug kernel's are and linked with the others of build/debug; `tools/guest-test.py hostile --append class=NN`
runs on that kernel. Noticed means that, after the program of that class began, something was `not ok`: a check of its own, what
the runner finds afterwards (canary, books, records, audit), or a kernel panic. A test that never ends has noticed nothing. And
without a mistake, built in the same way, the kernel passes the same classes. WORD: only mistakes about that, or `class=NN`.
--short: only those of the classes in SHORT, for `make test`; `make test-hostile-mistakes` tries all.
"""
import glob
import os
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = "build/debug"
PLACE = "build/hostile-mistakes"
LIMIT = 300 # seconds for one class in the machine, beside all else that the host does

# (class, CPUs, file, the mistake, text, what stands there instead)
MISTAKES = [
    (1, 1, "pte.c", "the frame behind the last is mapped", "fh_pte_pfn(e) >= nframes)", "fh_pte_pfn(e) > nframes)"),
    (2, 1, "pte.c", "a large page isn't aligned", " || fh_pte_pfn(e) % FH_LARGE_FRAMES != 0)\n", ")\n"),
    (4, 1, "pte.c", "RAM is mapped uncached", "	if (type == FH_DATA && at->level == 1 && (e", "	if (0 && (e"),
    (5, 1, "pte.c", "G=1 passes", "FH_PS | FH_PFN_FIELD", "FH_PS | FH_G | FH_PFN_FIELD"),
    (6, 1, "pte.c", "U=0 passes", " || !(e & FH_U))\n", ")\n"),
    (8, 1, "pte.c", "a non-present word names a frame", "return f < nframes && (f != 0 || large) ?", "return 0 ?"),
    (11, 1, "pte.c", "a stranger's frame is mapped", "	if (!authority(at->me, owner))\n			return", "	if (0)\n			return"),
    (12, 1, "pte.c", "FREE frames are mapped", "type == FH_FREE || type == FH_KERNEL", "type == FH_KERNEL"),
    (13, 1, "pte.c", "tables are mapped writable", "	if (e & FH_W)\n", "	if ((e & FH_W) && !is_table(type))\n"),
    (14, 4, "frame.c", "a frame becomes a table before it is quiet", "	long r = await_quiet(stamp_of(f));\n	uint64_t serial",
     "	long r = 0;\n	uint64_t serial"),
    (15, 1, "pte.c", "a link names a table of any level", "if (fh_type(state) != at->level + FH_PT1 - 2)", "if (!is_table(fh_type(state)))"),
    (16, 1, "pte.c", "the recursive window is writable", "(e & RIGHTS) != FH_NX)", "0)"),
    (17, 1, "pte.c", "what is there already may be widened", "	return leaf_allowed(at, new, entry_pfn(old), state);", "	return 0;"),
    (18, 1, "grant.c", "a mapped frame is taken", "	uint64_t idle = make_state(type, owner_of(state_of(f)), 0);\n",
     "	uint64_t idle = state_of(f);\n"),
    (19, 1, "frame.c", "a new table keeps what stood in the frame", "	frame_zero(f);\n	if (type == FH_PT4)", "	if (type == FH_PT4)"),
    (20, 1, "pte.c", "a table has two places under one foreign parent", "		if (old & LINK_PARENT_MASK) {",
     "		if ((old & LINK_PARENT_MASK) && fh_link_parent(old) != at->t.n) {"),
    (21, 1, "pte.c", "the table is executable by large pages", "	if (k == LARGE && !(new & FH_NX)", "	if (0 && !(new & FH_NX)"),
    (22, 1, "grant.c", "a frame is granted to its owner", "	if (same(to, owner))\n", "	if (0)\n"),
    (23, 1, "pt.c", "a PT4's last slot is like any other", "at->level == 4 ? FH_KERNEL_SLOT : 512", "512"),
    (26, 1, "frame.c", "quota is exceeded by one", "room = fh_quota(old) - fh_owned(old);", "room = fh_quota(old) - fh_owned(old) + 1;"),
    (27, 1, "thread.c", "a running thread is started", "return (*was == FH_STOPPED || *was == FH_FAULTED) &&", "return"),
    (28, 1, "thread.c", "a refused write keeps its pins", "				ref_put(pfn(pins[i].n));\n", "				;\n"),
    (29, 1, "frame.c", "a mapped frame is freed",
     "	if (fh_refs(state) != 0)\n		return REFUSE(EBUSY, \"the frame is still mapped or pinned\");\n	if (!claim_exact(f, make_state(FH_DATA, owner, 0)))",
     "	if (!claim_exact(f, state))"),
    (30, 4, "frame.c", "a root that is loaded becomes DATA", "	uint64_t idle = make_state(type, owner, 0);\n	if (type == FH_ENV && same",
     "	uint64_t idle = type == FH_PT4 ? state : make_state(type, owner, 0);\n	state = type == FH_PT4 ? make_state(type, owner, 0) : state;\n"
     "	if (type == FH_ENV && same"),
    (31, 4, "frame.c", "a claim doesn't wait", ": await_quiet(stamp);\n	if (r < 0) {\n		unclaim_run", ": 0;\n	if (r < 0) {\n		unclaim_run"),
    (32, 4, "pte.c", "a table taken out of its tree isn't stamped", "	stamp_now(c); /* [link 2] */\n", ""),
    (33, 4, "pte.c", "a page replaced by another isn't stamped", "		stamp_entry(at, old);\n		put_frames", "		put_frames"),
    (34, 4, "epoch.c", "a CPU publishes what the clock is after the load", "	publish(e);               /*", "	publish(e + 1); /*"),
    (37, 1, "syscall.c", "any range is flushed", "	if (d && (!user_address(c)", "	if (0 && (!user_address(c)"),
    (38, 1, "pt.c", "PROTECT and NARROW lose D", "		new = (old & ~(RIGHTS | FH_AVL)) |", "		new = (old & ~(RIGHTS | FH_AVL | FH_D)) |"),
    (39, 1, "pt.c", "a 2 MiB entry replaces and is replaced", "if ((kind == LARGE && was != WORD) || (was == LARGE && kind != WORD)) {", "if (0) {"),
    (44, 4, "frame.c", "a refused claim leaves the frames BUSY", "		unclaim_run(first, got); /* [epoch 19] */\n", ""),
    (44, 4, "frame.c", "a refused retyping leaves the frame BUSY", "		atomic_set(&record(f)->state, make_state(FH_DATA, owner, 0));\n		return r;\n",
     "		return r;\n"),
    (45, 1, "thread.c", "a thread takes its own root away", "	if (self && (a->fields & FH_SET_ROOT) && a->root == 0)\n", "	if (0)\n"),
    (46, 1, "syscall.c", "offset and length wrap", "bytes > PAGE - off ||", "off + bytes > PAGE ||"),
    (46, 1, "frame.c", "the sum of first frame and number wraps", "n > nframes - *first)", "*first + n > nframes)"),
    (47, 1, "frame.c", "an env's serial isn't compared", "if (serial != 0 && serial != atomic_get(&env_at(e)->serial))", "if (0)"),
    (48, 1, "sched.c", "anybody fills any slot", " ? 0 : REFUSE(EPERM, \"the slot is empty or a stranger's\")", " ? 0 : 0"),
    (50, 1, "upcall.c", "a context made up names any root", "	if (root == 0 || (root != t->root && root != t->upcall_root))\n", "	if (root == 0)\n"),
    (51, 1, "sched.c", "vector registers stay when the thread changes", "	fx_restore(t->fx);\n", ""),
    (52, 1, "frame.c", "a type is cut to four bits", "	bool made = type < FH_NTYPES &&", "	type &= 15;\n	bool made = type < FH_NTYPES &&"),
    (53, 1, "syscall.c", "a call number is cut to 32 bits", "	else if (number < FH_NSYSCALLS) {", "	else if ((number = (uint32_t)number) < FH_NSYSCALLS) {"),
]
SHORT = (13, 26, 47)


def run(words, **more):
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **more)


def kernel_objects():
    return [f"{BUILD}/obj/{p}.o" if p.endswith(".asm") else f"{BUILD}/obj/{p[:-2]}.o"
            for d in ("src/kern", "src/boot") for p in sorted(glob.glob(f"{d}/*.c") + glob.glob(f"{d}/*.asm"))]


def build(place, file=None, old=None, new=None):
    """A kernel with this change in a directory of its own: its path and '', or None and what went wrong."""
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(place)
    words = kernel_objects()
    if file:
        with open(f"src/kern/{file}") as f:
            text = f.read()
        if text.count(old) != 1:
            return None, f"the text to be replaced stands {text.count(old)} times in {file}"
        with open(f"{place}/{file}", "w") as f:
            f.write(text.replace(old, new))
        with open(f"{BUILD}/flags") as f:
            compiler, flags = f.read().split(" | ")[:2]
        changed = f"{place}/{file[:-2]}.o"
        made = run([*compiler.split(), *shlex.split(flags), "-w", "-c", "-o", changed, f"{place}/{file}"])
        if made.returncode:
            return None, "it doesn't compile: " + made.stdout
        words = [changed if w == f"{BUILD}/obj/src/kern/{file[:-2]}.o" else w for w in words]
    # As pass1.elf is: without names in a crash's backtrace.
    link = run(["ld", "-nostdlib", "-static", "-z", "max-page-size=4096", "-z", "noexecstack", "--no-warn-rwx-segments",
                "-T", "src/boot/kernel.ld", "-o", f"{place}/freehold64.elf", *words, f"{BUILD}/ksyms0.asm.o"])
    if link.returncode == 0:
        link = run(["objcopy", "-O", "elf32-i386", f"{place}/freehold64.elf", f"{place}/freehold.elf"])
    return (None, "it doesn't link: " + link.stdout) if link.returncode else (f"{place}/freehold.elf", "")


def attack(kernel, number, cpus):
    """Class `number` on this kernel: (did its program begin?, what was not ok first from there on; '' if all was well, None if it
    never ended; the TAP). Once something is not ok, no more is waited for: a broken kernel may not come to an end."""
    began, text = False, []
    words = ["tools/guest-test.py", "hostile", "--kernel", kernel, "--variant", "debug", "--cpu", "max", "--cpus", str(cpus),
             "--timeout", str(LIMIT), "--append", f"class={number}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as test:
        for line in test.stdout:
            text.append(line)
            began |= bool(re.match(r"# \S+ begins$", line))
            said = re.match(r"not ok (?:\d+ - )?(.*)$", line)
            if said and began:
                test.terminate() # the machine ends with it
                return True, None if "timeout: killed" in said[1] else said[1], "".join(text)
    return began, "", "".join(text)


def attempt(n, number, cpus, file, sentence, old, new):
    """(noticed?, how or why not)"""
    kernel, error = build(f"{PLACE}/{n}", file, old, new)
    if not kernel:
        return False, error
    began, said, text = attack(kernel, number, cpus)
    if said:
        return True, said
    if said is None:
        return False, "it never ends\n" + text[-1500:]
    return False, ("all is well" if began else "the program didn't begin\n" + text[-1500:])


def control(number, cpus):
    began, said, text = attack(f"{PLACE}/none/freehold.elf", number, cpus)
    return began and said == "", text[-1500:]


def main():
    os.chdir(ROOT)
    words = [a for a in sys.argv[1:] if a != "--short"]
    chosen = [m for m in MISTAKES if not words or any(w in f"class={m[0]} {m[2]} {m[3]}" for w in words)]
    if "--short" in sys.argv:
        chosen = [m for m in chosen if m[0] in SHORT]
    whole = sorted({m[:2] for m in chosen})
    count = noticed = 0

    def tell(good, sentence, text=""):
        nonlocal count
        count += 1
        print("ok" if good else "not ok", count, "-", sentence, flush=True)
        if not good:
            print("\n".join("# " + line for line in text.splitlines()), flush=True)

    print(f"1..{len(chosen) + 2}")
    kernel, error = build(f"{PLACE}/none")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        tries = [pool.submit(attempt, n, *m) for n, m in enumerate(chosen)]
        controls = [pool.submit(control, *w) for w in whole] if kernel else []
        for m, t in zip(chosen, tries):
            good, how = t.result()
            noticed += good
            first = how.splitlines()[0] if how else ""
            tell(good, f"class {m[0]} notices: {m[2]}: {m[3]}: {first}" if good else f"class {m[0]} does NOT NOTICE: {m[2]}: {m[3]}", how)
        bad = [f"class {w[0]}: {t.result()[1]}" for w, t in zip(whole, controls) if not t.result()[0]]
    tell(kernel and not bad, f"without a mistake, built in the same way, the same {len(whole)} classes find nothing", "\n".join(bad) or error)
    tell(noticed == len(chosen), f"{noticed}/{len(chosen)} seeded mistakes noticed")
    sys.exit(noticed != len(chosen) or bool(bad))


main()
