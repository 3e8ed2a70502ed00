#!/usr/bin/env python3
"""Run test/bench in a machine whose time is counted in instructions; print its "name instructions" lines."""
import argparse, re, sys
import vm

p = argparse.ArgumentParser(description=__doc__)
p.add_argument("--build", default="build")
p.add_argument("--cpu", default="qemu64")
p.add_argument("--mem", default="128M")
p.add_argument("--cpus", default="1")
p.add_argument("--append", default="", help="more words for the kernel's command line: longest=1 for the last part alone")
a = p.parse_args()

with vm.VM(f"{a.build}/freehold.elf", [f"{a.build}/root.elf", f"{a.build}/test/bench.elf"], append=f"test=bench slots=all {a.append}".strip(),
           cpu=a.cpu, mem=a.mem, cpus=a.cpus, icount=True) as machine:
    status = machine.wait(300)
    print("\n".join(re.findall(r"^[\w+/-]+ +[0-9.]+(?=\r?$)", machine.transcript, re.M)))
    if status.code:
        sys.exit("\n".join(machine.tail() + [f"bench: {status.text}"]))
