#!/usr/bin/env python3
"""Meltdown: the boot log warns on a CPU of Intel's that doesn't say that it is free of it, and on no other; such a CPU executes no
large pages either (iTLB multihit)."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../tools"))
import vm

CASES = [  # (CPU, is warned, what it is)
    ("qemu64,vendor=GenuineIntel", True, "Intel, without IA32_ARCH_CAPABILITIES"),
    ("max,vendor=GenuineIntel", True, "Intel, all that QEMU has, which isn't that"),
    ("qemu64,vendor=AuthenticAMD", False, "AMD"),
]

print(f"1..{len(CASES)}")
for number, (cpu, wanted, what) in enumerate(CASES, 1):
    with vm.VM("build/freehold.elf", ["build/root.elf", "build/test/calls.elf"], append="test=none", cpu=cpu) as machine:
        machine.wait(60)
        warned = "warning: this CPU may have Meltdown" in machine.transcript
        started = "root: " in machine.transcript
    print(f"{'ok' if started and warned == wanted else 'not ok'} {number} - {what}: {'a warning' if wanted else 'none'} ({cpu})")
