#!/usr/bin/env python3
"""Grade allocators: run build/grade/NAME.elf in the machine (test/grade/grader.c), with 1 CPU and with 4, and say what it is
worth: a table, TAP at its end, and build/grade/NAME.json. How it is scored: docs/allocators.md and test/grade/score.conf."""
import argparse, collections, json, os, re, secrets, shutil, struct, subprocess, sys, tempfile
import traces, vm

MAGIC, NTRACES = 0x3165636172744846, 64
MEM = "256M"
CONF = os.path.join(traces.HERE, "test", "grade", "score.conf")


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
        head += struct.pack("<24sIIQQ", t.name.encode()[:23], t.ids, len(t.ops), size + len(body), t.peak())
        body += t.binary()
    return head.ljust(size, b"\0") + body


Run = collections.namedtuple("Run", "traces exhaustion work wrong ended transcript")


def fields(words):
    return {k: int(v) for k, v in (w.split("=") for w in words)}


def run(build, name, cpus, chosen, options="", timeout=600, log=None):
    """One machine. What the grader said: {trace: fields}, fields, {workload: fields}, {where: sentence}."""
    key = "grade-" + secrets.token_hex(8)
    out = Run({}, {}, {}, {}, [], [])
    with tempfile.TemporaryDirectory() as d:
        modules = []
        for module in ("graded.elf", "none.elf"):
            source = f"{build}/grade/{name if module == 'graded.elf' else 'none'}.elf"
            modules.append(shutil.copy(source, os.path.join(d, module)))
        with open(os.path.join(d, "job"), "wb") as f:
            f.write(job(key, chosen))
        modules = [f"{build}/root.elf", f"{build}/test/grader.elf"] + modules + [f.name]
        with vm.VM(f"{build}/freehold.elf", modules, append=f"test=grader {options}".strip(), mem=MEM, cpus=cpus, icount=True, log=log,
                   extra=["-rtc", "base=2000-01-01"]) as machine:
            status = machine.wait(timeout)
            text = machine.transcript.replace("\r", "")
    for line in text.split("\n"):
        if key not in line:
            continue
        kind, *words = line.split(key, 1)[1].split()
        if kind == "trace":
            out.traces[words[0]] = fields(words[1:])
        elif kind == "work":
            out.work[words[0]] = fields(words[1:])
        elif kind == "exhaustion":
            out.exhaustion.update(fields(words))
        elif kind == "wrong":
            out.wrong[words[0]] = " ".join(words[1:])
        elif kind == "end":
            out.ended.append(True)
    out.transcript.append(text.replace(key, "KEY"))
    if not out.ended:
        out.wrong["grader"] = f"the run ended early: {status.text or 'no word from the grader'}"
    return out


def where(build, name, text):
    """Names the line for `rip 0x...` in a message."""
    rip = re.search(r"rip (0x[0-9a-f]+)", text)
    if not rip:
        return ""
    r = subprocess.run(["addr2line", "-fse", f"{build}/grade/{name}.debug.elf", rip.group(1)], capture_output=True, text=True)
    return " in {}, {}".format(*r.stdout.split("\n")[:2]) if r.returncode == 0 else ""


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("names", nargs="+")
    p.add_argument("--build", default="build")
    p.add_argument("--cpus")
    p.add_argument("--traces", nargs="+")
    a = p.parse_args()
    chosen = [traces.read(t) for t in a.traces] if a.traces else traces.standard()
    for name in a.names:
        r = run(a.build, name, a.cpus or "1", chosen, log=f"{a.build}/grade/{name}.log")
        print(name, json.dumps([r.traces, r.exhaustion, r.work, r.wrong, r.ended], indent=1))


if __name__ == "__main__":
    main()
