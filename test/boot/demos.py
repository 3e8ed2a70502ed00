#!/usr/bin/env python3
"""make run CMD='demo all; halt' on 1 and 4 CPUs, release and debug: all demos there are, and not one of their checks fails."""
import glob, os, re, subprocess

OTHERS = ("freehold", "freehold64", "pass1", "root")
MACHINES = [("build", "1"), ("build", "4"), ("build/debug", "4")]
with open("user/demo/main.c") as f:
    DEMOS = len(re.findall(r'^    \{"\w+", demo_\w+, "', f.read(), re.M))


def modules(build):
    programs = [f for f in sorted(glob.glob(f"{build}/*.elf")) if not f.endswith(".debug.elf")]
    return ",".join([f"{build}/root.elf"] + [f for f in programs if os.path.basename(f)[:-4] not in OTHERS])


print(f"1..{len(MACHINES)}")
for number, (build, cpus) in enumerate(MACHINES, 1):
    run = subprocess.run(["tools/run.py", "--kernel", f"{build}/freehold.elf", "--modules", modules(build), "--cpus", cpus,
                          "--cmd", "demo all; halt", "--timeout", "120"],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = run.stdout.decode(errors="replace").replace("\r", "")
    last = re.search(r"^demo: (\d+) shown, (\d+) checks failed$", output, re.M)
    shown = len(set(re.findall(r"^demo (\w+): ", output, re.M)))
    good = run.returncode == 0 and last and last.groups() == (str(DEMOS), "0") and shown == DEMOS
    good = good and not re.search(r"^  FAILED ", output, re.M)
    print(f"{'ok' if good else 'not ok'} {number} - {'debug' if 'debug' in build else 'release'}, {cpus} CPU{'s' if cpus != '1' else ''}: "
          f"all {DEMOS} demos, no check fails, code 0")
    if not good:
        print(f"# status {run.returncode}")
        print("".join(f"# | {l}\n" for l in output.split("\n")[-40:]), end="", flush=True)
