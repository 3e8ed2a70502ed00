#!/usr/bin/env python3
"""test/guest/stale.c would notice a kernel that doesn't wait for other CPUs to flush: a debug kernel with broken=flush doesn't,
and then fails just those checks that say so; without it all pass."""
import os, re, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../tools"))
import vm

BUILD = "build/debug"
# Each check of a frame's bytes, and whether so many rounds make a miss unthinkable (a 2 MiB page is slow to free and zero).
CHECKS = [("4 KiB page", True), ("2 MiB page", False), ("becomes a page table", True), ("window is withdrawn", True),
          ("cleared in a window", True), ("read-only in a window", True)]


def run(append):
    with vm.VM(f"{BUILD}/freehold.elf", [f"{BUILD}/root.elf", f"{BUILD}/test/stale.elf"], cpus=2,
               append=f"test=stale {append}") as machine:
        status = machine.wait(120)
        return status, machine.transcript.replace("\r", "").split("\n"), machine.tail(60)


count = 0


def check(good, sentence, tail):
    global count
    count += 1
    print(f"{'ok' if good else 'not ok'} {count} - {sentence}")
    if not good:
        print("".join(f"# | {line}\n" for line in tail), end="", flush=True)


print(f"1..{4 + len(CHECKS)}")
status, lines, tail = run("")
bytes_ok = [l for l in lines if re.match(r"ok \d+ - .*no foreign byte", l)]
check(status.code == 0, f"the test passes on a kernel that waits for flushes: {status.text or 'code 0'}", tail)
check(len(bytes_ok) == len(CHECKS), f"{len(CHECKS)} checks see no foreign byte", tail)

status, lines, tail = run("broken=flush")
failed = [l for l in lines if l.startswith("not ok")]
check(status.code == 1, f"it fails on one that doesn't: {status.text or 'code 0'}", tail)
for what, sure in CHECKS:
    seen = any(what in l and "no foreign byte" in l for l in failed)
    check(seen or not sure, f"foreign bytes are seen: {what}{'' if seen else ' (not this time)'}", tail)
check(failed and all("no foreign byte" in l for l in failed) and any("foreign bytes 0x57a1e57a1e57a1e0" in l for l in lines),
      "what is seen are the bytes that the other CPU writes, and nothing else fails", tail)
