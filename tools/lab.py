#!/usr/bin/env python3
"""tools/lab.py N: assignment N of docs/lab. Makes user/labN from the template if it isn't there, builds it with the tests of
test/lab/N, runs them in a machine and shows what they say (TAP, and the program's own words). `make lab N=3` is this."""
import argparse, os, re, shutil, subprocess, sys
import vm

CPUS = {5: ("2",), 6: ("1", "4")}  # the machines an assignment is meant for; one CPU where nothing is said
TESTING = re.compile(r"# Lab \d")  # the first line of the tests


def arguments():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("n", type=int, choices=range(1, 7))
    p.add_argument("--cpus", help="number of CPUs")
    p.add_argument("--only", help="run this test alone, without a limit of time")
    p.add_argument("--gdb", metavar="PORT", help="QEMU: wait for gdb there")
    p.add_argument("--debug", action="store_true", help="the debug kernel, which says why it refuses calls")
    return p.parse_args()


def program(n, folder):
    """The name under which GNUmakefile builds a folder of sources."""
    return f"lab{n}" if folder.startswith("user/") else f"lab{n}-{os.path.basename(folder)}"


def build(n, folders, debug=False):
    """Build the programs; a student's mistakes are the compiler's to tell."""
    words = ["make", "--no-print-directory", f"-j{os.cpu_count()}", f"LAB={n}", f"LAB_FOLDERS={' '.join(folders)}"]
    return subprocess.run(words + [f"DEBUG={int(debug)}", "all", "lab-programs"], stdout=sys.stderr,
                          env={k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}).returncode == 0


def run(n, folder, cpus, show=lambda line: None, only=None, gdb=None, debug=False, patience=10):
    """Run the tests: the lines they printed, and the machine's status. patience: seconds in which all that must happen does."""
    place, name, partial, lines = "build/debug" if debug else "build", program(n, folder), "", []

    def feed(data):
        nonlocal partial
        *whole, partial = (partial + data.decode(errors="replace").replace("\r", "")).split("\n")
        for line in whole:
            if (lines or TESTING.match(line)) and not (lines and lines[-1].startswith("# points")):
                lines.append(line)
                show(line)

    append = f"test={name} patience={patience * 1000}" + (f" only={only}" if only else "")
    with vm.VM(f"{place}/freehold.elf", [f"{place}/root.elf", f"{place}/test/{name}.elf"], cpus=cpus, append=append, echo=feed,
               log=f"build/test-logs/{name}.{cpus}.console", gdb=gdb) as machine:
        return lines, machine.wait(None if gdb or only else 50 * patience)


def main():
    a = arguments()
    folder = f"user/lab{a.n}"
    if not os.path.isdir(folder):
        shutil.copytree(f"tools/template/lab{a.n}", folder)
        print(f"{folder}/ is new, made from tools/template/lab{a.n}: {' '.join(sorted(os.listdir(folder)))}. "
              f"What to do there: docs/lab/{a.n}-*.md")
    if not build(a.n, [folder], a.debug):
        sys.exit(2)
    earned = True
    for cpus in (a.cpus,) if a.cpus else CPUS.get(a.n, ("1",)):
        if a.gdb:
            print(f"The machine waits for gdb: run 'make gdb{' DEBUG=1' if a.debug else ''}' in another terminal.", flush=True)
        lines, status = run(a.n, folder, cpus, lambda line: print(line, flush=True), a.only, a.gdb, a.debug)
        if not lines or status.code > 1:
            print(f"# {status.text or 'the machine ended before the tests began'}")
        earned = earned and any(re.match(r"# points: (\d+) of \1$", line) for line in lines)
    sys.exit(not earned)


if __name__ == "__main__":
    main()
