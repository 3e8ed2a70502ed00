#!/usr/bin/env python3
"""Runs fuzz targets, which make has built.

    test/fuzz/run.py TARGET             TAP, for make test: the kept inputs, a short run, a mistake that must be found
    test/fuzz/run.py --mistakes [TARGET...]    every line of test/fuzz/mistakes
    test/fuzz/run.py --seconds T [TARGET...]   T seconds each, as many at once as there are CPUs; then a table
"""
import argparse, concurrent.futures, ctypes, glob, os, re, shlex, shutil, subprocess, sys

# What make test does with each: runs from a fixed seed, so many that they take about 2 seconds; and the longest input.
TARGETS = {"table": (1000, 720), "multiboot": (100000, 3000), "acpi": (5000, 2000), "elf": (60000, 1500),
           "shell": (50000, 1500), "options": (150000, 700)}
SEED, PATIENCE = 1, 300  # seconds for one input, on the slowest machine
BUILD, KEPT = "build/fuzz", "test/fuzz/corpus"
os.environ["ASAN_OPTIONS"] = "quarantine_size_mb=16:" + os.environ.get("ASAN_OPTIONS", "")


def kept(target):
    folder = f"{KEPT}/{target}"
    return sorted(f"{folder}/{name}" for name in os.listdir(folder))


def fuzzer(program, target, new, prefix, *options):
    """From the kept inputs and those in folder `new`, where libFuzzer puts what it finds worth keeping."""
    os.makedirs(os.path.dirname(prefix), exist_ok=True)
    os.makedirs(new, exist_ok=True)
    command = [program, f"-max_len={TARGETS[target][1]}", f"-artifact_prefix={prefix}", f"-timeout={PATIENCE}",
               "-print_final_stats=1", "-len_control=20", *options, new, f"{KEPT}/{target}"]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          preexec_fn=same_addresses)


def same_addresses():
    """libFuzzer learns from numbers that the code compares, addresses among them. Where it's not allowed: never mind."""
    ctypes.CDLL(None).personality(0x0040000)  # ADDR_NO_RANDOMIZE


def short_run(program, target, folder, times):
    """The same each time: it begins with nothing but what is kept."""
    shutil.rmtree(f"{folder}/corpus", ignore_errors=True)
    return Outcome(fuzzer(program, target, f"{folder}/corpus", f"{folder}/", f"-seed={SEED}", "-reload=0",
                          f"-runs={times * TARGETS[target][0]}"))


class Outcome:
    """What libFuzzer said."""

    def __init__(self, run):
        number = lambda pattern: int((re.findall(pattern, run.stdout) or ["0"])[-1])
        self.text = run.stdout
        self.found = run.returncode != 0
        self.runs = number(r"number_of_executed_units: +(\d+)") or number(r"(?m)^#(\d+)\t")
        self.edges, self.all = number(r" cov: (\d+)"), number(r"\((\d+) inline 8-bit counters\)")
        self.new = number(r"new_units_added: +(\d+)")
        self.file = (re.findall(r"Test unit written to (\S+)", run.stdout) or [""])[-1]
        said = re.findall(r"FOUND: .*|runtime error: .*|ERROR: AddressSanitizer: [-\w]+|ERROR: libFuzzer: .*", run.stdout)
        self.why = said[0] if said else run.stdout[-500:]


# ---- make fuzz ----

def long_run(target, seconds):
    return Outcome(fuzzer(f"{BUILD}/{target}", target, f"{BUILD}/corpus/{target}", f"{BUILD}/found/{target}-",
                          f"-max_total_time={seconds}"))


def fuzz(targets, seconds):
    print(f"{len(targets)} targets, {seconds} s each, {os.cpu_count()} at a time", flush=True)
    print(f"{'target':10} {'runs':>12} {'per s':>8} {'edges':>6} {'of':>5} {'new inputs':>10}  finding", flush=True)
    findings = []

    def one(target):
        o = long_run(target, seconds)
        print(f"{target:10} {o.runs:12} {o.runs // seconds:8} {o.edges:6} {o.all:5} {o.new:10}  {o.why if o.found else 'none'}",
              flush=True)
        if o.found:
            findings.append((target, o))

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, targets))
    for target, o in findings:
        print(f"\n{target}: {o.why}")
        print(f"  again:           {BUILD}/{target} {o.file}" if o.file else o.text[-3000:])
        print(f"  once it's mended: cp {o.file} {KEPT}/{target}/NAME")
    return len(findings) != 0


# ---- Mistakes made on purpose ----

def mistakes():
    """(target, file, sed expression, what it is) of each line."""
    with open("test/fuzz/mistakes") as file:
        return [tuple(part.strip() for part in line.split("\t") if part) for line in file if line.strip() and line[0] != "#"]


def command(made):
    with open(f"{made}.cmd") as file:
        return shlex.split(file.read())


def including(source):
    for name in sorted(glob.glob("test/fuzz/*.c")):
        with open(name) as file:
            if f'#include "{source}"' in file.read():
                return name


def build_mistake(target, source, sed, number):
    """The target, but with this change in one source: its program, or None: the change does nothing."""
    folder = f"{BUILD}/mistake/{number}"
    copy, program = f"{folder}/{source}", f"{folder}/{target}"
    os.makedirs(os.path.dirname(copy), exist_ok=True)
    changed = subprocess.run(["sed", sed, source], stdout=subprocess.PIPE, check=True).stdout
    with open(source, "rb") as file:
        if file.read() == changed:
            return None
    with open(copy, "wb") as file:
        file.write(changed)
    # A file of the kernel's is compiled by itself; of the kit or the shell, as the part of a target that includes it.
    main = copy if source.startswith("src/kern/") else including(source)
    old, new = f"{BUILD}/obj/{source if main == copy else main}"[:-2] + ".o", f"{folder}/broken.o"
    compile, link = command(old), command(f"{BUILD}/{target}")
    subprocess.run([compile[0], f"-I{folder}", *compile[1:], "-w", "-c", "-o", new, main], check=True)
    link = [new if word == old else program if word == f"{BUILD}/{target}" else word for word in link]
    subprocess.run(link, check=True)
    return program


def found_mistake(target, source, sed, what, number):
    """How it was found, or None."""
    program = build_mistake(target, source, sed, number)
    if not program:
        return None
    o = short_run(program, target, f"{BUILD}/mistake/{number}", 4)
    return f"{o.runs} runs: {o.why}" if o.found else None


# ---- make test ----

def check(number, ok, sentence, text=""):
    print(f"{'ok' if ok else 'not ok'} {number} - {sentence}", flush=True)
    for line in text.splitlines():
        print("#", line)


def test(target):
    print("1..3", flush=True)
    replay = subprocess.run([f"{BUILD}/replay-{target}", *kept(target)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, errors="replace")
    check(1, replay.returncode == 0, f"{target}: its {len(kept(target))} kept inputs, built with gcc, pass",
          replay.stdout[-3000:] if replay.returncode else "")
    runs = TARGETS[target][0]
    o = short_run(f"{BUILD}/{target}", target, f"{BUILD}/short/{target}", 1)
    check(2, not o.found, f"{target}: {runs} runs from a fixed seed find nothing", o.text[-3000:] if o.found else
          f"{o.edges} edges of {o.all}")
    number, (_, source, sed, what) = next((i, m) for i, m in enumerate(mistakes()) if m[0] == target)
    how = found_mistake(target, source, sed, what, number)
    check(3, how, f"{target}: a mistake in {source} is found: {what}", how or "it was not, or the source has changed")
    return 0


def all_mistakes(targets):
    missed = 0
    for number, (target, source, sed, what) in enumerate(mistakes()):
        if target in targets:
            how = found_mistake(target, source, sed, what, number)
            missed += not how
            print(f"{'found' if how else 'MISSED':7} {source}: {what} ({how})", flush=True)
    return missed != 0


parser = argparse.ArgumentParser()
parser.add_argument("--seconds", type=int)
parser.add_argument("--mistakes", action="store_true")
parser.add_argument("target", nargs="*", help=", ".join(TARGETS))
a = parser.parse_args()
for name in a.target:
    if name not in TARGETS:
        parser.error(f"no target {name}: there are {', '.join(TARGETS)}")
if a.seconds:
    sys.exit(fuzz(a.target or list(TARGETS), a.seconds))
sys.exit(all_mistakes(a.target or list(TARGETS)) if a.mistakes else test(a.target[0]))
