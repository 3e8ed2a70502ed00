#!/usr/bin/env python3
"""What one span of a program did, instruction by instruction, as Bochs' debugger saw it: the first call of a function
(--fn) or what lies between TRACE_BEGIN() and TRACE_END() (src/libos/trace.h). Prints it by function, with the loads and
stores that page tables got; the listing with every instruction and access goes to a file."""
import argparse, re, signal, subprocess, sys
import bochs, vm

PROMPT = r"(?:^|\n)\r?fh> $"
INSTRUCTION = re.compile(r"\((\d+)\)\.\[(\d+)\] \[0x[0-9a-f]+\] ([0-9a-f]{4}):([0-9a-f]+) \(([^()]+)\): (.*?) *; ([0-9a-f]+)$")
ACCESS = re.compile(r"\[CPU(\d+) (RD|WR|RW)\]: (?:LIN 0x([0-9a-f]+) )?PHY 0x([0-9a-f]+) \(len=(\d+), \w+\): ([0-9A-Fx ]+?)(?:\t; (\w+))?$")
EVENT = re.compile(r"CPU (\d+): (?:Exception (0x[0-9a-f]+) - \((#\w+)\) ([\w ]+?) occurred|Interrupt (0x[0-9a-f]+) occurred)(?: \(error_code=0x([0-9a-f]+)\))?")
TYPES = {3: "PT1", 4: "PT2", 5: "PT3", 6: "PT4"}  # FH_TYPES in abi.h
USER_CS = "002b"
MAGIC, BEGIN, END = "6687db", b"\x0f\x1f\x80BEGN", b"\x0f\x1f\x80END."  # trace.h


# ---- The machine ----

def symbols(file):
    """name -> address, of code and data"""
    lines = subprocess.run(["nm", file], stdout=subprocess.PIPE, text=True, check=True).stdout.split("\n")
    return {w[2]: int(w[0], 16) for w in (line.split() for line in lines) if len(w) == 3 and w[1] in "tTWdDbB"}


class Span:
    """Runs the machine up to the span, and through it."""

    def __init__(self, machine, program, line):
        self.machine, self.program, self.line = machine, program, line
        machine.on_console = self.type_line

    def type_line(self):
        if self.line and re.search(PROMPT, self.machine.transcript):
            self.machine.send(self.line + "\n")
            self.line = None

    def bytes_at(self, address, n, physical=False):
        said = self.machine.command(f"{'xp' if physical else 'x'} /{n}bx {address}")
        return bytes(int(b, 16) for row in said.split("\n") if ">:" in row for b in re.findall(r"\t0x(\w\w)\b", row))

    def word_at(self, address, physical=False):
        return int.from_bytes(self.bytes_at(address, 8, physical), "little")

    def root(self):
        return re.search(r"CR3=0x(\w+)", self.machine.command("creg")).group(1)

    def register(self, name):
        return int(re.search(name + r": (\w+)_(\w+)", self.machine.command("r")).expand(r"\1\2"), 16)

    def run(self, timeout=300):
        said = self.machine.command("c", timeout)
        self.cpu = re.search(r"^\((\d+)\) (?:Breakpoint|Magic)", said, re.M)
        return said

    def to_main(self, own):
        """All programs lie at the same addresses: it is this one where its name stands."""
        self.machine.command(f"lb {own['main']:#x}")
        while True:
            self.run()
            name = self.bytes_at(self.word_at(f"{own['program_name']:#x}") or own["main"], len(self.program) + 1)
            if name == self.program.encode() + b"\0":
                self.machine.command("d 1")
                return self.root()

    def to_function(self, address, root):
        self.machine.command(f"lb {address:#x}")
        self.run()
        while self.root() != root or self.register("rip") != address:
            self.run()
        self.machine.command("d 2")

    def at_mark(self, mark, root):
        return self.root() == root and self.bytes_at("rip", len(mark)) == mark

    def to_mark(self, mark, root):
        while "Magic" not in self.run() or not self.at_mark(mark, root):
            pass

    def trace_call(self, root):
        """From the first instruction of a function to the return from it."""
        stack = self.register("rsp")
        self.machine.command(f"lb {self.word_at('rsp'):#x}")
        return self.trace(lambda: self.root() == root and self.register("rsp") == stack + 8)

    def trace(self, at_end):
        self.machine.command("trace on")
        self.machine.command("trace-mem on")
        said = self.run()
        while not at_end():
            said += self.run()
        self.machine.command("trace off")
        self.machine.command("trace-mem off")
        return said


# ---- What was traced ----

class Instruction:
    def __init__(self, match):
        self.cpu, self.tick, cs, rip, symbol, self.text, code = match.groups()
        self.user, self.rip, self.size, self.is_mark = cs == USER_CS, int(rip, 16), len(code) // 2, code in (MAGIC, BEGIN.hex())
        name, plus, off = symbol.rpartition("+")
        self.function = name.split(".")[0]  # gcc's .constprop.0, nasm's local labels
        self.place = f"{name}+{off}" if plus else symbol
        self.accesses, self.walk, self.event, self.faulted = [], 0, None, False


class Access:
    def __init__(self, match):
        _, self.kind, lin, phy, length, value, self.walk = match.groups()
        self.lin, self.phy, self.size = int(lin, 16) if lin else None, int(phy, 16), int(length)
        self.value = "0x" + "".join(word[2:] for word in value.split()).lower().lstrip("0").rjust(1, "0")


def add(accesses, a):
    """A locked instruction shows as an RW and, physical only, the write that ends it."""
    before = accesses[-1] if accesses else None
    if before and before.kind == "RW" and a.kind == "WR" and a.lin is None and a.phy == before.phy:
        before.value += f" -> {a.value}"
    else:
        accesses.append(a)


def parse(text, cpu):
    """The instructions of one CPU. An event (an exception or interrupt) belongs to the instruction after it."""
    out, early, event = [], [], None
    for line in text.split("\n"):
        line = line.rstrip()
        if match := INSTRUCTION.match(line):
            if match.group(1) == cpu:
                out.append(Instruction(match))
                out[-1].event, out[-1].accesses = event, early
                early, event = [], None
        elif match := ACCESS.match(line):
            if match.group(1) == cpu:
                add(out[-1].accesses if out and not event and not match.group(7) else early, Access(match))
        elif match := EVENT.match(line):
            if match.group(1) == cpu and (match.group(2) or not event):
                event = f"{match.group(4)} ({match.group(3)}, error {int(match.group(6) or '0', 16):#x})" if match.group(2) \
                    else f"interrupt {match.group(5)}"
                if out and match.group(2):
                    out[-1].faulted = True  # it comes again
    return out


class Node:
    """One activation of a function, or an exception with all that came of it."""

    def __init__(self, name, resume=None):
        self.name, self.resume, self.marks, self.children = name, resume, [], []
        self.instructions = self.loads = self.stores = self.walks = 0

    def totals(self):
        own = (self.instructions, self.loads, self.stores, self.walks)
        return tuple(map(sum, zip(own, *(child.totals() for child in self.children))))

    def shape(self):
        return (self.name, tuple(map(str, self.marks)), tuple(child.shape() for child in self.children))


def fold(instructions, types):
    """The tree of activations. The stack holds what has not returned; nodes with `resume` are exceptions and system calls,
    which end where the program goes on."""
    top = Node("")
    stack, last = [top], None

    def push(node):
        stack[-1].children.append(node)
        stack.append(node)

    for i in instructions:
        if i.event:
            frame = [a for a in i.accesses if a.kind == "WR"]
            push(Node(i.event, int(frame[4].value, 16) if len(frame) > 4 else last.rip))
            push(Node(i.function))
        elif last is None:
            push(Node(i.function))
        else:
            back = [n for n in range(len(stack)) if stack[n].resume == i.rip and i.user]
            if last.text == "syscall":
                push(Node("system call", last.rip + last.size))
                push(Node(i.function))
            elif back:
                del stack[back[-1]:]
            elif i.user and not last.user:  # an upcall
                while len(stack) > 1 and stack[-1].resume is None:
                    stack.pop()
                push(Node(i.function))
            elif last.text.startswith("call"):
                push(Node(i.function))
            elif last.text.startswith("ret") and len(stack) > 2 and stack[-1].resume is None:
                stack.pop()
        if stack[-1].name != i.function:  # a jump into another function, in the place of this one
            if len(stack) > 1 and stack[-1].resume is None:
                stack.pop()
            if stack[-1].name != i.function or stack[-1].resume is not None:
                push(Node(i.function))
        node = stack[-1]
        node.instructions += not i.faulted
        for a in i.accesses:
            if a.walk:
                node.walks += 1
                continue
            node.loads += a.kind != "WR"
            node.stores += a.kind != "RD"
            if types.get(a.phy >> 12):
                note(node.marks, a, types)
        last = i
    return top


class Mark:
    """An access to a page table, or the same one to slots in a row."""

    def __init__(self, a, types):
        self.verb, self.value = {"RD": "load from", "WR": "STORE to", "RW": "CHANGE of"}[a.kind], a.value
        self.table, self.first = f"{types[a.phy >> 12]} {a.phy >> 12:#x}", a.phy % 4096 // 8
        self.last = self.first

    def __str__(self):
        slots = f"slot {self.first}" if self.first == self.last else f"slots {self.first}-{self.last}"
        return f"{self.verb} {self.table} {slots}: {self.value}"


def note(marks, a, types):
    new = Mark(a, types)
    if marks and new.first == marks[-1].last + 1 and (new.verb, new.table, new.value) == \
            (marks[-1].verb, marks[-1].table, marks[-1].value):
        marks[-1].last = new.last
    else:
        marks.append(new)


def listing(instructions, types):
    for i in instructions:
        if i.event:
            yield f"---- {i.event}"
        for a in sorted(i.accesses, key=lambda a: not a.walk):
            if a.walk:
                yield f"            walk  {a.walk} at {a.phy:#x}: {a.value}"
        yield f"{i.tick:>11} {'user  ' if i.user else 'kernel'} {i.rip:016x} {i.place:32} {i.text}{'  (faults)' if i.faulted else ''}"
        for a in i.accesses:
            if not a.walk:
                where = f"{a.lin:#x} (physical {a.phy:#x})" if a.lin is not None else f"physical {a.phy:#x}"
                note = f"   <- {Mark(a, types)}" if types.get(a.phy >> 12) else ""
                yield f"            {a.kind.lower()}    {where} {a.size}: {a.value}{note}"


def show(nodes, depth=0):
    """Lines of the report; neighbours that did the same are one."""
    at = 0
    while at < len(nodes):
        same = 1
        while at + same < len(nodes) and nodes[at + same].shape() == nodes[at].shape():
            same += 1
        group = nodes[at:at + same]
        total = tuple(map(sum, zip(*(n.totals() for n in group))))
        name = group[0].name if group[0].resume is None else f"-- {group[0].name}"
        yield "%7d %6d %6d %6d  %s" % (*total, "  " * depth + name + (f"  x{same}" if same > 1 else ""))
        for text in group[0].marks:
            yield " " * 32 + "  " * depth + "* " + str(text)
        yield from show(group[0].children, depth + 1)
        at += same


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # into head or less
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("program")
    p.add_argument("--fn", help="a function of the program or of the kernel")
    p.add_argument("--cmd", help="what to type into the shell; the program's name if not given")
    p.add_argument("--build", default="build")
    p.add_argument("--modules", required=True)
    p.add_argument("--mem", default="128M")
    p.add_argument("--cpus", default="1")
    p.add_argument("--out", default="build/trace.txt")
    a = p.parse_args()

    own, kernel = symbols(f"{a.build}/{a.program}.debug.elf"), symbols(f"{a.build}/freehold64.elf")
    if a.fn and a.fn not in own and a.fn not in kernel:
        sys.exit(f"bochs-trace: neither {a.program} nor the kernel has a function {a.fn} (inlined, perhaps)")
    with open("build/trace.sym", "w") as file:
        file.write("".join(f"{address:x} {name}\n" for table in (kernel, own) for name, address in table.items()
                           if name != "__image_start"))
    with bochs.Debugger(f"{a.build}/freehold.elf", a.modules.split(","), symbols=file.name, mem=a.mem, cpus=a.cpus,
                        log="build/trace.console") as machine:
        span = Span(machine, a.program, a.cmd or a.program)
        reached = f"main of {a.program}"
        try:
            root = span.to_main(own)
            if a.fn:
                reached = a.fn
                span.to_function(own.get(a.fn, kernel.get(a.fn)), root)
                cpu = span.cpu.group(1)
                reached = f"the return from {a.fn}"
                text = span.trace_call(root)
            else:
                reached = "TRACE_BEGIN"
                span.to_mark(BEGIN, root)
                cpu = span.cpu.group(1)
                reached = "TRACE_END"
                text = span.trace(lambda: span.at_mark(END, root))
        except (vm.Ended, vm.Timeout) as e:
            print("\n".join(machine.tail(20)), file=sys.stderr)
            sys.exit(f"bochs-trace: {reached} was not reached: {e}")
        instructions = [i for i in parse(text, cpu) if not i.is_mark or i.event]
        table = int(re.search(r"records at ([0-9a-f]+);", machine.transcript).group(1), 16)
        frames = {x.phy >> 12 for i in instructions for x in i.accesses if not x.walk}
        types = {n: TYPES.get(span.word_at(f"{table + 32 * n:#x}", physical=True) & 15) for n in sorted(frames)}
    with open(a.out, "w") as file:
        file.write("\n".join(listing(instructions, types)) + "\n")
    print(f"{a.fn or 'TRACE_BEGIN to TRACE_END'} in {a.program}, with all that it called. Walks are the CPU's own loads from page tables.\n")
    print("instr.  loads stores  walks    counts include what is indented below")
    print("\n".join(show(fold(instructions, types).children)))
    print(f"\nevery instruction and access: {a.out}")


main()
