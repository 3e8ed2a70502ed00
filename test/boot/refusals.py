#!/usr/bin/env python3
"""A machine or a root module that can't be used: one clear line that says why, then exit status 102; no reset, no hang."""
import os, sys, tempfile
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../tools"))
import re, vm

KERNEL, ROOT = "build/freehold.elf", "build/root.elf"


def cases(scratch):
    """(what is wrong, what the line must mention, how to start it)"""
    garbage, half = os.path.join(scratch, "garbage"), os.path.join(scratch, "half")
    with open(ROOT, "rb") as file:
        root = file.read()
    for name, data in (garbage, b"not an ELF file\n" * 1000), (half, root[:len(root) // 2]):
        with open(name, "wb") as file:
            file.write(data)
    return [
        ("no module", r"module", dict(modules=[])),
        ("a module that is no ELF file", r"ELF", dict(modules=[garbage])),
        ("half an ELF file", r"truncated|cut|short|beyond|outside", dict(modules=[half])),
        ("32 MiB of RAM", r"RAM|memory", dict(modules=[ROOT], mem="32M")),
        ("a CPU without long mode", r"long mode|64-bit", dict(modules=[ROOT], cpu="qemu32")),
        ("a CPU without NX", r"NX|no-execute", dict(modules=[ROOT], cpu="qemu64,-nx")),
    ]


def refused(reason, options):
    """What is wrong with the refusal, and the console's end; nothing when all is well."""
    with vm.VM(KERNEL, **options) as machine:
        status = machine.wait(30)
        last = [line for line in machine.tail() if line.strip() and "stopped with code" not in line][-1:]
        if status.code != vm.REFUSED:
            return [f"status {status.code}: {status.text}"] + machine.tail(20)
        if not last or not re.match(rf"freehold: .*({reason})", last[0]):
            return [f"the last line is not 'freehold: ...{reason}...'"] + machine.tail(20)
    return []


with tempfile.TemporaryDirectory() as scratch:
    planned = cases(scratch)
    print(f"1..{len(planned)}")
    for number, (what, reason, options) in enumerate(planned, 1):
        wrong = refused(reason, options)
        print(f"{'not ok' if wrong else 'ok'} {number} - {what} is refused in words")
        print("".join(f"# {line}\n" for line in wrong), end="", flush=True)
