#!/usr/bin/env python3
"""test/guest/stress.c and fuzz.c choose the same with the same seed, whatever comes of it: on one CPU and on two, where calls
end differently, each worker does the same in each step. Compared is what doesn't depend on what a worker finds: what it does,
and the first choice of how."""
import re, subprocess

SEED = 20261128
WORDS = {"stress": "steps=400", "fuzz": "calls=6000"}
count = 0


def check(good, sentence, text=""):
    global count
    count += 1
    print(f"{'ok' if good else 'not ok'} {count} - {sentence}", flush=True)
    if not good:
        print("".join(f"# | {line}\n" for line in text.splitlines()[-30:]), end="", flush=True)


def run(name, cpus):
    """(choices by worker, how many calls it says came of them, all of the TAP)"""
    ran = subprocess.run(["tools/guest-test.py", name, "--cpus", cpus, "--timeout", "120", "--append", f"seed={SEED} {WORDS[name]}"],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    came = re.search(r"of \d+ (?:steps|calls), (\d+) did something", ran.stdout)
    good = came and not re.search(r"^not ok", ran.stdout, re.M)
    check(good, f"{name} with seed {SEED} on {cpus} CPU{'s' if cpus != '1' else ''} passes", ran.stdout)
    return dict(re.findall(r"^# choices of (?:number|worker) (\d+): (\w+)$", ran.stdout, re.M)), came and came[1]


print("1..8")
for name in WORDS:
    one, did = run(name, "1")
    two, did_too = run(name, "2")
    print(f"# {name}: what came of it: {did} and {did_too} calls did something")
    if name == "stress":  # numbers 0 and 1 are never killed
        common = [n for n in one if n in two]
        same = {"0", "1"} <= set(common) and all(one[n] == two[n] for n in common)
        what = f"{len(common)} workers that took all their steps"
    else:  # a turn that was interrupted too early has 00
        turns = {(n, i): (one[n][i:i + 2], two[n][i:i + 2]) for n in one if n in two for i in range(0, len(one[n]), 2)}
        pairs = [p for p in turns.values() if "00" not in p]
        same = len(pairs) > len(turns) / 2 and len(one) == 8 and all(a == b for a, b in pairs)
        what = f"{len(pairs)} turns of {len(one)} workers"
    check(same, f"{name}: {what} chose the same", f"{one}\n{two}")
    check(len(set(one.values())) == len(one) > 1, f"{name}: each worker chose for itself", f"{one}")
