#!/usr/bin/env python3
"""make run CMD=...: the line is typed into the shell, and the exit status says how it went."""
import glob, os, subprocess

OTHERS = ("freehold", "freehold64", "pass1", "root")
MODULES = ["build/root.elf"] + sorted(f for f in glob.glob("build/*.elf") if not f.endswith(".debug.elf") and
                                      os.path.basename(f)[:-4] not in OTHERS)
CASES = [  # (line, status, what must be in the output)
    ("halt", 0, ""),
    ("halt 0", 0, ""),
    ("halt 3", 3, "the machine halted with code 3"),
    ("halt 63", 63, ""),
    ("help; halt", 0, "this page"),
    ("demo heap; halt", 0, "demo: 1 shown, 0 checks failed"),
    ("nonsense; halt", None, "no such command"),
    ("nonsense; halt 0", 0, "no such command"),
    ("demo nosuch; halt", None, ""),
    ("halt 64; halt 7", 7, "a number from 0 to 63"),
    ("help", 105, "ended without halt"),
]

print(f"1..{len(CASES)}")
for number, (line, wanted, text) in enumerate(CASES, 1):
    os.makedirs("build/test-logs", exist_ok=True)
    run = subprocess.run(["tools/run.py", "--modules", ",".join(MODULES), "--cmd", line, "--timeout", "60"],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = run.stdout.decode(errors="replace")
    good = run.returncode == wanted if wanted is not None else 0 < run.returncode < 64
    good = good and text in output
    print(f"{'ok' if good else 'not ok'} {number} - CMD='{line}' ends with {'a status of failure' if wanted is None else wanted}")
    if not good:
        print(f"# status {run.returncode}")
        print("".join(f"# | {l}\n" for l in output.split("\n")[-20:]), end="", flush=True)
