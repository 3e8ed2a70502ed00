#!/usr/bin/env python3
"""What make bochs, bochs-run and bochs-trace are made of: exit statuses from the console's last line, symbols in the debugger,
the trace of one malloc."""
import functools, os, re, subprocess, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../tools"))
import bochs, debugdoc, vm

PROGRAMS = [f"build/{name}.elf" for name in ("root", "sh", "demo")]
TRACE = ["tools/bochs-trace.py", "demo", "--cmd", "demo heap", "--modules", ",".join(PROGRAMS)]
MALLOC = [r"^ +\d+ .* malloc$", r"tags_alloc$", r"source_grow$", r"load from PT1 0x\w+ slots? [\d-]+: 0x0$", r"-- system call$",
          r" pt_update$", r"CHANGE of PT1 0x\w+ slot \d+: 0x0 -> 0x80\w+$"]


@functools.cache  # what two checks look at is run once
def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    return done.returncode, done.stdout.decode(errors="replace")


def ends_with(status, *arguments):
    got, text = run("tools/run.py", "--sim", "bochs", *arguments)
    return [] if got == status else [f"status {got}, wanted {status}"] + text.split("\n")[-15:]


def says(patterns, *command):
    """All of them, in this order."""
    status, text = run(*command)
    at = 0
    for pattern in patterns:
        match = re.compile(pattern, re.M).search(text, at)
        if status or not match:
            return [f"status {status}; no {pattern!r}, or not in its place"] + text.split("\n")[-40:]
        at = match.end()
    return []


def symbols():
    os.makedirs("build/test-logs", exist_ok=True)
    lines = subprocess.run(["nm", "build/freehold64.elf"], stdout=subprocess.PIPE, text=True).stdout.split("\n")
    with open("build/test-logs/bochs.sym", "w") as file:
        file.write("".join(f"{w[0]} {w[2]}\n" for w in (line.split() for line in lines) if len(w) == 3 and w[1] in "tT"))
    with bochs.Debugger("build/freehold.elf", PROGRAMS[:1], symbols=file.name) as machine:
        machine.command('lb "schedule"')
        said = machine.command("c") + machine.command("s")
    return [] if "(schedule+0): " in said and "(schedule+1): " in said else said.split("\n")


def shown():
    for _ in range(4):  # a tick may fall into it
        status, text = run(*TRACE, "--fn", "malloc")
        bad = debugdoc.trace_problems(text) if status == 0 else [f"status {status}"]
        if not bad:
            break
    return bad


def listing():
    with open("build/trace.txt") as file:
        text = file.read()
    wanted = (r"user +\w+ malloc\+0 ", r"walk  PTE at 0x\w+: ", r"kernel +\w+ pt_update\+0 ", r"rw +0x\w+ \(physical 0x\w+\) 8: .*CHANGE of PT1")
    return [f"no {pattern!r}" for pattern in wanted if not re.search(pattern, text)]


CHECKS = [
    ("halt 3 ends with 3", lambda: ends_with(3, "--modules", ",".join(PROGRAMS[:2]), "--cmd", "halt 3")),
    ("a line without halt with 105", lambda: ends_with(105, "--modules", ",".join(PROGRAMS[:2]), "--cmd", "help")),
    ("a kernel that finds no root with 102", lambda: ends_with(102, "--cmd", "halt")),
    ("a kernel panic with 101", lambda: ends_with(101, "--kernel", "build/debug/freehold.elf", "--modules",
                                                  "build/debug/root.elf", "--append", "crash=stack", "--cmd", "halt")),
    ("the debugger knows the kernel's symbols", symbols),
    ("one malloc is traced, from the call to the stores into the page table", lambda: says(MALLOC, *TRACE, "--fn", "malloc")),
    ("and listed", listing),
    ("it is what docs/debugging.md shows: the same functions, counts within 5 %", shown),
    ("a span between TRACE_BEGIN and TRACE_END", lambda: says([MALLOC[0], " free$"], *TRACE)),
    ("a function of the kernel, from this program's call", lambda: says([r"^ +\d+ .* pt_set$", "load from PT"], *TRACE, "--fn", "pt_set")),
    ("one that isn't there", lambda: [] if run(*TRACE, "--fn", "nosuch")[0] == 1 else ["no failure"]),
]

print(f"1..{len(CHECKS)}")
for number, (sentence, check) in enumerate(CHECKS, 1):
    try:
        bad = check()
    except (vm.Ended, vm.Timeout, subprocess.TimeoutExpired) as e:
        bad = [str(e)]
    print(f"{'not ok' if bad else 'ok'} {number} - {sentence}")
    print("".join(f"# {line}\n" for line in bad), end="", flush=True)
