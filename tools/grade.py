#!/usr/bin/env python3
"""Grade allocators: run build/grade/NAME.elf in the machine (test/grade/grader.c), with 1 CPU and with 4, and say what it is
worth: a table, TAP at its end, and build/grade/NAME.json. How it is scored: docs/allocators.md and test/grade/score.conf."""
import argparse, collections, concurrent.futures, json, os, re, secrets, shutil, struct, subprocess, sys, tempfile
import traces, vm

MAGIC, NTRACES, NAME = 0x3165636172744846, 64, 23
MEM = "256M"
CONF = os.path.join(traces.HERE, "test", "grade", "score.conf")


def constants(file, pattern):
    """What test/grade has in C."""
    return re.findall(pattern, open(os.path.join(traces.HERE, "test", "grade", file)).read(), re.M)


WORKS = constants("work.h", r'^    \{"([a-z-]+)", \.slots')
STEPS = int(constants("job.h", r"^#define EXHAUST_STEPS (\d+)")[0])


def settings(path=CONF):
    """name = number"""
    out = {}
    for line in open(path):
        line = line.split("#")[0].strip()
        if line:
            name, value = line.split("=")
            out[name.strip()] = float(value)
    return out


def job(key, chosen):
    """The module: struct job of test/grade/job.h."""
    head, body = struct.pack("<Q24sQ", MAGIC, key.encode(), len(chosen)), b""
    size = len(head) + NTRACES * 48
    for t in chosen:
        head += struct.pack("<24sIIQQ", t.name.encode(), t.ids, len(t.ops), size + len(body), t.peak())
        body += t.binary()
    return head.ljust(size, b"\0") + body


def named(chosen):
    """Each with a name that fits into the header and the grader's lines, and is nobody else's."""
    taken = {"grader", "exhaustion", *WORKS}
    for t in chosen:
        base = re.sub(r"[^A-Za-z0-9_.+-]", "_", t.name) or "trace"
        names = (base[:NAME - len(end)] + end for end in ("", *(f"~{i}" for i in range(2, NTRACES + 2))))
        t.name = next(n for n in names if n not in taken)
        taken.add(t.name)
    return chosen


Run = collections.namedtuple("Run", "traces exhaustion work wrong ended transcript")
MISSING = dict.fromkeys(("ok", "ops", "of", "instructions", "live", "held", "left", "upcalls", "calls", "flushes", "shared"), 0)


def planned(chosen, parts):
    """A run of which nothing has been heard yet: all that is asked for is there, and nothing of it went right."""
    def part(name):
        return name in parts
    return Run({t.name: {**MISSING, "of": len(t.ops), "weight": t.weight, "missing": 1} for t in chosen if part("traces")},
               {"ok": 0, "of": STEPS, "missing": 1} if part("exhaustion") else {},
               {n: {**MISSING, "missing": 1} for n in WORKS if part("threads") or part(n)}, {}, [], [])


def fields(words):
    return {k: int(v) for k, v in (w.split("=") for w in words)}


PARTS = "traces,exhaustion,threads"


def run(build, name, cpus, chosen, parts=PARTS, timeout=600, log=None):
    """One machine, and what became of what was asked for."""
    key = "grade-" + secrets.token_hex(8)
    with tempfile.TemporaryDirectory() as d:
        modules = []
        for module in ("graded.elf", "none.elf"):
            source = f"{build}/grade/{name if module == 'graded.elf' else 'none'}.elf"
            modules.append(shutil.copy(source, os.path.join(d, module)))
        with open(os.path.join(d, "job"), "wb") as f:
            f.write(job(key, chosen))
        modules = [f"{build}/root.elf", f"{build}/test/grader.elf"] + modules + [f.name]
        with vm.VM(f"{build}/freehold.elf", modules, append=f"test=grader parts={parts}", mem=MEM, cpus=cpus, icount=True, log=log,
                   extra=["-rtc", "base=2000-01-01"]) as machine:
            status = machine.wait(timeout)
            text = machine.transcript.replace("\r", "")
    return heard(planned(chosen, parts), text, key, status.text, lambda before, sentence: story(build, name, before, sentence))


def heard(out, text, key, status="", tell=lambda before, sentence: sentence):
    """What the grader said, into a Run: {trace: fields}, fields, {workload: fields}, {where: sentence}. What it hasn't come to is
    left there as missing."""
    at = 0
    for line in text.split("\n"):
        at += len(line) + 1
        if key not in line:
            continue
        kind, *words = line.split(key, 1)[1].split()
        if kind == "trace":
            out.traces[words[0]] = {**fields(words[1:]), "weight": out.traces[words[0]]["weight"]}
        elif kind == "work":
            out.work[words[0]] = fields(words[1:])
        elif kind == "exhaustion":
            out.exhaustion.clear()
            out.exhaustion.update(fields(words))
        elif kind == "wrong":
            out.wrong[words[0]] = tell(text[:at], " ".join(words[1:]))
        elif kind == "end":
            out.ended.append(True)
    out.transcript.append(text.replace(key, "KEY"))
    if not out.ended:
        things = {**out.traces, **({"exhaustion": out.exhaustion} if out.exhaustion else {}), **out.work}
        missing = [n for n, x in things.items() if "missing" in x and n not in out.wrong]
        out.wrong["grader"] = f"the run ended early: {status or 'no word from the grader'}" + (
            f". Not reached, and so worth nothing: {', '.join(missing)}" if missing else "")
    return out


def story(build, name, before, sentence):
    """A fault's address and place in the source, for a sentence that says only that the program ended."""
    report = re.findall(r": ([\w ]+) \(vector \d+, error \S+\) at rip (0x[0-9a-f]+)\n(?:  (.*)\n)?", before)
    if "ended with status" not in sentence or not report:
        return sentence
    what, rip, access = report[-1]
    r = subprocess.run(["addr2line", "-fse", f"{build}/grade/{name}.debug.elf", rip], capture_output=True, text=True)
    place = " in {} ({})".format(*r.stdout.split("\n")[:2]) if r.returncode == 0 and "??" not in r.stdout else ""
    return sentence + f" after a {what}{place}" + (f": {access}" if access.startswith(("read", "write", "exec")) else "")


# ---- What it is worth ----

def space(t):
    return t["live"] / (4096 * t["held"]) if t["ok"] and t["held"] else 0.0


def returned(t):
    return max(0.0, 1 - t["left"] / t["held"]) if t["ok"] and t["held"] else 0.0


def per_op(t):
    return t["instructions"] / t["ops"] if t["ops"] else 0.0


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else 0.0


def spacious(run):
    """The traces that count for space; a .rep file's weight says so."""
    return [t for t in run.traces.values() if t["weight"] in (1, 2)]


def swift(run):
    return [t for t in run.traces.values() if t["weight"] in (1, 3)]


def rights(runs):
    """Of each trace, workload and exhaustion step: did it go right?"""
    right = [x["ok"] for r in runs.values() for x in (*r.traces.values(), *r.work.values())]
    return right + [i < r.exhaustion["ok"] for r in runs.values() if r.exhaustion for i in range(r.exhaustion["of"])]


def score(runs, conf):
    """{part: points} from {cpus: Run}."""
    every = list(runs.values())
    right = rights(runs) + [0 for r in every if "grader" in r.wrong]

    def fast(t):
        return min(1.0, conf["reference"] / max(1.0, per_op(t))) if t["ok"] else 0.0
    speeds = [fast(t) for r in every for t in swift(r)]
    speeds += [fast(w) for r in every for n, w in r.work.items() if n != "stepped"]
    spaces = [(space(t), returned(t)) for r in every for t in spacious(r)]
    return {"correctness": conf["correctness"] * mean(right), "space": conf["space"] * mean(s for s, _ in spaces),
            "returned": conf["returned"] * mean(b for _, b in spaces), "speed": conf["speed"] * mean(speeds)}


# ---- What is printed ----

def columns(rows):
    """Lined up: the first column to the left, the others to the right."""
    width = [max(len(r[i]) for r in rows if i < len(r)) for i in range(max(map(len, rows)))]
    return ["  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(r, width))).rstrip() for r in rows]


def percent(x):
    return f"{100 * x:.0f}%"


def table(runs):
    """Of one allocator: a line for each trace, with each number of CPUs."""
    rows = [[""], ["trace"]]
    for cpus in runs:
        rows[0] += [f"{cpus} CPU{'s' if cpus != 1 else ''}:", "", "", "", "", "", ""]
        rows[1] += ["right", "space", "instr/op", "faults", "calls", "flushes", "kept"]
    for n in next(iter(runs.values())).traces:
        row = [n]
        for r in runs.values():
            t = r.traces[n]
            row += ["NO"] + ["-"] * 6 if "missing" in t else ["yes" if t["ok"] else "NO", percent(space(t)), f"{per_op(t):.0f}", str(t["upcalls"]),
                                            str(t["calls"]), str(t["flushes"]), str(t["left"])]
        rows.append(row)
    rows += [[""], ["threads"] + ["right", "", "instr/op", "shared lines", "", "", "kept"] * len(runs)]
    for n in next(iter(runs.values())).work:
        row = [n]
        for r in runs.values():
            w = r.work[n]
            row += ["NO", "", "-", "-", "", "", "-"] if "missing" in w else ["yes" if w["ok"] else "NO", "", f"{per_op(w):.0f}" if n != "stepped" else "",
                                            str(w["shared"]), "", "", str(w["left"])]
        rows.append(row)
    rows += [[""], ["memory runs out"] + sum((["{ok} of {of}".format(**r.exhaustion) if r.exhaustion else "-"] + [""] * 6
                                              for r in runs.values()), [])]
    return columns(rows)


def messages(runs):
    return [f"{sentence} ({cpus} CPU{'s' if cpus != 1 else ''})" for cpus, r in runs.items() for sentence in r.wrong.values()]


def notes(runs):
    """What isn't wrong, but costs points: the worst case of each."""
    out = []
    good = [(cpus, n, t) for cpus, r in runs.items() for n, t in r.traces.items()
            if t["ok"] and t["held"] and t["weight"] in (1, 2)]
    if good:
        cpus, n, t = min(good, key=lambda g: returned(g[2]))
        if returned(t) < 0.75:
            out.append(f"trace {n}: when every block was freed and trim() called, {t['left']} of {t['held']} frames were still held: "
                       "memory isn't given back, or blocks are lost")
        cpus, n, t = min(good, key=lambda g: space(g[2]))
        if space(t) < 0.2:
            out.append(f"trace {n}: {t['held']} frames ({t['held'] * 4} KiB) were held for at most {t['live'] // 1024} KiB in use: "
                       "what is left of a split block isn't used again, or more is claimed than needed")
    return out


def report(name, runs, points, conf):
    lines = [f"allocator {name}", ""] + table(runs) + [""]
    said = [f"wrong: {m}" for m in messages(runs)] + [f"costly: {m}" for m in notes(runs)]
    lines += said + [""] * bool(said)
    lines += columns([[part, f"{points[part]:.1f}", "of", f"{conf[part]:g}"] for part in points])
    lines += [f"score of {name}: {sum(points.values()):.1f} of {sum(conf[p] for p in points):g}"]
    return lines


def tap(name, runs):
    lines = []
    for cpus, r in runs.items():
        things = [(f"trace {n}", t["ok"], n) for n, t in r.traces.items()] + [(f"workload {n}", w["ok"], n) for n, w in r.work.items()]
        if r.exhaustion:
            things.append(("memory runs out", r.exhaustion["ok"] == r.exhaustion["of"], "exhaustion"))
        things.append(("the grader came to its end", bool(r.ended), "grader"))
        for what, good, key in things:
            lines.append(f"{'ok' if good else 'not ok'} {len(lines) + 1} - {name}, {cpus} CPUs: {what}")
            lines += [f"# {r.wrong.get(key, 'not reached')}"] * (not good)
    return lines + [f"1..{sum(not line.startswith('#') for line in lines)}"]


def summary(graded):
    """Side by side: {name: (runs, points)}."""
    first = next(iter(graded.values()))[0]
    rows = [["allocator", "score", "right", "space", "returned"] + [f"instr/op, {c} CPU{'s' if c != 1 else ''}" for c in first] +
            [f"larson, {c}" for c in first]]
    for name, (runs, points) in graded.items():
        t = [t for r in runs.values() for t in spacious(r)]
        right = rights(runs)
        rows.append([name, f"{sum(points.values()):.0f}", f"{sum(right)}/{len(right)}", percent(mean(map(space, t))),
                     percent(mean(map(returned, t)))] + [f"{mean(per_op(t) for t in swift(r) if t['ops']):.0f}" for r in runs.values()] +
                    [f"{per_op(r.work['larson']):.0f}" if r.work.get("larson", MISSING)["ops"] else "-" for r in runs.values()])
    return columns(rows)


def details(graded, what, title, cpus):
    names = list(graded)
    rows = [[title] + names]
    for n in graded[names[0]][0][cpus].traces:
        rows.append([n] + [what(graded[m][0][cpus].traces[n]) for m in names])
    return columns(rows)


def side_by_side(graded):
    first = list(next(iter(graded.values()))[0])[0]
    out = summary(graded) + [""] + details(graded, lambda t: percent(space(t)) if t["ok"] else "WRONG", "space", first)
    return out + [""] + details(graded, lambda t: f"{per_op(t):.0f}" if t["ok"] else "WRONG", "instr/op", first)


BEGIN, END = "<!-- make docs-allocators -->\n", "<!-- end -->\n"


def into(path, lines):
    """Put the table into the document, where it was."""
    text = open(path).read()
    head, rest = text.split(BEGIN)
    with open(path, "w") as f:
        f.write(head + BEGIN + "\n" + "".join(("    " + line).rstrip() + "\n" for line in lines) + "\n" + END + rest.split(END)[1])


def grade(build, name, cpus, chosen, conf, parts=PARTS):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        runs = dict(zip(cpus, pool.map(lambda c: run(build, name, c, chosen, parts, log=f"{build}/grade/{name}.{c}.log"), cpus)))
    points = score(runs, conf)
    with open(f"{build}/grade/{name}.json", "w") as f:
        json.dump({"name": name, "score": round(sum(points.values()), 2), "points": {k: round(v, 2) for k, v in points.items()},
                   "of": {k: conf[k] for k in points}, "wrong": messages(runs), "costly": notes(runs),
                   "cpus": {str(c): {"traces": r.traces, "threads": r.work, "exhaustion": r.exhaustion} for c, r in runs.items()}},
                  f, indent=1)
    with open(f"{build}/grade/{name}.tap", "w") as f:
        f.write("\n".join(tap(name, runs)) + "\n")
    return runs, points


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("names", nargs="+")
    p.add_argument("--build", default="build")
    p.add_argument("--cpus", default="1,4")
    p.add_argument("--traces", nargs="+", help=".rep files in place of the repository's")
    p.add_argument("--conf", default=CONF)
    p.add_argument("--parts", default=PARTS, help="of the grading; also names of workloads")
    p.add_argument("--docs", help="a document to put the comparison into")
    p.add_argument("--tap", action="store_true", help="print TAP, too")
    a = p.parse_args()
    try:
        if a.traces and len(a.traces) > NTRACES:
            raise traces.Bad(f"{len(a.traces)} traces: {NTRACES} at most can be graded at once")
        chosen = named([traces.read(t) for t in a.traces]) if a.traces else traces.standard()
    except traces.Bad as e:
        sys.exit(f"grade: {e}")
    conf, graded = settings(a.conf), {}
    for name in a.names:
        graded[name] = grade(a.build, name, [int(c) for c in a.cpus.split(",")], chosen, conf, a.parts)
        print("\n".join(report(name, *graded[name], conf)) + "\n", flush=True)
        if a.tap:
            print(open(f"{a.build}/grade/{name}.tap").read())
    if len(graded) > 1:
        side = side_by_side(graded)
        print("\n".join(["Side by side", ""] + side))
        if a.docs:
            into(a.docs, side)
    print(f"Also in {a.build}/grade: " + ", ".join(f"{n}.json, {n}.tap" for n in graded))


if __name__ == "__main__":
    main()
