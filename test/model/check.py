#!/usr/bin/env python3
"""test/model/check.py [--long] [MODEL...]: checks the Promela models of the kernel's protocols with spin, prints TAP.

Each model must hold in every state within its bounds, and must fail, for the reason given here, with each of its
seeded mistakes. Marks like [epoch 3] in src/kern must name a step of a model, and every step must be marked there.
By hand:  spin -a -DNCPU=2 test/model/epoch.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan && spin -t -p -g ...
"""
import glob
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(ROOT, "build", "model")
DEPTH = 1000000  # steps
MEMORY = {"short": 2000, "long": 20000}  # MB
ASSERTION, DEADLOCK = "assertion violated", "invalid end state"

# model: (bounds, what is proved within them), checked to the end
HOLDS = {
    "epoch": [
        ("NCPU=3 TWO EVENTS=1", "3 CPUs, two that wait for each other: no reuse before flush, no deadlock"),
        ("NCPU=3 EVENTS=2", "3 CPUs, one claims: no reuse before flush, no deadlock"),
        ("NCPU=2 TWO EVENTS=3 REMAP", "2 CPUs, F is mapped anew meanwhile: no reuse before flush, no deadlock"),
        ("NCPU=2 EVENTS=3 BUDGET=0", "2 CPUs, no flush may be forced: the claim is refused, nothing stays BUSY"),
        ("NCPU=2 TWO EVENTS=3 NO_SELF_SERVICE", "serving requests while waiting only saves time: no deadlock without"),
    ],
    "root": [
        ("NCPU=3 MOVES=1", "3 CPUs: no loaded root is reused, no CPU is left out of a flush, no deadlock"),
        ("NCPU=2 MOVES=3", "2 CPUs, 3 switches: the same"),
        ("NCPU=2 MOVES=3 TICKS", "ticks come, too: the same"),
        ("NCPU=2 MOVES=3 NO_AWAIT", "the reference of the loaded root suffices without the wait"),
        ("NCPU=2 MOVES=3 NO_REF", "and the wait without the reference"),
    ],
    "link": [
        ("", "2 CPUs of one tenant link and unlink: withdrawn is withdrawn, no deadlock"),
        ("STRANGERS", "withdrawn from one tenant, granted to another: never both"),
    ],
    "env": [
        ("", "two bury it, one walks through it, one looks it up: nobody meets what comes after it"),
    ],
    "lock": [
        ("CALLS=2", "3 CPUs, 2 calls each: mutual exclusion, type and owner stay, no deadlock"),
    ],
    "wake": [
        ("", "rings, preemption, a gift: no lost wake-up"),
        ("MOVE RINGS=1 GIFTS=0", "T moves to another CPU's vector meanwhile: no lost wake-up"),
        ("LOSE RINGS=1 GIFTS=0", "T is in both vectors, and taken out of its home's: no lost wake-up"),
    ],
}
HOLDS_LONG = {
    "epoch": [
        ("NCPU=3 TWO EVENTS=2", "3 CPUs, two that wait for each other: no reuse before flush, no deadlock"),
        ("NCPU=3 TWO REMAP EVENTS=2", "the same, F is mapped anew meanwhile"),
        ("NCPU=3 EVENTS=5", "3 CPUs, one claims, 5 ticks"),
        ("NCPU=2 TWO REMAP BUDGET=2 EVENTS=5", "2 CPUs, 5 ticks"),
    ],
    "root": [
        ("NCPU=3 MOVES=2", "3 CPUs, 2 switches"),
        ("NCPU=2 MOVES=6", "2 CPUs, 6 switches"),
    ],
    "link": [
        ("LINKS=3 ROUNDS=3", "3 times each, 3 grants"),
        ("LINKS=4 ROUNDS=3 STRANGERS", "4 times each, 3 grants"),
    ],
    "env": [
        ("TICKS=2", "2 ticks"),
    ],
    "lock": [
        ("CALLS=3", "3 CPUs, 3 calls each"),
        ("NCPU=2 CALLS=6", "2 CPUs, 6 calls each"),
    ],
    "wake": [
        ("MOVE", "all at once: no lost wake-up"),
        ("RINGS=4 GIFTS=3 PREEMPTIONS=3", "more of each"),
    ],
}
# model: (the mistake's flag, bounds that show it, how it fails, the mistake in words)
MISTAKES = {
    "epoch": [
        ("STAMP_EARLY", "EVENTS=3", ASSERTION, "the stamp is the clock from before the entry is gone"),
        ("STAMP_NO_MAX", "EVENTS=3", ASSERTION, "an older stamp overwrites a newer one"),
        ("REF_EARLY", "EVENTS=3", ASSERTION, "the reference is dropped before the stamp"),
        ("GE", "", ASSERTION, "an epoch equal to the stamp counts as past it"),
        ("CLOCK_AFTER", "EVENTS=3", ASSERTION, "the clock is read after CR3 is loaded"),
        ("PUBLISH_EARLY", "", ASSERTION, "the epoch is published before CR3 is loaded"),
        ("PLAIN_PTE", "EVENTS=3", ASSERTION, "the entry is cleared by a plain store"),
        ("INF_EARLY", "EVENTS=3", ASSERTION, "an idle CPU publishes INF before it is off the user root"),
        ("LEAVE_PLAIN", "EVENTS=3", DEADLOCK, "a CPU leaves idle by a plain store: the waiter sends it no IPI"),
        ("LEAVE_LATE", "NCPU=3 EVENTS=2", ASSERTION, "a CPU leaves idle only after it has loaded the root"),
        ("REQUEST_LATE", "NCPU=3 TWO", DEADLOCK, "the request is cleared after the flush: one made between is lost"),
        ("NO_OWN_FLUSH", "", DEADLOCK, "who waits doesn't flush itself"),
        ("NO_ADVANCE", "", DEADLOCK, "the clock isn't advanced before the flush"),
        ("NO_BUSY", "REMAP EVENTS=3", ASSERTION, "references are counted, then the wait, then the claim"),
        ("STAY_BUSY", "BUDGET=0", ASSERTION, "a refused claim leaves the frame BUSY"),
        ("COUNT_LATE", "NCPU=3", ASSERTION, "a CPU coming up is counted only when it runs"),
        ("BORN_RUNNING", "NCPU=3", DEADLOCK, "a CPU that is off has an epoch to wait for"),
    ],
    "root": [
        ("NO_REF", "NO_AWAIT", ASSERTION, "no reference for the root in CR3 (nor the wait, which would do)"),
        ("UNREF_EARLY", "NO_AWAIT", ASSERTION, "the old root's reference is dropped before the new one is loaded"),
        ("NOTE_LATE", "", ASSERTION, "a CPU says which root it has after loading it: a flush leaves it out"),
        ("NOTE_PLAIN", "", DEADLOCK, "it says so by a plain store: a flush sends no IPI, and waits for a CPU that runs on"),
        ("NOTE_AFTER_CLOCK", "", DEADLOCK, "it says so after reading the clock: the same"),
    ],
    "link": [
        ("TENANT_LAST", "", ASSERTION, "the tenant is cleared last"),
        ("NO_RECHECK", "", ASSERTION, "the tenant isn't looked at again after the link is made"),
        ("RECHECK_LATE", "", ASSERTION, "it is looked at again after the entry is written"),
        ("LINK_NO_CAS", "STRANGERS", ASSERTION, "the link is stored, not compared and swapped"),
        ("LINK_BEFORE_STAMP", "", ASSERTION, "the link is cleared before the stamp: who reads 0 waits for too little"),
        ("NO_REVALIDATE", "", ASSERTION, "link and entry aren't looked at again under the parent's lock"),
        ("NO_OWNER_CHECK", "", ASSERTION, "whose table it is by now isn't looked at: a stranger's window is unlinked"),
        ("NO_WAIT_UNLINKED", "", ASSERTION, "withdrawing what the tenant has unlinked doesn't wait"),
        ("GRANT_HOT", "STRANGERS", ASSERTION, "a table that isn't quiet is granted again"),
        ("GRANT_LINKED", "STRANGERS", ASSERTION, "a table that a former tenant still links is granted again"),
    ],
    "env": [
        ("DIE_UNCLAIMED", "", ASSERTION, "an env dies before it is claimed: another CPU buries it first"),
        ("STAMP_BEFORE_DEAD", "", ASSERTION, "the stamp is taken before the env is dead"),
        ("NO_DEAD_STAMP", "", ASSERTION, "the dead env isn't stamped"),
        ("RETURN_EARLY", "", ASSERTION, "the owner's count drops before the frame is FREE"),
        ("WALK_ACROSS_LOAD", "", ASSERTION, "a walk goes on after its CPU has loaded its root"),
        ("DEAD_PASSES", "", ASSERTION, "a look-up doesn't ask whether the env is dead"),
        ("SERIAL_FIRST", "", ASSERTION, "a look-up compares the serial before it looks at the account"),
    ],
    "lock": [
        ("NO_TYPE_CHECK", "", ASSERTION, "the lock is taken whatever the table is by now"),
        ("PASS_FIRST", "", ASSERTION, "the ticket is passed on before the bit is cleared"),
        ("CLAIM_LOCKED", "", ASSERTION, "a locked table is claimed"),
        ("KEEP_TICKET", "", DEADLOCK, "who is refused keeps the ticket"),
        ("AWAIT_LOCKED", "", DEADLOCK, "a lock is held while waiting for flushes"),
        ("SPIN_ON_BUSY", "", DEADLOCK, "a lock is held while waiting for a BUSY frame"),
        ("TWO_LOCKS", "", DEADLOCK, "two tables are locked at once"),
    ],
    "wake": [
        ("FLAG_LATE", "", ASSERTION, "the idle flag is set after the walk"),
        ("NO_LOCK", "", ASSERTION, "no LOCK between the sleeper's state and its look at the bells"),
        ("WAKE_FIRST", "", ASSERTION, "the waker looks at the idle flag before the thread is READY"),
        ("NO_LEAVE_WAKE", "", ASSERTION, "who gives up a thread away from its home doesn't tell the home"),
        ("SLICE_EARLY", "LOSE RINGS=1 GIFTS=0", ASSERTION, "who gives a thread up looks for it in its own slices before its state is visible"),
        ("NO_SEARCH", "LOSE RINGS=1 GIFTS=0", ASSERTION, "home has lost the thread, and nobody looks for another that has it"),
        ("NO_REMOVE_WAKE", "LOSE RINGS=1 GIFTS=0", ASSERTION, "who takes a thread out of a CPU's slices doesn't look whether it is ready"),
        ("KNOWN_LATE", "LOSE RINGS=1 GIFTS=0", ASSERTION, "the record says so only after that look"),
    ],
}
MODELS = list(HOLDS)
tests = 0


def report(good, sentence, output=""):
    global tests
    tests += 1
    print(("ok" if good else "not ok"), tests, "-", sentence, flush=True)
    for line in output.splitlines():
        print("#", line)


def command(*words, cwd):
    return subprocess.run(words, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def check(model, flags, memory, only=None):
    """Runs a model to its end or first error (of the kind `only`): what went wrong or '', states, the interleaving."""
    source = os.path.join(HERE, model + ".pml")
    defines = ["-D" + f for f in flags.split()]
    where = os.path.join(BUILD, "-".join([model] + flags.replace("=", "").split()))
    os.makedirs(where, exist_ok=True)
    for old in glob.glob(where + "/*"):
        os.remove(old)
    for step in (["spin", "-a", *defines, source],
                 ["gcc", "-O0" if only else "-O1", "-w", "-DSAFETY", "-DCOLLAPSE", f"-DMEMLIM={memory}", "-o", "pan", "pan.c"]):
        made = command(*step, cwd=where)
        if made.returncode or "error" in made.stdout.lower():
            return " ".join(step[:2]) + " failed", 0, made.stdout
    ignore = {ASSERTION: ["-E"], DEADLOCK: ["-A"], None: []}[only]
    ran = command("./pan", f"-m{DEPTH}", *ignore, cwd=where).stdout
    states = int(float((re.findall(r"([\d.e+]+) states, stored", ran) or ["0"])[0]))
    error = re.search(r"^pan:1: ([^(\n]*[^(\n ])", ran, re.M)
    if error:
        trail = command("spin", "-t", "-k", model + ".pml.trail", "-p", "-g", *defines, source, cwd=where).stdout
        return error[1].strip(" !"), states, interleaving(source, trail)
    for trouble in ("max search depth too small", "out of memory", "memory", "truncated"):
        if re.search("pan: .*" + trouble + "|error: " + trouble, ran):
            return trouble, states, ran
    if not states or "errors: 0" not in ran or "Search not completed" in ran:
        return "pan did not finish", states, ran
    return "", states, ""


def interleaving(source, trail):
    """The end of spin's trail, a step a line: who, where, [step], what, and what has changed."""
    lines, before = [], {}
    with open(source) as f:
        text = f.read().splitlines()
    first_cpu = 1 + sum(line.startswith("active proctype") for line in text) # init is a process, too
    for line in trail.splitlines():
        step = re.match(r"\s*\d+:\s+proc\s+(\d+) \((\S+?):\d+\) \S*?([^/]+\.pml):(\d+) \(state \d+\)\s+\[(.*)\]", line)
        value = re.match(r"\t\t([\w\[\]]+) = (\S+)$", line)
        if step and not re.match(r"[a-z]+ = 0$|else$|\.\(goto\)$", step[5]):
            who = f"CPU {int(step[1]) - first_cpu}" if step[2] == "Cpu" else step[2]
            mark = re.search(r"\[\w+ \d+\]", text[int(step[4]) - 1])
            lines.append(f"{who:9} {step[3]}:{step[4]:4} {mark[0] if mark else '':11} {step[5]}")
        elif value:
            if lines and before.get(value[1], "0") != value[2]:
                lines[-1] += f"   ==> {value[1]} = {value[2]}"
            before[value[1]] = value[2]
        elif "rror" in line or line.startswith("#processes"):
            lines.append(line)
    return "\n".join(lines[-70:])


def marks(paths):
    """{mark: places} of all steps named in these files."""
    found = {}
    for path in paths:
        with open(path) as f:
            for number, line in enumerate(f, 1):
                for mark in re.findall(r"\[((?:%s) \d+)\]" % "|".join(MODELS), line):
                    found.setdefault(mark, []).append(f"{os.path.relpath(path, ROOT)}:{number}")
    return found


def check_marks():
    steps = marks(glob.glob(HERE + "/*.pml"))
    code = marks(sorted(glob.glob(ROOT + "/src/kern/**/*.[ch]", recursive=True)))
    wrong = [f"{code[m][0]}: [{m}] is no step of a model" for m in code if m not in steps]
    wrong += [f"{steps[m][0]}: [{m}] is marked nowhere in src/kern" for m in steps if m not in code]
    report(not wrong, f"{len(steps)} steps of the models are marked in the C code, and no others", "\n".join(wrong))


def main():
    long = "--long" in sys.argv
    chosen = [a for a in sys.argv[1:] if a != "--long"] or MODELS
    holds, memory = (HOLDS_LONG, MEMORY["long"]) if long else (HOLDS, MEMORY["short"])
    for model in chosen:
        for flags, sentence in holds.get(model, []):
            error, states, output = check(model, flags, memory)
            said = f"{model}.pml {flags}: {states:,} states, {sentence}"
            report(not error, said + (f": {error}" if error else ""), output)
        for mistake, flags, expected, sentence in [] if long else MISTAKES[model]:
            error, _, output = check(model, f"{mistake} {flags}".strip(), memory, expected)
            good = error.startswith(expected)
            report(good, f"{model}.pml -D{mistake} fails, as it must ({sentence}): {error or 'it does not fail'}",
                   "" if good else output)
    if not long and chosen == MODELS:
        check_marks()
    print(f"1..{tests}")


main()
