#!/usr/bin/env python3
"""Boots on several CPUs: each runs and idles, whichever table names them; one that doesn't start is left out; a kernel bug on
one CPU is reported once, in one piece; Ctrl-P says what four busy CPUs do. With --most: 255 CPUs, as many as can be used."""
import os, re, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../tools"))
import vm

WAIT = 90  # seconds until the machine must have said what it has to say
SH = ["build/root.elf", "build/sh.elf", "build/test/envs.elf"]
DEBUG = ["build/debug/root.elf", "build/debug/sh.elf"]
PROMPT = r"(?:^|\n)\r?fh> $"
count = 0


def report(name, bad, machine):
    global count
    count += 1
    print(f"{'not ok' if bad else 'ok'} {count} - {name}")
    if bad:
        print("".join(f"# {line}\n" for line in bad + machine.tail(40)), end="", flush=True)


def run(name, talk, kernel="build/freehold.elf", modules=SH, **options):
    """Boot, and let talk(machine) say what is wrong: a list of sentences."""
    with vm.VM(kernel, modules, **options) as machine:
        try:
            bad = talk(machine)
        except (vm.Ended, vm.Timeout) as e:
            bad = [str(e)]
        report(name, bad, machine)


def states(machine, cpus):
    """Ctrl-P: a line for each CPU. Waits until they are all there."""
    machine.send("\x10")
    machine.expect(r"---- state: clock \d+ ----", WAIT)
    text = machine.expect(r"(?s)(.*)---- end of state ----", WAIT).group(1)
    lines = [re.search(rf"^cpu {c}: .*$", text.replace("\r", ""), re.M) for c in range(cpus)]
    return [line.group(0) if line else "" for line in lines]


def halts(machine):
    machine.send("halt\n")
    status = machine.wait(WAIT)
    return [f"ends with status {status.code}: {status.text}"] if status.code else []


def all_run(cpus, source="ACPI MADT", named=None):
    def talk(machine):
        machine.expect(rf"{cpus} of {named or cpus} CPUs run \({source}\)" if cpus > 1 else r"1 CPU \(", WAIT)
        machine.expect(rf"root: .* {cpus} CPUs?, ", WAIT)
        machine.expect(PROMPT, WAIT)
        lines = states(machine, cpus)
        bad = [f"CPU {c} has neither idled nor run: {line!r}" for c, line in enumerate(lines)
               if not re.search(r"idle [1-9]\d* times|thread [1-9a-f]", line)]
        if states(machine, cpus + 1)[cpus]:
            bad += ["there is one CPU more than there should be"]
        return bad + halts(machine)
    return talk


def busy(machine):
    """Four programs that spin, one for each CPU if its slots are spread; the state comes while they do."""
    machine.expect(PROMPT, WAIT)
    for _ in range(4):
        machine.send("run envs spin &\n")
        machine.expect(PROMPT, WAIT)
    for _ in range(20):
        lines = states(machine, 4)
        if any(re.search(r"thread [1-9a-f]", line) for line in lines):
            return [] if all(lines) else ["a CPU is missing"]
        machine.pump(0.2)
    return ["no CPU is busy"]


def panics(machine):
    status = machine.wait(WAIT)
    text = machine.transcript.replace("\r", "")
    bad = [f"status {status.code}: {status.text}"] if status.code != vm.PANIC else []
    if text.count("KERNEL BUG") != 1 or text.count("---- end of state ----") != 1:
        bad += ["not one report"]
    parts = [r"KERNEL BUG: .*crash=assert", "backtrace:", r"last system calls of CPU \d", r"cpu 3: ", r"---- end of state ----\nfreehold: stopped with code 17\n*\Z"]
    at = 0
    for part in parts:
        match = re.compile(part).search(text, at)
        if not match:
            return bad + [f"no {part!r}, or not in its place"]
        at = match.end()
    return bad


def deaf(machine):
    machine.expect(r"the CPU with APIC ID 3 doesn't start: left out", WAIT)
    return all_run(3, named=4)(machine)


if "--most" in sys.argv:
    print("1..1")
    # q35: PC's firmware tables end at 255 APIC IDs, and the one that would be 255 is the broadcast address.
    run("255 CPUs: all run", all_run(255), cpus=255, mem="512M", extra=["-machine", "q35"])
    sys.exit()
print("1..9")
for cpus in (1, 2, 4, 8, 64):
    run(f"{cpus} CPU{'s' if cpus > 1 else ''}: all run", all_run(cpus), cpus=cpus, mem="256M" if cpus > 8 else "128M")
run("four CPUs named by the MP table, without ACPI", all_run(4, "MP table"), cpus="4,sockets=4", extra=["-machine", "pc,acpi=off"])
run("a CPU that gets no start-up IPI is named and left out; the other three run", deaf, kernel="build/debug/freehold.elf",
    modules=DEBUG, cpus=4, append="crash=cpu")
run("a bug with four CPUs is reported once, in one piece, and the machine ends", panics, kernel="build/debug/freehold.elf",
    modules=DEBUG, cpus=4, append="crash=assert")
run("Ctrl-P says what four CPUs do while programs spin", busy, cpus=4)
