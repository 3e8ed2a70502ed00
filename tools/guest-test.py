#!/usr/bin/env python3
"""Run test/guest/NAME.c in a machine and print its TAP. The kernel's command line says test=NAME; root then spawns that
module in place of the shell and halts with its exit code. Lines that aren't TAP (the boot log) go to the log only. An
end other than a halt with code 0 is a failed test, with the end of the console shown. The verdict is in the TAP, not in the
exit status."""
import argparse, os, re
import bochs, vm

TAP = re.compile(r"(ok|not ok)\b|1\.\.\d+$|#")


def arguments():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("name")
    p.add_argument("--variant", choices=["release", "debug"], default="release")
    p.add_argument("--sim", choices=["qemu", "bochs"], default="qemu")
    p.add_argument("--cpu", help="the simulator's name for it")
    p.add_argument("--mem", default="128M")
    p.add_argument("--cpus", default="1")
    p.add_argument("--timeout", type=float, help="seconds")
    a = p.parse_args()
    a.cpu = a.cpu or {"qemu": "qemu64", "bochs": bochs.CPU}[a.sim]
    a.timeout = a.timeout or {"qemu": 60, "bochs": 60 + 30 * int(a.cpus)}[a.sim]
    return a


class Tap:
    """Passes TAP lines on as they come, and counts."""

    def __init__(self):
        self.line, self.count, self.failed, self.plan = "", 0, 0, None

    def feed(self, data):
        *lines, self.line = (self.line + data.decode(errors="replace").replace("\r", "")).split("\n")
        for line in lines:
            if TAP.match(line):
                self.take(line)

    def take(self, line):
        print(line, flush=True)
        self.count += line.startswith(("ok", "not ok"))
        self.failed += line.startswith("not ok") and "# TODO" not in line
        if line.startswith("1.."):
            self.plan = int(line[3:])

    def end(self, status, tail):
        """The verdict on the run itself. `not ok` lines explain an exit code; anything else needs one of its own."""
        explained = self.failed and status.code <= vm.HALT_MAX
        if (status.code or self.plan is None or self.count < self.plan) and not explained:
            self.take(f"not ok {self.count + 1} - {status.text or 'the test ended before its plan was done'}")
        if self.plan is None:
            print(f"1..{self.count}")
        if self.failed:
            print("".join(f"# | {line}\n" for line in tail), end="")


def main():
    a = arguments()
    build = "build/debug" if a.variant == "debug" else "build"
    os.makedirs("build/test-logs", exist_ok=True)
    log = f"build/test-logs/{a.name}.{a.variant}.{a.cpu}.console"
    tap = Tap()
    with bochs.machine(a.sim, f"{build}/freehold.elf", [f"{build}/root.elf", f"{build}/test/{a.name}.elf"], cpus=a.cpus, mem=a.mem,
               cpu=a.cpu, append=f"test={a.name}", echo=tap.feed, log=log) as machine:
        status = machine.wait(a.timeout)
        tap.end(status, machine.tail())


main()
