#!/usr/bin/env python3
"""gdb's commands for Freehold (tools/gdb), each on a live machine: too early, at a breakpoint in a user program, with the
table damaged on purpose, and on dumps of the machine."""
import os, re, socket, sys, tempfile
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../tools"))
import vm
from gdbpipe import Gdb

WAIT = 30
HEX = "0x[0-9a-f]+"
# Another CPU may be stopped in the midst of a change; then fh audit says so.
FITS = r"^(audit: everything fits|CPU \d is in the kernel, at .*may be half done)"


class Checks:
    """Numbered checks: an answer has all of these, in this order."""
    count = 0

    def __call__(self, sentence, answer, *patterns):
        self.count += 1
        at, missing = 0, []
        for pattern in patterns:
            match = re.compile(pattern, re.M).search(answer, at)
            if match:
                at = match.end()
            else:
                missing.append(pattern)
        if "Traceback" in answer or "Python Exception" in answer or "Error occurred in Python" in answer:
            missing.append("a sentence, not an exception of Python")
        print(f"{'not ok' if missing else 'ok'} {self.count} - {sentence}")
        if missing:
            print("".join(f"# missing: {m}\n" for m in missing) + "".join(f"# | {l}\n" for l in answer.split("\n")), end="")
        sys.stdout.flush()
        return answer


check = Checks()


def machine(scratch, build="build", cpus=2, extra=()):
    path = os.path.join(scratch, "gdb")
    files = [f"{build}/{name}.elf" for name in ("root", "sh", "demo", "hello", "layout/linux", "layout/linux_pie")]
    return vm.VM(f"{build}/freehold.elf", files, cpus=cpus, log=f"build/test-logs/gdb.{os.path.basename(build)}.console",
                 extra=["-chardev", f"socket,path={path},server=on,wait=off,id=gdb", "-gdb", "chardev:gdb", *extra]), path


def early(gdb, path):
    check("without a machine it says so", gdb.ask("fh envs"), r"^There is no machine: ")
    gdb.connect(path)
    check("before the kernel is loaded it says so", gdb.ask("fh envs"), r"^The kernel isn't there yet")
    gdb.ask("thread 2")
    check("on a CPU that nobody has started, too", gdb.ask("fh pt 0x400000"), r"^The kernel isn't there yet")
    gdb.ask("break kernel_main")
    gdb.ask("continue")
    check("before the table is filled it says so", gdb.ask("fh frame 0x5000"), r"^The kernel is still starting")
    check("but fh pt works", gdb.ask("fh pt $rip"), r"in root 0x102 of the kernel$", r"^  PT4 0x102\[511\] = .*  P W", r"together: rwx for the kernel")
    gdb.ask("delete")


def breakpoints(gdb, guest):
    check("b sh:main is a breakpoint before there is a shell", gdb.ask("b sh:main"), r"^Breakpoint 2 at 0x4\w+ in sh: user/sh/main\.c:\d+$")
    check("and stops there, with the shell's symbols", gdb.ask("continue"), r"^\[symbols of sh", r"^#0 +main .*user/sh/main\.c")
    check("fh break takes FILE:LINE and a condition", gdb.ask("fh break demo:user/demo/cow.c:50 if $rsp > 0"),
          r"^Breakpoint 3 at 0x4\w+ in demo: user/demo/cow\.c:50$")
    gdb.ask("delete")
    gdb.ask("b hello:main")
    gdb.ask("fh break sh:cmd_run")
    guest.send("hello\n")
    check("the shell stops where it starts a program", gdb.ask("continue"), r"user/sh/run\.c")
    check("the program where it begins: its address is code of the shell's too", gdb.ask("continue"),
          r"^\[symbols of hello, no more of sh\]", r"^#0 +main .*user/hello\.c")
    check("$in_program tells them apart", gdb.ask('print $in_program("hello") + 10 * $in_program("sh")'), r"= 1$")
    check("no such program, place: sentences", gdb.ask("fh break zork:main") + "\n" + gdb.ask("b hello:zork") + "\n" +
          gdb.ask("fh break hello:kernel_main") + "\n" + gdb.ask("fh break hello"), r"^zork: no such program in ", r"^hello has no zork",
          r"^hello has no kernel_main", r"^Usage: fh break PROGRAM:LOCATION")
    check("b does what break does elsewhere", gdb.ask("b pt_set") + gdb.ask("info breakpoints"), r"file src/kern/pt\.c", r"in pt_set at")
    gdb.ask("delete")


def looking(gdb):
    """The first instruction of hello: its main. Returns its env and root."""
    envs = check("fh envs: the tree, with programs and quotas", gdb.ask("fh envs"),
                 rf"^{HEX} \(root\): serial \d+, owns \d+ of \d+; threads {HEX}; roots {HEX}$", rf"^  {HEX} \(sh\): ",
                 rf"^    {HEX} \(hello\): serial \d+, owns \d+ of \d+; threads {HEX}; roots {HEX}$")
    env, thread, root = re.search(rf"({HEX}) \(hello\).*threads ({HEX}); roots ({HEX})", envs).groups()
    check("fh threads: states, and where they are", "\n".join(sorted(gdb.ask("fh threads").split("\n"), key=lambda l: "hello" in l)),
          rf"of {HEX} \(root\): SLEEPING at {HEX} env_wait", rf"of {HEX} \(sh\): (SLEEPING at|RUNNING on cpu \d, at) {HEX} ", rf"^thread {thread} of {env} \(hello\): RUNNING on cpu \d, at 0x400200 main$")
    check("fh cpus: clock, epochs, roots", gdb.ask("fh cpus"), r"^clock \d+$", r"^cpu 0 \(gdb thread 1\): ", r"^cpu 1 \(gdb thread 2\): ")
    check("fh cpus names the thread that runs", gdb.ask("fh cpus"), rf"epoch \d+; thread {thread}, root {root} of {env} \(hello\); at 0x400200 main")
    pt = check("fh pt: every level, to the frame", gdb.ask("fh pt $rip"), rf"^0x400200 in root {root} of {env} \(hello\)$",
               rf"^  PT4 {root}\[0\] = 0x[0-9a-f]{{16}}  P W U A$", rf"frame {HEX}: PT3 of {env} \(hello\), refs 1",
               r"^  PT3 ", r"^  PT2 ", r"^  PT1 .*  P U A$", rf"frame {HEX}: DATA of {env} \(hello\), refs 1",
               rf"^  together: r-x for user code, physical {HEX}$")
    page, at = re.search(r"frame (0x[0-9a-f]+): DATA", pt)[1], re.search(r"physical (0x[0-9a-f]+)", pt)[1]
    code = gdb.ask("x/4xw $rip").split(":")[1].split()
    check("and that is where its bytes are", gdb.ask(f"x/4xw 0xffffff8000000000 + {at}").replace(":", " "), r"\s+".join(code))
    check("fh pt says where the way ends", gdb.ask("fh pt 0x12345678000"), r"^  PT4 .*\[2\] = 0x0000000000000000  empty$")
    check("fh pt of another env, of a root, of the kernel's half", gdb.ask("fh pt 0x400000 sh") + gdb.ask(f"fh pt 0x400000 {root}") +
          gdb.ask("fh pt &pt_set"), r"\(sh\), refs 1", rf"in root {root} of {env} \(hello\)", r"together: r-x for the kernel")
    check("fh owner of a virtual address", gdb.ask("fh owner $rip"), rf"^virtual 0x400200 in root .*: frame {page}, DATA of {env} \(hello\)")
    check("fh owner of a physical address", gdb.ask(f"fh owner {at}"), rf"^physical {at}: frame {page}, DATA of {env} \(hello\), refs 1$")
    check("fh frame: record, references, the address", gdb.ask(f"fh frame {at} >> 12"), rf"^frame {page}, physical {int(at, 16) & ~4095:#x}: DATA of {env} \(hello\), refs 1$",
          r"^  stamp \d+: (quiet|not quiet)", rf"PT1 {HEX}\[0\] r-x  0x400000 in root {root} of {env} \(hello\)$")
    check("fh frame of an ENV, a THREAD, a table, a FREE one", gdb.ask(f"fh frame {env}") + gdb.ask(f"fh frame {thread}") + gdb.ask(f"fh frame {root}"),
          r": ENV of ", r"owns \d+ of \d+", r": THREAD of ", r"RUNNING", r"it is running", r": PT4 of ", r"\d+ present entries",
          rf"thread {thread}: its root", r"cpu \d: loaded in CR3")
    check("fh maps: rights, types, owners", gdb.ask("fh maps hello"), r"^0{10}400000-\S+ r-x  DATA", r"rw-  DATA", r"r--  TABLE",
          r"r--  CPU of 0x5000 \(root\)", r"2 MiB TABLE", r"^fffffe8000000000-\S+ r--")
    why = lambda *words: gdb.ask("fh why " + " ".join(words))
    check("fh why: no W", why("$rip"), rf"mapped, but without W: slot 0 of PT1 .* DATA of {env} .*it could be writable")
    check("fh why: not mapped, and what is near", why("0x3ff000"), r"not mapped\. slot 1 of PT2 .* empty, so all of 0x200000-0x400000 is missing",
          r"^What is mapped above begins at 0x400000, 0x1000 bytes after it\.$")
    check("fh why: the stack may be written", why("$rsp"), r"a write would not fault\. Every level allows it, down to frame .* DATA of .*hello")
    check("fh why: the ownership table, the window, the kernel", why("0xfffffe4000000000") + why("0xfffffe8000000000") + why("&pt_set"),
          r"TABLE: the kernel lets only DATA and DEVICE be mapped writable", r"recursive window", r"slot 511 is the kernel's")
    check("fh why: no address at all", why("0x800000000000"), r"not canonical")
    check("fh why of another env; of CR2", why("0x400000", "sh") + "\n" + why(), r"\(sh\): mapped, but without W", rf"^{HEX} in root {root}")
    check("fh refusals needs a debug kernel", gdb.ask("fh refusals"), r"^Only a debug kernel notes its refusals")
    before = gdb.ask("info threads")
    gdb.ask("thread 1")
    one = gdb.ask("fh envs")
    gdb.ask("thread 2")
    check("all is the same whichever CPU is selected", one if one == gdb.ask("fh envs") == envs else "", r"\(hello\)")
    check("fh threads leaves the selected one as it was", gdb.ask("fh threads") and gdb.ask("thread"), r"Current thread is 2 ")
    gdb.ask("thread " + re.search(r"^\* (\d)", before, re.M)[1])
    return env, root, page


def arguments(gdb):
    usage = [gdb.ask(f"fh {line}") for line in ("frame", "owner", "pt", "envs 1", "threads 1", "cpus 1", "maps", "why 1 2 3",
                                                 "refusals 1", "audit 1")]
    check("wrong numbers of arguments: the usage", "\n".join(usage), *(rf"^Usage: fh {name}" for name in (
        "frame PFN", r"owner VA\|PA", "pt VA", "envs$", "threads$", "cpus$", "maps ENV", r"why \[VA", "refusals$", "audit$")))
    check("what is no number, no frame, no env, no address: sentences", "\n".join(map(gdb.ask, (
        "fh frame zork", "fh frame 1 2", "fh frame 0x7fffffff", "fh maps zork", "fh maps 0x5", "fh pt 0x900000000000", "fh frame \"", "fh owner 0x800000000000"))),
        r"^zork is no number", r"^1 2 is no number", r"^0x7fffffff is no frame: the table ends at", r"^No env runs zork: .*\(hello\)", r"^Frame 0x5 is no ENV: ",
        r"^0x900000000000 is no address", r"no number", r"^0x800000000000 is mapped nowhere")
    check("fh alone is its help, and help lists all", gdb.ask("fh"), *(f"^fh {name} -- " for name in (
        "audit", "break", "cpus", "envs", "frame", "maps", "owner", "pt", "refusals", "threads", "why")))


RECORD = "((struct fh_frame *)0xfffffff000000000)"


def damaged(gdb, sentence, place, value, *patterns):
    """What fh audit says with a word of memory changed, which is then put back."""
    old = re.search(HEX, gdb.ask(f"output/x {place}"))[0]
    gdb.ask(f"set variable {place} = {value}")
    check(f"fh audit: {sentence}", gdb.ask("fh audit"), *patterns, r"^audit: \d+ things do not fit")
    gdb.ask(f"set variable {place} = {old}")


def damage(gdb, env, root, page):
    """What fh audit finds when the table says something else than is so."""
    check("fh audit: everything fits", gdb.ask("fh audit"), FITS)
    state = f"{RECORD}[{page}].state"
    slot = f"*(unsigned long *)(0xffffff8000000000 + {root} * 4096 + 509 * 8)"  # the window's
    damaged(gdb, "a reference too many", state, f"{state} + 256", rf"^frame {page} \(DATA\): refs says 2, 1 references are found$")
    damaged(gdb, "an owner that is no env", state, f"({state} & 0xffffffff) | ({page}ul << 32)", rf"^frame {page} \(DATA\): its owner {page} is no ENV",
            rf"^frame {env} \(ENV\): account says \d+ frames owned, \d+ are found$")
    damaged(gdb, "an owner where there is none", f"{RECORD}[0x123].state", "0x500000000000", r"has the owner 0x5000, but its type has none")
    damaged(gdb, "a frame that is BUSY", state, "12", rf"^frame {page} \(BUSY\): claimed by a CPU")
    damaged(gdb, "no such type", state, "14", r"no such type")
    damaged(gdb, "a lock", f"{RECORD}[{root}].state", f"{RECORD}[{root}].state | 16", rf"^frame {root} \(PT4\): locked by a CPU")
    damaged(gdb, "a table's count", f"{RECORD}[{root}].link", f"{RECORD}[{root}].link + 1", rf"^frame {root} \(PT4\): count says \d+, \d+ present")
    damaged(gdb, "a quota", f"((struct fh_env *)(0xffffff8000000000 + {env} * 4096))->account", "5", r"account says 5 frames", r"owns 5 frames of a quota of 0")
    damaged(gdb, "a link that is no table", slot, f"({page} << 12) | 7", rf"^frame {root} \(PT4\): entry 509 links frame {page}, which is no PT3$")
    info = re.search(rf"PT1 ({HEX})\[0\] = ({HEX})", gdb.ask("fh pt 0xfffffe0000000000"))
    damaged(gdb, "a page of the table, writable", f"*(unsigned long *)(0xffffff8000000000 + {info[1]} * 4096)", f"{info[2]} | 2",
            rf"^frame {info[1]} \(PT1\): entry 0 is writable, but frame {HEX} is TABLE$")
    check("and everything fits again", gdb.ask("fh audit"), FITS)
    damaged(gdb, "a grant to the owner", f"{RECORD}[{page}].tenant", env, r"granted to its own owner")
    tenant = f"{RECORD}[{page}].tenant"
    serial = re.search(r"\(sh\): serial (\d+)", gdb.ask("fh envs"))[1]
    shell = re.search(rf"({HEX}) \(sh\)", gdb.ask("fh envs"))[1]
    gdb.ask(f"set variable {tenant} = {shell} | ({serial}ul << 27)")
    check("fh frame: whom it is granted to", gdb.ask(f"fh frame {page}"), rf"granted to {shell} \(sh\)")
    gdb.ask(f"set variable {tenant} = {shell} | (77777ul << 27)")
    check("and when that env is gone", gdb.ask("fh pt $rip"), rf"granted to {shell} with serial 77777, gone")
    gdb.ask(f"set variable {tenant} = 0")


def in_the_kernel(gdb):
    """A CPU with a table locked: in pt_set, at the exchange of the entry."""
    gdb.ask("break leaf_allowed")
    gdb.ask("continue")
    check("fh audit half way through pt_set: it names the CPU", gdb.ask("fh audit"), r"^frame .* locked by a CPU", 
          r"^CPU .*is in the kernel, at leaf_allowed: what it is changing may be half done")
    check("fh frame of that table", gdb.ask("fh frame at->t.n"), r"^  locked by a CPU")
    gdb.ask("delete")


def copy_on_write(gdb, guest):
    guest.send("demo cow\n")
    gdb.ask("b demo:check")
    gdb.ask("continue")
    check("fh why: copy-on-write", gdb.ask("fh why page"), r"copy-on-write .* its fault handler copies")
    check("fh pt names the kit's marks", gdb.ask("fh pt page"), r"\(kit: forked, may-write\)")
    shared = re.search(rf"frame ({HEX}): PT2", gdb.ask("fh pt 0xfffffe4000000000"))[1]  # the child has a link to it
    check("fh frame of a table that another env has linked", gdb.ask(f"fh frame {shared}"), r"PT2 of .*\(demo\), refs 2",
          rf"^  linked by a foreign owner's table {HEX}\[256\]$")
    damaged(gdb, "a foreign link that isn't recorded", f"{RECORD}[{shared}].link", f"{RECORD}[{shared}].link & 1023",
            rf"^frame {shared} \(PT2\): linked by the foreign table {HEX} \[256\], which its record doesn't say$")
    gdb.ask("delete")


def layouts(gdb, guest):
    """Programs whose areas lie where a seed has put them, and one that is itself moved."""
    gdb.ask("b linux:layout_work")
    guest.send("run layout linux seed=7\n")
    check("a program in a layout of its own", gdb.ask("continue"), r"^\[symbols of linux", r"^#0 +layout_work \(\) at user/layout/linux\.c")
    check("fh maps: its areas are where they were put, not where the table has them", gdb.ask("fh maps linux"), r"^0{10}400000-\S+ r-x  DATA +\[text\]$",
          r" r--  DATA +\[rodata\]$", r" rw-  DATA +\[bss\]$", r"^00007ff[0-9a-e]\w+-\S+ rw-  DATA +\[stack\]$", r" kit$")
    gdb.ask("delete")
    check("b in a static-pie that doesn't run: it has no addresses yet", gdb.ask("b linux_pie:layout_work"),
          r"^linux_pie is moved when it is loaded: .* 'b sh:child_start', and ask again\.$")
    gdb.ask("b sh:child_start")
    guest.send("run layout linux_pie seed=7\n")
    gdb.ask("continue")
    check("but it has when it is loaded", gdb.ask("b linux_pie:layout_work"), r"^Breakpoint \d+ at 0x5\w{11} in linux_pie: user/layout/linux\.c:\d+$")
    check("breakpoints there hit, with its symbols", gdb.ask("continue") + "\n" + gdb.ask("bt 3"), rf"^\[symbols of linux_pie, moved by {HEX}, no more of sh\]", r"layout_work \(\) at user/layout/linux\.c",
          r"^#1 +0x00005\w+ in main .* user/layout/lib/main\.c")
    check("fh threads and fh maps know it, too", gdb.ask("fh threads") + "\n" + gdb.ask("fh maps linux_pie"),
          r"\(linux_pie\): RUNNING on cpu \d, at 0x5\w{11} layout_work$", r"^00005\w+-\S+ r-x  DATA +\[text\]$", r"^00007ff[0-9a-e]\w+-\S+ rw-  DATA +\[stack\]$")
    gdb.ask("delete")


def dumps(gdb, scratch):
    """The machine is asked, dumped, and the dumps answer the same."""
    questions = "fh envs", "fh audit", "fh threads", "fh maps linux_pie", "fh frame 0x5001", "fh cpus"
    live = [gdb.ask(q) for q in questions]
    for flag, kind in (("-p ", "with page tables"), ("", "of physical memory")):
        core = os.path.join(scratch, f"core{flag.strip()}")
        gdb.ask(f"monitor dump-guest-memory {flag}{core}")
        other = Gdb()
        other.ask(f"target core {core}")
        check(f"a dump {kind} answers what the machine did", "same" if [other.ask(q) for q in questions] == live else
              "\n".join(map(other.ask, questions)) + "\n--- live:\n" + "\n".join(live), "^same$")
        check("but has no CR2", other.ask("fh why"), r"^A dump has no CR2")
        other.close()
        os.unlink(core)


def debug_kernel(scratch):
    guest, path = machine(scratch, "build/debug")
    with guest:
        guest.expect(r"fh> $", WAIT)
        guest.send("hello\n")
        guest.expect(r"fh> $", WAIT)
        other = Gdb()
        other.ask(f"target remote {path}")
        check("gdb with the symbols of another kernel says so", other.ask("fh envs"), r"^What runs is another kernel")
        other.ask("detach")
        other.close()
        gdb = Gdb("build/debug/freehold64.elf")
        gdb.connect(path)
        check("fh refusals: the sentence", gdb.ask("fh refusals"), rf"^ *\d+ env {HEX}.* EACCES: only DATA and DEVICE frames are mapped writable$")
        check("fh audit: everything fits in a debug kernel", gdb.ask("fh audit"), FITS)
        gdb.ask("detach")
        gdb.close()


def triple_fault():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    with vm.VM("build/freehold.elf", ["build/root.elf"], gdb=port):
        gdb = Gdb()
        gdb.ask(f"target remote :{port}")
        gdb.ask("break kernel_main")
        gdb.ask("continue")
        gdb.ask("set variable $rip = 0xffffff7000000000")  # nothing is there, and there is no IDT yet
        check("a triple fault stops in gdb, at the instruction", gdb.ask("continue") + "\n" + gdb.ask("print/x $rip"),
              r"received signal SIGQUIT", r"= 0xffffff7000000000$")
        check("and fh pt says what was wrong with it", gdb.ask("fh pt $rip"), r"^  PT4 0x102\[510\] = 0x0000000000000000  empty$")
        gdb.ask("kill")
        gdb.close()


os.makedirs("build/test-logs", exist_ok=True)
print("1..74")
with tempfile.TemporaryDirectory() as scratch:
    guest, path = machine(scratch, extra=["-S"])
    with guest:
        gdb = Gdb()
        early(gdb, path)
        breakpoints(gdb, guest)
        damage(gdb, *looking(gdb))
        arguments(gdb)
        in_the_kernel(gdb)
        copy_on_write(gdb, guest)
        layouts(gdb, guest)
        dumps(gdb, scratch)
        gdb.ask("detach")
        gdb.close()
    debug_kernel(scratch)
triple_fault()
