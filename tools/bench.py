#!/usr/bin/env python3
"""Run test/bench in a machine whose time is counted in instructions; print its "name instructions" lines: what work costs,
and how long interrupts are off. With --docs: put the figures into the tables of these documents, in the rows that name them;
with --check, print TAP that says whether they stand there."""
import argparse, re, sys
import vm

p = argparse.ArgumentParser(description=__doc__)
p.add_argument("--build", default="build")
p.add_argument("--cpu", default="qemu64")
p.add_argument("--mem", default="128M")
p.add_argument("--cpus", default="1")
p.add_argument("--only", choices=["work", "longest"])
p.add_argument("--docs", nargs="+", default=[], metavar="FILE")
p.add_argument("--check", nargs="+", default=[], metavar="FILE")
a = p.parse_args()
figures = {}

# Remapping a mebibyte must beat copying it by so much, wherever it is moved to.
REMAP_GAIN = 20
REMAPS = [("realloc-1MiB-copy", "realloc-1MiB-in-place"), ("realloc-1MiB-copy", "move-1MiB"), ("realloc-2MiB-copy", "realloc-2MiB-remap")]


def run(append, row):
    """Boot, print the lines that match; leave if it fails, or if it has a complaint."""
    with vm.VM(f"{a.build}/freehold.elf", [f"{a.build}/root.elf", f"{a.build}/test/bench.elf"], append=f"test=bench {append}",
               cpu=a.cpu, mem=a.mem, cpus=a.cpus, icount=True) as machine:
        status = machine.wait(600)
        rows = re.findall(row + r"(?=\r?$)", machine.transcript, re.M)
        figures.update(line.split() for line in rows)
        if not a.check:
            print("\n".join(rows))
        complaints = re.findall(r"^bench: .*?(?=\r?$)", machine.transcript, re.M)
        if status.code or complaints:
            sys.exit("\n".join(complaints or machine.tail() + [f"bench: {status.text}"]))


# Another compiler makes a little more or less of the same code.
NEAR = 0.15
ROW = re.compile(r"^(\|.*?`([\w+/-]+)`.*?\| )(\d+)(?= \|)", re.M)


def stale(text):
    """Rows whose figure is far from the one just counted."""
    return [f"{name}: {said}, counted {figures[name]}" for _, name, said in ROW.findall(text)
            if name in figures and abs(int(said) - int(figures[name])) > NEAR * int(figures[name])]


if a.only != "longest":
    run("", r"^[\w+/-]+ +[0-9.]+")
    for copy, remap in REMAPS:
        if int(figures[copy]) < REMAP_GAIN * int(figures[remap]):
            sys.exit(f"bench: {remap} takes {figures[remap]} instructions, {copy} {figures[copy]}: that is less than {REMAP_GAIN} times")
if a.only != "work":
    a.check or print("\n# Longest time with interrupts off, in instructions, less 512 for each frame zeroed (in one call at most 512 frames)")
    run("bench=longest slots=all", r"^off/[\w/-]+ +[0-9]+")
for file in a.docs:
    text = open(file).read()
    with open(file, "w") as f:
        f.write(ROW.sub(lambda row: row[1] + figures.get(row[2], row[3]), text))
for n, file in enumerate(a.check, 1):
    wrong = stale(open(file).read())
    print(f"{'not ok' if wrong else 'ok'} {n} - the figures in {file} are what make bench counts (make docs-bench)", *wrong, sep="\n# ")
if a.check:
    print(f"1..{len(a.check)}")
