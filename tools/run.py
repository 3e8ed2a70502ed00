#!/usr/bin/env python3
"""Run Freehold in QEMU or Bochs. Without --cmd this terminal is the console (Ctrl-A x quits); with --cmd the line is typed
into the shell, and the exit status says how the machine ended: the halt code; 101 kernel panic, 102 refused to boot,
103 reset without a verdict, 104 the simulator failed, 105 the line ran but did not halt the machine, 124 timeout."""
import argparse, os, re, select, signal, sys, termios, tty
import bochs, vm

PROMPT = r"(?:^|\n)\r?fh> $"
NO_HALT = 105
IDLE = 2  # seconds of silence behind a prompt that mean: the line has run


def arguments():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--kernel", default="build/freehold.elf")
    p.add_argument("--modules", default="", help="'file args,file args'; the first is root")
    p.add_argument("--cpus", default="1")
    p.add_argument("--mem", default="128M")
    p.add_argument("--sim", choices=["qemu", "bochs"], default="qemu")
    p.add_argument("--cpu", help="the simulator's name for it; qemu64 or %s if not given" % bochs.CPU)
    p.add_argument("--append", default="", help="kernel command line")
    p.add_argument("--icount", action="store_true", help="QEMU: time is instructions, the same in every run")
    p.add_argument("--gdb", metavar="PORT", help="QEMU: wait for gdb there")
    p.add_argument("--debugger", metavar="SYMBOLS", help="Bochs: its debugger has this terminal, with these symbols")
    p.add_argument("--cmd", help="a line for the shell")
    p.add_argument("--timeout", type=float, default=300, help="seconds, with --cmd")
    p.add_argument("--log", help="with --cmd: keep the console transcript in this file")
    return p.parse_args()


def echo(data):
    sys.stdout.buffer.write(data.replace(b"\r", b""))
    sys.stdout.flush()


def quit_is_fine(status):
    """A person may end the machine without a verdict; a triple fault is none of his."""
    return vm.Status(0, "") if status.code == vm.NO_VERDICT and not status.text.startswith("triple fault") else status


def qemu_console(options):
    """QEMU has the terminal."""
    with vm.VM(tty=True, **options) as machine:
        return quit_is_fine(machine.wait())


def bochs_console(options):
    """Keys go to the machine, but Ctrl-A x ends it, as in QEMU; Ctrl-A twice is Ctrl-A."""
    if os.isatty(0):
        tty.setraw(0, termios.TCSANOW)
    with bochs.Bochs(echo=lambda data: os.write(1, data), **options) as machine:
        prefix = b""
        while machine.open:
            for source in select.select([machine.output] + ([0] if os.isatty(0) else []), [], [])[0]:
                if source != 0:
                    machine.pump(0)
                    continue
                keys = prefix + os.read(0, 256)
                prefix = b"\x01" if keys.endswith(b"\x01") and not keys.endswith(b"\x01\x01") else b""
                if b"\x01x" in keys:
                    return vm.Status(0, "")
                machine.send(keys[:len(keys) - len(prefix)].replace(b"\x01\x01", b"\x01").decode(errors="ignore"))
        return machine.wait(10)


def bochs_debugger(options, symbols, line):
    """Bochs' debugger has the terminal; what the machine prints comes between. The line is typed at the first prompt."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the debugger
    with bochs.Bochs(echo=echo, tty=True, symbols=symbols, **options) as machine:
        while machine.open:
            machine.pump(3600)
            if line and re.search(PROMPT, machine.transcript):
                machine.send(line + "\n")
                line = None
        return quit_is_fine(machine.wait())


def interactive(sim, options):
    """Whatever happens, the terminal is handed back as it was."""
    saved = termios.tcgetattr(0) if os.isatty(0) else None
    try:
        return (bochs_console if sim == "bochs" else qemu_console)(options)
    finally:
        if saved:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)


def command_line(sim, options, line, timeout, log):
    with bochs.machine(sim, echo=echo, log=log, **options) as machine:
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
    options = dict(kernel=a.kernel, modules=[m for m in a.modules.split(",") if m], cpus=a.cpus, mem=a.mem,
                   cpu=a.cpu or {"qemu": "qemu64", "bochs": bochs.CPU}[a.sim], append=a.append)
    if a.sim == "qemu":
        options.update(icount=a.icount, gdb=a.gdb)
    try:
        if a.debugger:
            status = bochs_debugger(options, a.debugger, a.cmd)
        elif a.cmd is None:
            status = interactive(a.sim, options)
        else:
            status = command_line(a.sim, options, a.cmd, a.timeout, a.log)
    except KeyboardInterrupt:
        status = vm.Status(130, "interrupted")
    if status.text:
        print(f"\nrun: {status.text}", file=sys.stderr)
    sys.exit(status.code)


main()
