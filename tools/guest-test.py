#!/usr/bin/env python3
"""Run test/guest/NAME.c in a machine (NAME.tar, if built, is a module beside it) and print its TAP. The kernel's command
line says test=NAME; root then spawns that module in place of the shell and halts with its exit code. Lines that aren't TAP
(the boot log) go to the log only. An end other than a halt with code 0 is a failed test, with the end of the console shown. The verdict is in the TAP, not in the exit
status, but with --status. --sim both: runs in Bochs, then in QEMU on a CPU with the same features; what they say is one more test."""
import argparse, difflib, glob, os, re, sys
import bochs, vm

TAP = re.compile(r"(ok|not ok)\b|1\.\.\d+$|#")


def arguments():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("name")
    p.add_argument("--with", dest="others", default="", help="layouts whose test programs are modules, too")
    p.add_argument("--variant", choices=["release", "debug"], default="release")
    p.add_argument("--sim", choices=["qemu", "bochs", "both"], default="qemu")
    p.add_argument("--cpu", help="the simulator's name for it")
    p.add_argument("--mem", default="128M")
    p.add_argument("--cpus", default="1")
    p.add_argument("--kernel", help="another one than the variant's; the log goes beside it")
    p.add_argument("--append", default="", help="more words for the kernel's command line")
    p.add_argument("--status", action="store_true", help="exit with 1 if a test failed")
    p.add_argument("--timeout", type=float, help="seconds")
    return p.parse_args()


# Sentences whose numbers follow from chance or from the machine's speed, so that they may differ; in comments all may.
CHANCE = re.compile("|".join((
    r"#", r".*a run of 100, aligned to 64", r".*frames lie \d+ apart", r".*mostly one region", r".*asked to sleep \d+ ms",
    r".*faults, with \d+ doorbells", r".*runs of 512 slots", r".*at one stroke: done, \d+ frames", r".*\d+ envs with \d+ threads",
    r".*\d+ pairs, each CPU at least \d+", r".*in \d+ (rounds|steps)", r".*: \d+ steps, \d+ moves", r".*of \d+ (sleeps|steps)",
    r".*sgdt tells an address", # each CPU has its own
    r".*\d+ children are buried", r".*the second time \d+ of them", r".*is given: 0x", r".*are the next one of the one before", r".*\d+ (writes|faults|forks)",
)))
NUMBER = re.compile(r"\b(0x[0-9a-f]+|\d+)\b")


class Tap:
    """Counts TAP lines, and passes them on as they come; without `show` only keeps them."""

    def __init__(self, show=True):
        self.line, self.count, self.failed, self.plan, self.lines, self.show = "", 0, 0, None, [], show

    def feed(self, data):
        *lines, self.line = (self.line + data.decode(errors="replace").replace("\r", "")).split("\n")
        for line in lines:
            if TAP.match(line):
                self.take(line)

    def take(self, line):
        self.lines.append(line)
        self.count += line.startswith(("ok", "not ok"))
        self.failed += line.startswith("not ok") and "# TODO" not in line
        if line.startswith("1.."):
            self.plan = int(line[3:])
        elif self.show:
            print(line, flush=True)

    def judge(self, status):
        """On the run itself: `not ok` lines explain an exit code; anything else needs one of its own."""
        explained = self.failed and status.code <= vm.HALT_MAX
        if (status.code or self.plan is None or self.count < self.plan) and not explained:
            self.take(f"not ok {self.count + 1} - {status.text or 'the test ended before its plan was done'}")

    def end(self, tail):
        print(f"1..{max(self.count, self.plan or 0)}")
        if self.failed:
            print("".join(f"# | {line}\n" for line in tail), end="")
        return self.failed > 0


def comparable(lines):
    """What two simulators must agree on. A test skipped in one of them is one that it has no word on."""
    skipped = [line.split(" # SKIP")[0] for line in lines]
    return [NUMBER.sub("N", line) if CHANCE.match(line) else line for line in skipped]


def run(a, sim, cpu, tap):
    build = "build/debug" if a.variant == "debug" else "build"
    os.makedirs("build/test-logs", exist_ok=True)
    log = f"{a.kernel}.console" if a.kernel else f"build/test-logs/{a.name}.{a.variant}.{cpu}.{a.cpus}{'' if a.mem == '128M' else '.' + a.mem}.console"
    modules = [f"{build}/root.elf", f"{build}/test/{a.name}.elf"] + [f"{build}/test/layout/{n}.elf" for n in a.others.replace(",", " ").split()]
    modules += glob.glob(f"{build}/test/{a.name}.tar")
    timeout = a.timeout or {"qemu": 60, "bochs": 60 + 30 * int(a.cpus)}[sim]
    with bochs.machine(sim, a.kernel or f"{build}/freehold.elf", modules, cpus=a.cpus, mem=a.mem, cpu=cpu, append=f"test={a.name} {a.append}".strip(), echo=tap.feed, log=log) as machine:
        tap.judge(machine.wait(timeout))
        return machine.tail()


def main(a):
    """Did a test fail?"""
    tap = Tap()
    if a.sim != "both":
        return tap.end(run(a, a.sim, a.cpu or {"qemu": "qemu64", "bochs": bochs.CPU}[a.sim], tap))
    tail, other = run(a, "bochs", bochs.CPU, tap), Tap(show=False)
    run(a, "qemu", bochs.CPU_IN_QEMU, other)
    apart = [*difflib.unified_diff(comparable(tap.lines), comparable(other.lines), "Bochs", "QEMU", n=0, lineterm="")]
    if tap.plan is not None:
        tap.plan += 1
    tap.take(f"{'not ok' if apart else 'ok'} {tap.count + 1} - QEMU ({bochs.CPU_IN_QEMU}) says the same")
    print("".join(f"# {line}\n" for line in apart), end="")
    return tap.end(tail)


options = arguments()
failed = main(options)
sys.exit(options.status and failed)
