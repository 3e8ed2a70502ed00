#!/usr/bin/env python3
"""A bug in the kernel (crash= on the command line of a debug build makes one) is reported with registers, a backtrace that
names functions, and the last system calls; the machine ends with the status of a panic, without a reset."""
import os, re, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../tools"))
import vm

KERNEL, ROOT = "build/debug/freehold.elf", "build/debug/root.elf"
REGISTERS = [r"rip ffffffff8[0-9a-f]{7} rsp [0-9a-f]{16} rflags [0-9a-f]{8} cs 0008", r"rax [0-9a-f]{16} rbx [0-9a-f]{16}",
             r"r13 [0-9a-f]{16} r14 [0-9a-f]{16} r15 [0-9a-f]{16}"]
REPORT = [r"backtrace:", r"at   [0-9a-f]{16} \w+\+0x[0-9a-f]+", r"from [0-9a-f]{16} \w+\+0x[0-9a-f]+",
          r"last system calls of CPU 0, newest first:", r"---- state", r"env [0-9a-f]+: parent", r"---- end of state"]
CASES = [  # (crash=, what the report must have, in this order)
    ("assert", [r"freehold: KERNEL BUG: .*crash=assert"] + REPORT[:1] + [r"(at|from) .* (crash_on_request|cpu_main)\+0x"]),
    ("null", [r"freehold: KERNEL BUG: page fault \(vector 14\) error 0 address"] + REGISTERS + REPORT[:1] +
     [r"at .* (crash_on_request|cpu_main)\+0x"]),
    ("stack", [r"freehold: KERNEL BUG: double fault \(vector 8\)", r"kernel stack overflow"] + REGISTERS + REPORT[:1] +
     [r"at .* overflow", r"from .* overflow"]),
]


def wrong(crash, wanted, cpu):
    """What is wrong with the report, and the console's end; nothing when all is well."""
    with vm.VM(KERNEL, [ROOT], append=f"crash={crash}", cpu=cpu) as machine:
        status = machine.wait(30)
        text, tail = machine.transcript.replace("\r", ""), machine.tail(60)
    if status.code != vm.PANIC:
        return [f"status {status.code}: {status.text}"] + tail
    at = 0
    for pattern in wanted + REPORT[3:]:
        match = re.compile(pattern).search(text, at)
        if not match:
            return [f"no {pattern!r}, or not in its place"] + tail
        at = match.end()
    if text.count("KERNEL BUG") != 1:
        return ["the report is not one report"] + tail
    return []


planned = [(crash, wanted, cpu) for cpu in ("qemu64", "max") for crash, wanted in CASES]
print(f"1..{len(planned)}")
for number, (crash, wanted, cpu) in enumerate(planned, 1):
    bad = wrong(crash, wanted, cpu)
    print(f"{'not ok' if bad else 'ok'} {number} - crash={crash} on {cpu} is reported: registers, backtrace, last calls, status 101")
    print("".join(f"# {line}\n" for line in bad), end="", flush=True)
