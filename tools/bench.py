#!/usr/bin/env python3
"""Run test/bench in a machine whose time is counted in instructions; print its "name instructions" lines: what work costs,
and how long interrupts are off."""
import argparse, re, sys
import vm

p = argparse.ArgumentParser(description=__doc__)
p.add_argument("--build", default="build")
p.add_argument("--cpu", default="qemu64")
p.add_argument("--mem", default="128M")
p.add_argument("--cpus", default="1")
p.add_argument("--only", choices=["work", "longest"])
a = p.parse_args()


def run(append, row):
    """Boot, print the lines that match; leave if it fails, or if it has a complaint."""
    with vm.VM(f"{a.build}/freehold.elf", [f"{a.build}/root.elf", f"{a.build}/test/bench.elf"], append=f"test=bench {append}",
               cpu=a.cpu, mem=a.mem, cpus=a.cpus, icount=True) as machine:
        status = machine.wait(600)
        print("\n".join(re.findall(row + r"(?=\r?$)", machine.transcript, re.M)))
        complaints = re.findall(r"^bench: .*?(?=\r?$)", machine.transcript, re.M)
        if status.code or complaints:
            sys.exit("\n".join(complaints or machine.tail() + [f"bench: {status.text}"]))


if a.only != "longest":
    run("", r"^[\w+/-]+ +[0-9.]+")
if a.only != "work":
    print("\n# Longest time with interrupts off, in instructions, less 512 for each frame zeroed (in one call at most 512 frames)")
    run("bench=longest slots=all", r"^off/[\w/-]+ +[0-9]+")
