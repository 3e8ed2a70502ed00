#!/usr/bin/env python3
"""A program's crash report ends with a command. Typed as it is printed, it names the function: of a program in build/, of a
debug one, of one that is further down, and of a static-pie, which runs where its file doesn't say."""
import os, re, subprocess, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../tools"))
import vm

CASES = [  # (variant, the module's command line, the function that crashes)
    ("build", "bugs.elf lost", "lost"),
    ("build/debug", "bugs.elf lost", "lost"),
    ("build", "test/layout/probe/probe.elf crash", "crash"),
    ("build", "test/layout/probe/probe_pie.elf crash", "crash"),
]


def named(build, line):
    """What the command says, and what the machine did."""
    name = os.path.basename(line.split()[0])[:-4]
    with vm.VM(f"{build}/freehold.elf", [f"{build}/root.elf", f"{build}/{line}"], append=f"test={name}",
               log=f"build/test-logs/where.{build.replace('/', '.')}.{name}.console") as machine:
        machine.wait(60)
        command = re.search(r"where: (addr2line \S+ \S+ 0x\w+)\r?$", machine.transcript, re.M)
        said = subprocess.run(command[1].split(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout if command else "no command"
        return command[1] if command else "", said, machine.tail(25)


print(f"1..{len(CASES)}")
for number, (build, line, function) in enumerate(CASES, 1):
    command, said, tail = named(build, line)
    good = said.split("\n")[0] == function
    print(f"{'ok' if good else 'not ok'} {number} - {build}/{line}: the command in its report names {function}()")
    if not good:
        print(f"# {command}: {said}", *tail, sep="\n# ", flush=True)
