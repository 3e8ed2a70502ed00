#!/usr/bin/env python3
"""Grading: .rep files are read, a right allocator gets its points, each mistake and each cheat gets a sentence. Arguments: which
of the parts (see main); none: all."""
import concurrent.futures, gzip, os, re, subprocess, sys, tempfile

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path.insert(0, "tools")
import grade, traces

BUILD = "build"
count = 0


def ok(passed, sentence, *more):
    global count
    count += 1
    print(f"{'ok' if passed else 'not ok'} {count} - {sentence}")
    if not passed:
        for line in more:
            print("# " + str(line).replace("\n", "\n# "))
    sys.stdout.flush()


# ---- .rep files ----

BODY = "a 0 512\na 1 128\nr 0 640\nf 1\nf -1\nf 0\n"


def refused(text):
    try:
        traces.parse("x.rep", text)
    except traces.Bad as e:
        return str(e)
    return "nothing"


def files():
    want = [("a", 0, 512), ("a", 1, 128), ("r", 0, 640), ("f", 1, 0), ("f", -1, 0), ("f", 0, 0)]
    for what, header, weight in (("heap size, ids, operations, weight", "20000\n2\n6\n1\n", 1), ("weight, ids, operations, heap size", "2\n2\n6\n20000\n", 2),
                                 ("ids, operations", "2\n6\n", 1), ("operations, ids", "6\n2\n", 1),
                                 ("the older one with weight 0, which counts for nothing", "3000000\n2\n6\n0\n", 0)):
        t = traces.parse("x.rep", header + BODY)
        ok(t.ops == want and t.weight == weight and t.ids == 2, f"a header of {what} is read", t.ops, t.weight)
    ok(traces.parse("x", "2 \r\n6\r\n" + BODY.replace("\n", "\r\n\r\n")).ops == want, "ends of line may be DOS's, lines may be empty")
    ok(traces.parse("x", "1\n1\nr 0 10\n").ops == [("r", 0, 10)], "a realloc of what isn't there is a malloc")
    for what, text, message in (
            ("an unknown operation", "2\n6\n" + BODY.replace("r 0", "x 0"), r"x.rep:5: 'x 0 640' is neither a, r nor f"),
            ("a free of what isn't there", "2\n6\n" + BODY.replace("f 1", "f 7"), r"x.rep:6: block 7 is freed and isn't there"),
            ("a second free", "2\n7\n" + BODY + "f 0\n", r"x.rep:9: block 0 is freed and isn't there"),
            ("a block allocated twice", "2\n6\n" + BODY.replace("a 1", "a 0"), r"x.rep:4: block 0 is allocated a second time"),
            ("a missing size", "2\n6\n" + BODY.replace("a 1 128", "a 1"), r"x.rep:4: a takes an id and a size"),
            ("a size that isn't a number", "2\n6\n" + BODY.replace("128", "12q"), r"x.rep:4: 'a 1 12q': not a number"),
            ("a negative size", "2\n6\n" + BODY.replace("128", "-128"), r"x.rep:4: no such size: -128"),
            ("a negative id", "2\n6\n" + BODY.replace("a 1", "a -1"), r"x.rep:4: no such id: -1"),
            ("a wrong count of operations", "20000\n2\n9\n1\n" + BODY, r"header .* doesn't fit the 6 operations on 2 ids"),
            ("a file cut short", "20000\n2\n6\n1\n" + BODY[:-9], r"header .* doesn't fit"),
            ("a header of three", "20000\n2\n6\n" + BODY, r"a header of 3 integers: it has 2 or 4"),
            ("a header of two sizes", "20000\n2\n6\n20000\n" + BODY, r"neither the first number nor the last is a weight"),
            ("an empty file", "", r"x.rep: no operations"), ("a file of something else", "\x7fELF\x02\x01", r"x.rep:1: .* is neither a, r nor f")):
        ok(re.search(message, refused(text)), f"{what} is named with its line", refused(text))
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "half.rep.gz")
        with open(path, "wb") as f:
            f.write(gzip.compress(b"2\n6\n" + BODY.encode() * 50)[:40])
        try:
            traces.read(path)
            said = ""
        except traces.Bad as e:
            said = str(e)
        ok(said.startswith(path), "a compressed file cut short is refused", said)
    same = [traces.Trace(n, want) for n in ("x" * 23 + "1", "x" * 23 + "2", "my trace", "grader", "", "\u00e9t\u00e9")]
    names = [t.name for t in grade.named(same)]
    ok(names == ["x" * 23, "x" * 21 + "~2", "my_trace", "grader~2", "trace", "_t_"], "traces' names are cut, have no blanks, and are nobody else's", names)
    many = subprocess.run(["tools/grade.py", "tags", "--traces"] + ["x.rep"] * 65, capture_output=True, text=True)
    ok(many.returncode and "65 traces: 64 at most" in many.stderr, "more than 64 traces are refused", many.stderr)
    every = traces.standard()
    again = {t.name: t for t in traces.standard()}
    ok(all(again[t.name].ops == t.ops == traces.parse(t.name, t.text()).ops for t in every) and len(every) >= 14,
       "the repository's traces are the same each time, and are read back as they are written", [t.name for t in every])
    t = traces.record("shell")
    sizes = {n for op, _, n in t.ops if op == "a"}
    ok(1000 < len(t.ops) < 2 * traces.OPERATIONS and len(sizes) > 20 and traces.parse("x", t.text()).ops == t.ops,
       "a shell is recorded here and now", traces.describe(t))


# ---- What the allocators get ----

def mixed(m):
    traces.mixture(m, 600, 1 << 16, lambda: m.random.choice((8, 24, 40, 100, 512, m.random.randrange(1, 3000))))


def resized(m):
    blocks = [m.alloc(100) for _ in range(20)]
    for k in range(8):
        for b in blocks:
            m.realloc(b, m.random.randrange(50, 800 * k + 100))
    m.end()


def many(m):
    for _ in range(4500):
        m.alloc(16)
    m.end()


SMALL = [traces.generated(mixed), traces.generated(resized)]
CONF = grade.settings()
T, E = "traces", "exhaustion"

HANGS = r"didn't return: it had not come back after 50 million instructions: a loop, in a list perhaps"
# mistake of ways.py: which parts show it, what is said of it
WAYS = {
    "off_by_one": (E, r"of 1 bytes asked for, malloc_usable_size says that 0 are usable"),
    "misaligned": (T, r"trace mixed, operation 1: malloc\(\d+\) returned 0x\w+, which is not aligned to 16"),
    "align_ignored": (E, r"aligned_alloc\(\d+, 1\) returned 0x\w+, which is not aligned to \d+"),
    "no_joining": (E, r"a block of half of it \(\d+ bytes\) could not be had: free neighbours are not joined"),
    "joined_anyway": (T, r"returned 0x\w+, which overlaps block \d+ \(0x\w+-0x\w+, \d+ bytes\)"),
    "unsorted": (T, r"the allocator's own check\(\) finds \d+ inconsistencies"),
    "double_insert": (T, r"returned 0x\w+, which overlaps block|" + HANGS),
    "lost_block": (E, r"of \d+ blocks freed when memory had run out, only \d+ could be had again"),
    "rest_lost": (T, r"frames \(\d+ KiB\) were held for at most \d+ KiB in use: what is left of a split block isn't used again"),
    "head_overwritten": (T, r"finds block \d+ \(.*\) overwritten at byte \d+, its last bytes: a footer, or the next block's header, lies in it"),
    "endless": (T, HANGS),
    "race": ("stepped", r"workload stepped, 4 threads, round \d: .*(twice|overwritten|is something not under a lock)"),
    "realloc_no_copy": (T, r"realloc of block \d+ from \d+ to \d+ bytes returned 0x\w+, where byte 0 isn't .*: the payload was not kept"),
    "realloc_frees": (T, r"realloc of block .* returned 0x\w+, where byte \d+ isn't the old block's any more: the payload was not kept"),
    "no_null": (E, r"should return NULL, but the program ended .* after a page fault in no_null_alloc \(no_null.c:\d+\): write at address 0: nothing"),
    "never_returns": (T, r"when every block was freed and trim\(\) called, (\d+) of \1 frames were still held: memory isn't given back"),
}
# cheat: in which parts it has something to cheat with, what is said
CHEATS = {
    "ahead": (T, r"page fault in ahead_alloc .*: read at address 0x\w+: nothing mapped there"),
    "scribble": (T, r"page fault in scribble_alloc .*: write at address 0x\w+: not allowed"),
    "hoard": ("traces,exhaustion,larson", r"trace mixed, at its end: \d{5} frames of a quota of 16384 were held for at most \d+ bytes in use: it is hoarded"),
    "offshore": ("traces,exhaustion,larson", r"trace mixed, at its end: \d{4} frames of a quota of 16384 were held for at most \d+ bytes in use: it is hoarded"),
    "remember": (T, r"malloc\(\d+\) returned NULL, with 0 bytes in use"),
    "forge": (T, r"operation 1: malloc\(\d+\) didn't return"),
    "alias": (T, r"finds block \d+ \(.*\) overwritten"),
    "helper": (T, r"the program has made threads of its own: its time can't be told"),
}


def one(name, parts, cpus=(1,), chosen=SMALL, timeout=300):
    runs = {c: grade.run(BUILD, name, c, chosen, parts, timeout=timeout) for c in cpus}
    return runs, grade.score(runs, CONF)


def said(runs):
    return "\n".join(grade.messages(runs) + grade.notes(runs))


def check_right(pool):
    first, second = pool.submit(one, "way-template", T), pool.submit(one, "way-template", T)
    other = pool.submit(one, "way-template", "exhaustion,stepped,larson")
    four = pool.submit(one, "way-template", "traces,larson,producer-consumer", (4,))
    (runs, points), (again, _), (more, _) = first.result(), second.result(), other.result()
    r, x = runs[1], more[1]
    ok(not r.wrong and r.ended and not x.wrong and x.ended, "the template's allocator has no mistakes", said(runs), said(more))
    ok(len(r.traces) == 2 and set(x.work) == {"stepped", "larson"} and x.exhaustion == {"ok": 6, "of": 6}, "all that was asked for was done",
       r.traces.keys(), x.work.keys(), x.exhaustion)
    ok(points["correctness"] == CONF["correctness"] and points["space"] > 0.3 * CONF["space"] and points["speed"] > 0.3 * CONF["speed"],
       "it gets its points", points)
    ok(r.traces == again[1].traces, "each run says the same, to the instruction", r.traces, again[1].traces)
    ok(all(t["live"] == s.peak() and t["live"] / 4096 <= t["held"] < 4 * t["live"] / 4096 + 16 and t["left"] <= 2 for t, s in
           zip(r.traces.values(), SMALL)), "what it holds at most fits what is in use at most, and all of it but a page table comes back", r.traces)
    ok(all(50 < grade.per_op(t) < 1000 for t in r.traces.values()), "an operation takes some hundred instructions", r.traces)
    runs, points = four.result()
    ok(not runs[4].wrong and runs[4].ended and points["correctness"] == CONF["correctness"], "nor has it any with 4 CPUs", said(runs))
    report = "\n".join(grade.report("model", runs, points, CONF))
    ok("score of model: " in report and "larson" in report, "the report has a score", report)
    tap = grade.tap("model", runs)
    ok(tap[-1] == f"1..{len(tap) - 1}" and all(line.startswith("ok ") for line in tap[:-1]), "the TAP has a plan", tap)


def check_early(pool):
    """A run that ends early has what it didn't come to counted as wrong."""
    good = "live=4096 held=1 left=0 upcalls=0 calls=0 flushes=0"
    first, second = (f"KEY trace {t.name} ok=1 ops={len(t.ops)} of={len(t.ops)} instructions=100 {good}\n" for t in SMALL)
    rest = f"KEY exhaustion ok={grade.STEPS} of={grade.STEPS}\n" + "".join(f"KEY work {w} ok=1 ops=9 instructions=9 shared=0 left=0\n" for w in grade.WORKS)
    whole = first + second + rest + "KEY end\n"
    count = len(SMALL) + grade.STEPS + len(grade.WORKS)

    def score(*texts):
        runs = {c: grade.heard(grade.planned(SMALL, grade.PARTS), text, "KEY", "timeout") for c, text in enumerate(texts, 1)}
        return runs, grade.score(runs, CONF)
    _, points = score(whole)
    ok(points == {p: CONF[p] for p in points} and len(points) == 4, "a run in which all goes right is worth all points", points)
    runs, points = score(first)
    want = {"correctness": CONF["correctness"] / (count + 1), "space": CONF["space"] / 2, "returned": CONF["returned"] / 2,
            "speed": CONF["speed"] / (len(SMALL) + len(grade.WORKS) - 1)}
    ok(all(abs(points[p] - want[p]) < 0.01 for p in want), "one that ends after one trace is scored over all that was to come", points, want)
    ok(re.search(rf"ended early: timeout. Not reached.*: {SMALL[1].name}, exhaustion, larson.*, stepped \(1 CPU\)", said(runs)), "it says what is missing", said(runs))
    tap = grade.tap("x", runs)
    ok(sum(line.startswith("ok ") for line in tap) == 1 and sum(line.startswith("not ok ") for line in tap) == 1 + 1 + len(grade.WORKS) + 1
       and tap[-1] == f"1..{2 + 1 + len(grade.WORKS) + 1}", "the TAP has all of it, too", *tap)
    report = "\n".join(grade.report("x", runs, points, CONF))
    ok(re.search(rf"^{SMALL[1].name} +NO +-", report, re.M) and re.search(r"^larson +NO +-", report, re.M) and f"0 of {grade.STEPS}" in report,
       "and so has the table", report)
    runs, points = score("", whole)
    ok(all(abs(points[p] - CONF[p] / 2) <= CONF[p] / count for p in points) and re.search(rf"^{SMALL[0].name} +NO .*yes", "\n".join(grade.table(runs)), re.M),
       "a machine that never came up costs half of the points of two", points)
    runs, points = one("way-template", grade.PARTS, timeout=2)
    ok("grader" in runs[1].wrong and points["correctness"] < CONF["correctness"] and len(runs[1].work) == len(grade.WORKS) and
       set(runs[1].traces) == {t.name for t in SMALL}, "a machine that is stopped after two seconds is scored so", points, said(runs))


def check_ways(pool):
    jobs = {way: pool.submit(one, "way-" + way, parts) for way, (parts, _) in WAYS.items()}
    perfect = {}
    for parts in {parts for parts, _ in WAYS.values()}:
        perfect[parts] = sum(one("way-template", parts)[1].values())
    for way, job in jobs.items():
        runs, points = job.result()
        parts, message = WAYS[way]
        ok(re.search(message, said(runs)), f"{way}: the message says what is wrong", said(runs))
        ok(sum(points.values()) < perfect[parts] - 0.1, f"{way}: it costs points", points, perfect[parts])


def check_cheats(pool):
    jobs = {cheat: pool.submit(one, cheat, parts) for cheat, (parts, _) in CHEATS.items()}
    for cheat, job in jobs.items():
        runs, points = job.result()
        ok(re.search(CHEATS[cheat][1], said(runs)), f"{cheat}: the message says what became of it", said(runs))
        ok(not any(points.values()), f"{cheat}: it is worth nothing", points)
    runs, _ = one("guard", T, chosen=[traces.generated(many)])
    t = runs[1].traces["many"]
    ok(t["ok"] and t["held"] > 4500, "guard, whose blocks have pages of their own, isn't said to hoard them", said(runs), t)


def check_references(pool):
    jobs = {name: pool.submit(one, name, "traces,exhaustion") for name in ("dlmalloc", "nano") if os.path.exists(f"{BUILD}/grade/{name}.elf")}
    for name in ("dlmalloc", "nano"):
        if name not in jobs:
            ok(True, f"{name} passes # SKIP newlib-source is not installed")
            continue
        runs, points = jobs[name].result()
        ok(not runs[1].wrong and points["correctness"] == CONF["correctness"], f"{name}, a real allocator, passes", said(runs))


SHORT = "coalescing"  # the trace that every row is compared on


def check_table(pool):
    """docs/allocators.md: each allocator is there, its numbers for one short trace are what it has now, and tags' for all."""
    text = open("docs/allocators.md").read()
    tables = text.split(grade.BEGIN)[1].split(grade.END)[0].split("\n\n    ")
    gallery = sorted(os.path.splitext(f)[0] for f in os.listdir("src/libos/alloc") if f.endswith(".c"))
    rows = {line.split()[0] for line in tables[0].split("\n")[1:] if line.strip()} - {"allocator"}
    ok(rows >= set(gallery), "docs/allocators.md has a row for each allocator of the gallery", set(gallery) - rows)
    every = traces.standard()
    chosen = {name: every if name == "tags" else [t for t in every if t.name == SHORT] for name in gallery}
    chosen.update({name: chosen["first"] for name in ("dlmalloc", "nano") if os.path.exists(f"{BUILD}/grade/{name}.elf")})
    jobs = {name: pool.submit(one, name, "traces,exhaustion", (1,), chosen[name]) for name in chosen}
    for name, job in jobs.items():
        runs, points = job.result()
        wrong = []
        for title, what, slack in (("space", lambda t: 100 * grade.space(t), 6), ("instr/op", grade.per_op, 40)):
            lines = next((t for t in tables if t.strip().startswith(title)), "").strip().split("\n")
            names = lines[0].split()
            said_there = {line.split()[0]: float(line.split()[names.index(name)].rstrip("%")) for line in lines[1:] if line.strip() and name in names}
            for n, t in runs[1].traces.items():
                if abs(said_there.get(n, -1e9) - what(t)) > max(slack, what(t) / 10):
                    wrong.append(f"{title} of {n}: {what(t):.0f} now, {said_there.get(n)} there")
        ok(not wrong, f"its numbers for {name} are today's, within a tenth or 40 instructions (else: make docs-allocators)", *wrong)
        if name in gallery:
            ok(points["correctness"] == CONF["correctness"], f"{name} does all that right, also when memory runs out", said(runs))


def main():
    parts = {"files": lambda _: files(), "right": check_right, "early": check_early, "ways": check_ways, "cheats": check_cheats, "references": check_references,
             "table": check_table}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for part in sys.argv[1:] or parts:
            parts[part](pool)
    print(f"1..{count}")


main()
