#!/usr/bin/env python3
"""Run Freehold in QEMU. Without --cmd this terminal is the console (Ctrl-A x quits); with --cmd the line is typed
into the shell, and the exit status says how the machine ended: the halt code; 101 kernel panic, 102 refused to boot,
103 reset without a verdict, 104 QEMU failed, 105 the line ran but did not halt the machine, 124 timeout."""
import argparse, os, sys, termios
import vm

PROMPT = r"(?:^|\n)\r?fh> $"
NO_HALT = 105
IDLE = 2  # seconds of silence behind a prompt that mean: the line has run


def arguments():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--kernel", default="build/freehold.elf")
    p.add_argument("--modules", default="", help="'file args,file args'; the first is root")
    p.add_argument("--cpus", default="1")
    p.add_argument("--mem", default="128M")
    p.add_argument("--cpu", default="qemu64")
    p.add_argument("--append", default="", help="kernel command line")
    p.add_argument("--icount", action="store_true", help="time is instructions: the same in every run")
    p.add_argument("--gdb", metavar="PORT", help="wait for gdb there")
    p.add_argument("--cmd", help="a line for the shell")
    p.add_argument("--timeout", type=float, default=300, help="seconds, with --cmd")
    p.add_argument("--log", help="with --cmd: keep the console transcript in this file")
    return p.parse_args()


def interactive(options):
    """QEMU has the terminal; whatever happens, it is handed back as it was."""
    saved = termios.tcgetattr(0) if os.isatty(0) else None
    try:
        with vm.VM(tty=True, **options) as machine:
            status = machine.wait()
    finally:
        if saved:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)
    if status.code == vm.NO_VERDICT and status.text != "triple fault":
        return vm.Status(0, "")  # Ctrl-A x
    return status


def command_line(options, line, timeout, log):
    def echo(data):
        sys.stdout.buffer.write(data.replace(b"\r", b""))
        sys.stdout.flush()

    with vm.VM(echo=echo, log=log, **options) as machine:
        try:
            machine.expect(PROMPT, timeout)
            machine.send(line + "\n")
            while True:
                machine.expect(PROMPT, timeout)
                if not machine.pump(IDLE) and machine.open:
                    return vm.Status(NO_HALT, "the command line ended without halt")
        except vm.Ended:
            return machine.wait(10)
        except vm.Timeout:
            return vm.Status(vm.TIMEOUT, f"timeout: killed after {timeout:g} s")


def main():
    a = arguments()
    options = dict(kernel=a.kernel, modules=[m for m in a.modules.split(",") if m], cpus=a.cpus, mem=a.mem, cpu=a.cpu,
                   append=a.append, icount=a.icount, gdb=a.gdb)
    try:
        status = interactive(options) if a.cmd is None else command_line(options, a.cmd, a.timeout, a.log)
    except KeyboardInterrupt:
        status = vm.Status(130, "interrupted")
    if status.text:
        print(f"\nrun: {status.text}", file=sys.stderr)
    sys.exit(status.code)


main()
