#!/usr/bin/env python3
"""Are the transcripts in docs/debugging.md what one sees? Each command in them is given again, to Bochs or gdb, and each line
must be in the answer, in this order: with the same words and small numbers, and the same large number wherever the page
has the same one. (What is shortened there, by leaving lines out or by `...`, isn't asked for; addresses, frame numbers and
ticks are another build's and another run's.) Prints TAP. --write: puts the numbers of now into the page."""
import argparse, os, re, shutil, socket, subprocess, sys, tempfile, threading
import bochs, vm
from gdbpipe import Gdb

PAGE = "docs/debugging.md"
PROMPT = r"(?:^|\n)\r?fh> $"
WAIT = 100
COMMAND = re.compile(r"( *)(<bochs:\d+>|\(gdb\)) (.*)")
# Numbers; words that could be hexadecimal ones from four digits on.
NUMBER = re.compile(r"(?<![\w.])(?:0x[0-9a-fA-F]+|[0-9a-f]{4,}|\d+)(?![\w])|(?<=_)[0-9a-f]{8}(?![\w])|(?<=\+)(?:0x)?[0-9a-f]+(?=[):> ])")
# Behind these any number is right.
FREE = re.compile(r".*(\+|\.-|\.c:|clock |epoch |stamp )$", re.S)
# The kernel for the triple fault: its own text isn't executable once it loads its page tables.
BROKEN = ("src/kern/memory.c", "image_rodata - image_text, 0);", "image_rodata - image_text, FH_NX);")


class Differs(Exception):
    """A line of the page isn't what the machine says."""


# ---- The page ----

class Section:
    """One situation in one debugger: the numbers of the page's lines that hold its transcript, in order."""

    def __init__(self, title, sim):
        self.title, self.sim, self.lines, self.all = title, sim, [], []  # all: the text around, too


def sections(page):
    found, title = [], ""
    for n, line in enumerate(page):
        if line.startswith("## "):
            title, current = line[3:], None
        elif match := re.fullmatch(r"### In (Bochs|GDB)", line):
            current = Section(title, match[1].lower())
            found.append(current)
        elif title and current:
            current.all.append(n)
            if line.startswith("    ") and line.strip():
                current.lines.append(n)
    return found


def is_large(number):
    """A small number is as it is, a large one stands for itself all over the section."""
    return len(number.removeprefix("0x")) >= 3 and not number.endswith("0000000")  # those are nobody's address


def pattern_of(line):
    """The line as a regular expression, a group for each number that isn't fixed; and (number, free) of those."""
    text, at, pattern, numbers = line.strip(), 0, "", []
    for match in NUMBER.finditer(text):
        free = bool(FREE.match(text[:match.start()]))
        if free or (is_large(match[0]) and not (">:" in text and int(match[0], 16) < 0x1000)):  # a small word in memory
            pattern += words(text[at:match.start()]) + "((?:0x)?[0-9a-fA-F]+)"
            numbers.append((match.span(), free))
            at = match.end()
    return pattern + words(text[at:]), numbers


def words(text):
    """Blanks may be any blanks, `...` anything."""
    return r"\s+".join(".*?".join(map(re.escape, word.split("..."))) for word in re.split(r"\s+", text))


class Match:
    """The answers so far, against the page's lines; `write` fills in their numbers."""

    def __init__(self, page, write):
        self.page, self.write, self.names, self.said, self.at = page, write, {}, "", 0

    def hear(self, said):
        self.said, self.at = re.sub(r"[ \t\r]+", " ", said), 0

    def expect(self, n):
        if self.page[n].strip() == "...":
            return
        pattern, numbers = pattern_of(self.page[n])
        match = re.compile(r"(?<!\w)" + pattern).search(self.said, self.at)
        if not match:
            raise Differs(f"line {n + 1}, {self.page[n].strip()!r}, is not in the answer:\n{self.said[self.at:]}")
        self.at = match.end()
        self.fill(n, numbers, match.groups())

    def fill(self, n, numbers, values):
        line, lead = self.page[n], len(self.page[n]) - len(self.page[n].lstrip())
        for ((low, high), free), value in reversed(list(zip(numbers, values))):
            old = line[lead + low:lead + high]
            if not free and self.names.setdefault(old, value) != value and not self.write:
                raise Differs(f"line {n + 1}: {old} was {self.names[old]} before, now it is {value}")
            if self.write:
                line = line[:lead + low] + value + line[lead + high:]
        self.page[n] = line


def long_numbers(page, section):
    """Those in a section's transcript, as the text around would have them: without 0x, and both halves of a word on the
    stack in one."""
    text = "\n".join(page[n] for n in section.lines)
    return [(a + b).lstrip("0") for a, b in re.findall(r"\b(?:0x)?([0-9a-f]{7,})\b(?::0x([0-9a-f]{8})\])?", text)]


def prose(before, page, section, write):
    """Long numbers in the text around are the transcript's. Stale ones are named, or set right."""
    now = long_numbers(page, section)
    names = dict(zip(long_numbers(before, section), now)) if write else {}
    stale = []
    for n in (n for n in section.all if n not in section.lines):
        page[n] = re.sub(r"0x([0-9a-f]{7,})", lambda m: "0x" + names.get(m[1], m[1]), page[n])
        stale += [f"line {n + 1}: 0x{x} is not in the transcript" for x in re.findall(r"0x([0-9a-f]{7,})", page[n]) if x not in now]
    return stale


# ---- The trace of one malloc ----

COUNTS = re.compile(r" *(\d+) +(\d+) +(\d+) +(\d+)  ( *)(\S.*)$")
TRACE = re.compile(r"(\n    \$ make bochs-trace CMD='demo heap' FN=malloc\n)(.*?\n    every instruction and access: [^\n]*)(?=\n)", re.S)
NEAR = 0.05  # counts may differ by so much of them


def plain(line):
    """A line of the report without what differs between builds: where frames lie. (counts, text)"""
    match = COUNTS.match(line)
    text = re.sub(r"0x[0-9a-f]{4,}", "N", line if not match else match[5] + match[6]).rstrip()
    return [int(n) for n in match.groups()[:4]] if match else [], text


def near(ours, theirs):
    return len(ours) == len(theirs) and all(abs(a - b) <= max(2, NEAR * a) for a, b in zip(ours, theirs))


def trace_problems(report, write=None):
    """Is the report that the page shows this one? Line by line; `...` stands for any number of lines. write: a list, for the
    lines of now."""
    with open(PAGE) as file:
        wanted = [line[4:] for line in TRACE.search(file.read())[2].split("\n")]
    lines, at, skips = report.rstrip("\n").split("\n"), 0, False
    for line in wanted:
        if line.strip() == "...":
            skips = True
            if write is not None:
                write.append(line)
            continue
        counts, text = plain(line)
        while at < len(lines) and skips and plain(lines[at])[1] != text:
            at += 1
        if at == len(lines) or plain(lines[at])[1] != text or not (write is not None or near(counts, plain(lines[at])[0])):
            return [f"{PAGE} shows: {line}", f"it is now:               {lines[at] if at < len(lines) else 'the end'}"]
        if write is not None:
            write.append(lines[at])
        at, skips = at + 1, False
    return [] if at == len(lines) else [f"{PAGE} doesn't show: {lines[at]}"]


def write_trace():
    """Put the report of now into the page, shortened as it was, and the first change of an entry from the listing."""
    report = subprocess.run(["make", "-s", "bochs-trace", "CMD=demo heap", "FN=malloc"], stdout=subprocess.PIPE, text=True, check=True).stdout
    lines = []
    bad = trace_problems(report, lines)
    with open("build/trace.txt") as file:
        listing = file.read().split("\n")
    n = next(n for n, line in enumerate(listing) if "CHANGE of PT1" in line)
    access, note = listing[n].split("   <- ")
    with open(PAGE) as file:
        text = file.read()
    if not bad:
        text = TRACE.sub(lambda m: m[1] + "\n".join(f"    {line}".rstrip() for line in lines), text)
        text = re.sub(r"(?<=\n\n)    \d+ kernel .*\n.*\n +<- CHANGE of PT1 .*", lambda m:
                      f"    {listing[n - 1].strip()}\n          {access.strip()}\n           <- {note}", text)
        with open(PAGE, "w") as file:
            file.write(text)
    return bad


# ---- The machines ----

def build_of(options):
    return "build/debug" if options.get("DEBUG") == "1" else "build"


def broken_kernel(sim):
    """The build directory of the kernel with the mistake."""
    top = f"build/debugdoc/{sim}"
    for name in ("GNUmakefile", "bochsrc", "src", "tools", "user"):
        for root, _, files in [(name, [], [""])] if os.path.isfile(name) else os.walk(name):
            for file in files:
                copy_if_newer(os.path.join(root, file).rstrip("/"), top)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(["make", "-s", "-C", top, "build/freehold.elf"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise Differs(done.stdout)
    return f"{top}/build"


def copy_if_newer(path, top):
    with open(path, "rb") as file:
        text = file.read()
    if path == BROKEN[0]:
        if BROKEN[1].encode() not in text:
            raise Differs(f"{path} has no {BROKEN[1]!r}")
        text = text.replace(BROKEN[1].encode(), BROKEN[2].encode())
    there = os.path.join(top, path)
    try:
        with open(there, "rb") as file:
            if file.read() == text:
                return
    except OSError:
        os.makedirs(os.path.dirname(there), exist_ok=True)
    with open(there, "wb") as file:
        file.write(text)
    shutil.copymode(path, there)


def symbols(build, program, file):
    """As `make bochs` gives them."""
    for path in (f"{build}/freehold64.elf", f"{build}/{program}.debug.elf"):
        if os.path.exists(path):
            lines = subprocess.run(["nm", path], stdout=subprocess.PIPE, text=True, check=True).stdout.split("\n")
            file.write("".join(f"{w[0]} {w[2]}\n" for w in (line.split() for line in lines)
                               if len(w) == 3 and w[1] in "tTdDbBW" and w[2] != "__image_start"))
    for path in ("src/kern/layout.h", "src/libos/plan.h"):
        with open(path) as header:
            file.write("".join(f"{value} {name}\n" for name, value in
                               re.findall(r"^#define ([A-Z]*_BASE|WINDOW_VA) 0x([0-9a-f]*)ul", header.read(), re.M)))
    file.flush()


class InBochs:
    def __init__(self, title, options):
        build = self.build = broken_kernel("bochs") if "triple" in title else build_of(options)
        self.line, self.seen, self.heard = options.get("CMD"), 0, ""
        modules = [] if "triple" in title else [f"{build}/{name}.elf" for name in ("root", "sh", "bugs")]
        self.file = tempfile.NamedTemporaryFile("w", suffix=".sym")
        symbols(build, "bugs", self.file)
        self.machine = bochs.Debugger(f"{build}/freehold.elf", modules or ["build/root.elf"], symbols=self.file.name,
                                      cpus=options.get("CPUS", "2"))
        self.machine.on_console = self.type_line

    def type_line(self):
        if self.line and re.search(PROMPT, self.machine.transcript):
            self.machine.send(self.line + "\n")
            self.line = None

    def ask(self, line):
        """What machine and debugger say; at the end of the machine, how it ended too."""
        try:
            said = self.machine.command(line, WAIT)
        except vm.Ended:
            status = self.machine.wait(10)
            self.machine._said.seek(0)
            said = self.machine._said.read() + self.machine.said + f"\nrun: {status.text}"
        console, self.seen = self.machine.transcript[self.seen:], len(self.machine.transcript)
        self.heard += console + said
        return console + "\n" + said

    def command(self, line):
        """The command as it has to be today, where it has an address in it."""
        if re.match(r"watch w |xp /2wx ", line):  # the record of the frame in rdx
            table = int(re.search(r"records at ([0-9a-f]+)", self.machine.transcript)[1], 16)
            frame = int(re.findall(r"rdx: \w+_(\w+)", self.heard)[0], 16)
            return re.sub(r"0x[0-9a-f]+", hex(table + 32 * frame), line)
        return line

    def close(self):
        self.machine.kill()
        self.file.close()


class InGdb:
    def __init__(self, title, options):
        build = broken_kernel("gdb") if "triple" in title else build_of(options)
        modules = ["build/root.elf"] if "triple" in title else [f"{build}/{name}.elf" for name in ("root", "sh", "bugs")]
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        self.machine, self.line = vm.VM(f"{build}/freehold.elf", modules, cpus=1 if "triple" in title else 2, gdb=port), options.get("CMD")
        self.ended = threading.Event()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()
        self.gdb = Gdb(f"{build}/freehold64.elf")
        self.gdb.connect(f":{port}")

    def read(self):
        while not self.ended.is_set():
            self.machine.pump(0.1)
            if self.line and re.search(PROMPT, self.machine.transcript):
                self.machine.send(self.line + "\n")
                self.line = None

    def ask(self, line):
        return self.gdb.ask(line)

    def command(self, line):
        return line

    def close(self):
        self.gdb.ask("kill")
        self.gdb.close()
        self.ended.set()
        self.reader.join()
        self.machine.kill()


# ---- A section ----

# The page says in words how the machine for gdb is started.
IN_GDB = {"My page faults at an address that I mapped": {"CMD": "bugs lost"},
          "My entry is refused": {"CMD": "bugs refused", "DEBUG": "1"}, "A triple fault in early boot": {},
          "A frame won't free": {"CMD": "bugs busy"}, "Two CPUs disagree": {"CMD": "bugs disagree"}}


def play(page, section, write):
    """Give the commands again; Differs where the answer does."""
    text = "\n".join(page[n] for n in section.lines)
    makes = re.search(r"^ *\$ make bochs(.*)$", text, re.M)
    options = dict((k, v.strip("'")) for k, v in re.findall(r"(\w+)=('[^']*'|\S+)", makes[1] if makes else ""))
    if section.sim == "gdb":
        options = IN_GDB[section.title]
    debugger = InBochs(section.title, options) if section.sim == "bochs" else InGdb(section.title, options)
    match = Match(page, write)
    try:
        for n in section.lines:
            if command := COMMAND.match(page[n]):
                now = debugger.command(command[3])
                numbers = [(m.span(), False) for m in NUMBER.finditer(command[0].strip()) if is_large(m[0])]
                match.fill(n, numbers, [m[0] for m in NUMBER.finditer(f"{command[2]} {now}") if is_large(m[0])])
                match.hear(debugger.ask(now))
            elif not page[n].strip().startswith("$ "):
                match.expect(n)
    finally:
        debugger.close()


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("sim", nargs="?", choices=["bochs", "gdb"], help="only the sections of this debugger")
    p.add_argument("--only", default="", help="only the sections with this word in the title")
    p.add_argument("--write", action="store_true")
    a = p.parse_args()
    bad = write_trace() if a.write and a.sim != "gdb" else []
    if bad:
        sys.exit("\n".join(bad))
    with open(PAGE) as file:
        page = file.read().split("\n")
    chosen = [s for s in sections(page) if a.sim in (None, s.sim) and a.only in s.title]
    print(f"1..{len(chosen)}")
    for number, section in enumerate(chosen, 1):
        for turn in range(6):  # which CPU runs which thread is chance
            trial, bad = list(page), []
            try:
                play(trial, section, a.write)
                bad = prose(page, trial, section, a.write)
                page = trial
                break
            except (Differs, vm.Ended, vm.Timeout, subprocess.CalledProcessError) as e:
                bad = str(e).split("\n")
        print(f"{'not ok' if bad else 'ok'} {number} - {section.title}, in {section.sim}")
        print("".join(f"# {line}\n" for line in bad), end="", flush=True)
    if a.write:
        with open(PAGE, "w") as file:
            file.write("\n".join(page))


if __name__ == "__main__":
    main()
