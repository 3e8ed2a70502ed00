#!/usr/bin/env python3
"""test/lab/check.py N: are the tests of assignment N (docs/lab) good tests? The solution must earn all points, the untouched
template nearly none, and each mistake of test/lab/N/mistakes.py, made in the solution, must fail just the tests named there."""
import os, re, runpy, shutil, sys

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
sys.path.insert(0, "tools")
import lab

N = int(sys.argv[1])
HERE, WORK = f"test/lab/{N}", f"build/lab/{N}"
PATIENCE = 30  # seconds: the host may be loaded
FEW = 10  # points that the template may earn: a function that does nothing is right now and then
# (name, [(text in the solution, what stands there instead)], the tests that must fail[, numbers of CPUs])
THERE = runpy.run_path(f"{HERE}/mistakes.py")
MISTAKES = THERE["MISTAKES"]
CHANCE = THERE.get("CHANCE", {})  # name: tests that such a mistake fails now and then

count = 0


def ok(good, sentence, lines=()):
    global count
    count += 1
    print(f"{'ok' if good else 'not ok'} {count} - {sentence}")
    if not good:
        print("".join(f"# | {line}\n" for line in list(lines)[-60:]), end="")
    sys.stdout.flush()


def folder(name, changes=(), template=False):
    """build/lab/N/name: the template, or the solution with these changes."""
    path = f"{WORK}/{name}"
    os.makedirs(path)
    if template:
        return shutil.copytree(f"tools/template/lab{N}", path, dirs_exist_ok=True)
    text = open(f"{HERE}/solution.c").read()
    for old, new in changes:
        if text.count(old) != 1:
            sys.exit(f"Bail out! {name}: {old!r} is {text.count(old)} times in the solution")
        text = text.replace(old, new)
    with open(f"{path}/solution.c", "w") as file:
        file.write(text)
    return path


def judge(name, cpus):
    """The tests' numbers that failed, the points, all lines."""
    lines, status = lab.run(N, f"{WORK}/{name}", cpus, patience=PATIENCE)
    failed = {int(m[1]) for m in (re.match(r"not ok (\d+)", line) for line in lines) if m}
    passed = sum(line.startswith("ok ") for line in lines)
    points = re.search(r"^# points: (\d+) of (\d+)$", "\n".join(lines), re.M)
    plan = re.search(r"^1\.\.(\d+)$", "\n".join(lines), re.M)
    if not points or not plan or int(plan[1]) != passed + len(failed) or status.code > 1:
        return None, None, None, lines + [status.text]
    # What was wrong is said: a failed test is followed by a comment.
    said = all(lines[i + 1].startswith("#   ") for i, line in enumerate(lines) if line.startswith("not ok"))
    return failed, int(points[1]), int(points[2]), lines + ([] if said else ["a failure without a word"])


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    folders = [folder("solution"), folder("template", template=True)]
    folders += [folder(name, changes) for name, changes, *_ in MISTAKES]
    if not lab.build(N, folders):
        sys.exit("Bail out! it doesn't build")
    machines = lab.CPUS.get(N, ("1",))
    for cpus in machines:
        failed, points, possible, lines = judge("solution", cpus)
        ok(failed == set() and points == possible == 100, f"lab {N}, {cpus} CPU(s): the solution earns all of 100 points", lines)
    failed, points, _, lines = judge("template", machines[-1])
    ok(points is not None and points <= FEW, f"lab {N}: the template builds, and earns {points} points", lines)
    for name, _, wanted, *where in MISTAKES:
        for cpus in where or machines[-1:]:
            for _ in range(3 if name in CHANCE else 1):
                failed, points, _, lines = judge(name, cpus)
                caught = failed is not None and failed - CHANCE.get(name, set()) == wanted and "a failure without a word" not in lines
                if caught:
                    break
            ok(caught,
               f"lab {N}, {cpus} CPU(s): a solution with the mistake \"{name.replace('-', ' ')}\" fails tests {sorted(wanted)}",
               lines + [f"failed: {failed}"])
    print(f"1..{count}")


main()
