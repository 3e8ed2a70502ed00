#!/usr/bin/env python3
"""`demo layouts` on one CPU and on four: each layout's areas are shown where docs/layouts.md draws them; on four the programs
that run at once have more than one CPU. `run layout linux seed=N`: one seed, one set of places."""
import glob, os, re, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../tools"))
import vm

PROGRAMS = sorted(f for f in glob.glob("build/layout/*.elf") if not f.endswith(".debug.elf"))
NAMES = [os.path.basename(f)[:-4] for f in PROGRAMS]
# Nobody has mapped anything there when the maps are printed, or others than this program have.
EMPTY = {"[mmap]", "[heap]", "[program]", "[kernel]", "[message]"}
KIT = {"[info]", "[kit]", "[table]", "[window]"}
PROMPT = r"fh> $"
WAIT = 100
count = 0


def check(sentence, bad):
    global count
    count += 1
    print(f"{'not ok' if bad else 'ok'} {count} - {sentence}")
    print("".join(f"# {line}\n" for line in bad[:20]), end="", flush=True)


def pictures():
    """{layout: {area: (lowest, highest address that it may have)}}. Areas without an edge of their own share those around them."""
    found = {}
    for section in re.split(r"\n## ", open("docs/layouts.md").read()):
        boxes, waiting, top = {}, [], None
        for line in section.split("\n"):
            if edge := re.match(r" {4}([0-9a-f]{8})_([0-9a-f]{8}) \+-", line):
                address = int(edge[1] + edge[2], 16)
                boxes |= {name: (address, top) for name in waiting}
                waiting, top = [], address
            elif box := re.match(r" {22}\| (\[\w+\])", line):
                waiting.append(box[1])
        found[section.split("\n")[0]] = boxes
    return found


def regions(text):
    return [(int(lo, 16), int(hi, 16), name) for lo, hi, name in
            re.findall(r"^([0-9a-f]+)-([0-9a-f]+) \S+ .* (\[\w+\])$", text, re.M)]


def misplaced(name, text, boxes):
    """What is wrong with the maps in what one program said. A static-pie's image and heap are where its loader likes."""
    shown = regions(text)
    bad = [f"{name}: {area} is not shown" for area in boxes.keys() - EMPTY - {s[2] for s in shown}]
    bad += [f"{name}: {area} is in no picture" for _, _, area in shown if area not in boxes.keys() | KIT]
    pie = {"[text]", "[rodata]", "[data]", "[bss]", "[heap]"} if name.endswith("_pie") else set()
    for lo, hi, area in shown:
        if area in boxes and area not in pie and not boxes[area][0] <= lo < hi <= boxes[area][1]:
            bad.append(f"{name}: {area} from {lo:#x} to {hi:#x} is not where it is drawn, {boxes[area][0]:#x} to {boxes[area][1]:#x}")
    return bad


def says(machine, line):
    """What the shell and its programs answer."""
    machine.send(line + "\n")
    return machine.expect(rf"(?s){re.escape(line)}\r\n(.*?){PROMPT}", WAIT)[1].replace("\r", "")


def one_by_one(text, cpus):
    """The first part of `demo layouts`."""
    drawn, said = pictures(), re.split(r"^layout ", text, flags=re.M)[1:]
    bad = [] if len(said) == len(NAMES) else [f"{len(said)} programs have said something"]
    for name, part in zip(NAMES, said):
        layout = part.split(":")[0]
        bad += [] if layout == name.removesuffix("_pie") else [f"{name} says that it is {layout}"]
        bad += [line for line in part.split("\n") if "FAILED" in line]
        bad += misplaced(name, part, drawn.get(layout, {})) or ([] if layout in drawn else [f"{layout}: no picture"])
    check(f"demo layouts, CPUS={cpus}: {len(NAMES)} programs, each in the areas that docs/layouts.md draws", bad)


def at_once(text, cpus):
    """The second part."""
    done = dict(re.findall(r"^  (\w+) +done, on cpu (\d+)$", text, re.M))
    bad = [f"{name} isn't done" for name in NAMES if name not in done]
    bad += [f"{n} at once" for n in re.findall(rf"^all {len(NAMES)}, (\d+) at once, on {cpus} CPU", text, re.M) if int(n) < 2]
    if f"all {len(NAMES)}, " not in text or "FAILED" in text:
        bad += text.split("\n")
    used = set(done.values())
    if cpus == "1":
        check("all are done at once, too", bad + ([] if used == {"0"} else [f"on {used}"]))
    else:
        check(f"all are done at once, too, on more than one CPU of {cpus}", bad + ([] if len(used) > 1 else [f"on {used}"]))


def places(machine, seed, program="linux"):
    """All that depends on the seed: addresses on the stack, of the sections, of the regions, and the random bytes."""
    text = says(machine, f"run layout {program} seed={seed}")
    if f"seed={seed:#x}" not in text or "FAILED" in text or not regions(text):
        raise vm.Ended(f"seed={seed}: {text}")
    return [line for line in text.split("\n") if re.search(r" at 0x|auxv|random bytes|^[0-9a-f]+-[0-9a-f]+ ", line)]


def seeds(machine):
    for program in ("linux", "linux_pie"):
        first, again, other = (places(machine, seed, program) for seed in (7, 7, 8))
        check(f"run layout {program} seed=7 twice: the same addresses", [f"{a} / {b}" for a, b in zip(first, again) if a != b] or
              ([] if len(first) == len(again) else ["more lines"]))
        random = {"[heap]", "[mmap]", "[stack]"} | ({"[text]"} if program == "linux_pie" else set())
        start = [{area: lo for lo, _, area in regions("\n".join(p))} for p in (first, other)]
        check(f"seed=8: others, of {', '.join(sorted(random))}", [f"{a} is at {start[0][a]:#x} with both" for a in sorted(random) if start[0][a] == start[1][a]])


def main():
    print("1..10")
    for cpus in ("1", "4"):
        with vm.VM("build/freehold.elf", ["build/root.elf", "build/sh.elf"] + PROGRAMS, cpus=cpus, log=f"build/test-logs/layouts.{cpus}.console") as machine:
            try:
                machine.expect(PROMPT, WAIT)
                text = says(machine, "demo layouts")
                first, _, second = text.partition("\nall ")
                one_by_one(first, cpus)
                at_once("all " + second, cpus)
                if cpus == "1":
                    seeds(machine)
                machine.send("halt\n")
                status = machine.wait(WAIT)
                check(f"CPUS={cpus}: the machine halts", status.code and [status.text] or [])
            except (vm.Ended, vm.Timeout) as e:
                print(f"Bail out! {str(e).splitlines()[0]}", *str(e).splitlines()[1:], *machine.tail(30), sep="\n# ")
                sys.exit(1)


main()
