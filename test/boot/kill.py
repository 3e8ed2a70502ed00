#!/usr/bin/env python3
"""Programs are started and killed from the shell, at any moment of theirs, on one CPU, and on four beside one that
spins: what each had comes back, its children's too."""
import os, random, re, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../tools"))
import vm

BUILD = "build/debug"
MODULES = [f"{BUILD}/{name}.elf" for name in ("root", "sh", "demo", "test/envs")]
DEMOS = ("share", "publish", "pass", "pager", "revoke", "reap", "cow", "cpus")
ROUNDS = 12
WAIT = 30


def says(machine, line, count=iter(range(1, 1000000))):
    """What the shell, and whoever prints meanwhile, answers to a line. An unknown command marks the end: after a prompt others
    may go on printing."""
    end = f"end{next(count)}"
    machine.send(f"{line}; {end}\n")
    return machine.expect(rf"(?s)(.*?){end}: no such command", WAIT)[1]


def books(machine):
    """Frames that are FREE, and those that the shell owns."""
    free = re.search(r"FREE +(\d+)", says(machine, "frames"))
    owned = re.search(r"0x\w+ +0x\w+ +(\d+) +\d+ +sh ", says(machine, "envs"))
    return int(free[1]), int(owned[1])


def rounds(machine, n, dice):
    """Start and kill; returns how many were killed, how many had ended by themselves."""
    killed = ended = 0
    for _ in range(n):
        says(machine, f"demo {dice.choice(DEMOS)} &")
        time.sleep(dice.random() ** 2 * 0.5)
        if re.search(r"ended, \d+ frames given back", says(machine, "kill demo")):
            killed += 1
        else:
            ended += 1
    return killed, ended


def check(number, sentence, bad):
    print(f"{'not ok' if bad else 'ok'} {number} - {sentence}")
    if bad:
        print(f"# {bad}", flush=True)


print("1..6")
seed = int(os.environ.get("SEED", time.time()))
print(f"# SEED={seed}")
for i, cpus in enumerate(("1", "4")):
    dice = random.Random(seed)
    with vm.VM(f"{BUILD}/freehold.elf", MODULES, cpus=cpus, log=f"build/test-logs/kill.{cpus}.console") as machine:
        try:
            machine.expect(r"fh> $", WAIT)
            if cpus != "1":
                says(machine, "run envs spin &")
            rounds(machine, 3, dice)  # records that the shell makes once and keeps
            before = books(machine)
            killed = ended = 0
            for _ in range(5):  # on a machine whose demos are quick, most have ended before they are killed
                if killed < ROUNDS / 3:
                    killed, ended = (a + b for a, b in zip((killed, ended), rounds(machine, ROUNDS, dice)))
            after = books(machine)
            check(3 * i + 1, f"{cpus} CPUs: of {killed + ended} programs started, {killed} were killed, {ended} ended before",
                  killed < ROUNDS / 3 and "too few were killed")
            check(3 * i + 2, f"{before[0]} frames FREE, {before[1]} the shell's, as before", after != before and f"after: {after}")
            machine.send("audit; halt\n" if cpus == "1" else "kill envs; audit; halt\n")
            status = machine.wait(WAIT)
            check(3 * i + 3, "the audit finds nothing, and root gets all of it back", status.code and status.text or
                  "frames lost" in "\n".join(machine.tail(50)) and "frames lost")
        except (vm.Ended, vm.Timeout) as e:
            print(f"Bail out! {e}", *machine.tail(30), sep="\n# ")
            sys.exit(1)
