"""User programs. All are linked at the same address, so gdb may know the symbols of one at a time: those of the program in
the selected CPU's address space. Which one that is, its text says: it is compared with that of the programs built, so
nothing is asked of the libOS that runs it."""
import bisect, os, gdb
from headers import abi
from machine import Elf, Machine, kernel, register


class Program:
    def __init__(self, name, path):
        self.name, self.path, self.areas = name, path, []
        layout = name.removesuffix("_pie") if os.path.basename(os.path.dirname(path)) == "layout" else "freehold"
        with open(f"{os.path.dirname(kernel().filename)}/layouts/{layout}.areas") as file:
            for low, high, what in (line.rstrip().split(" ", 2) for line in file):
                self.areas.append((int(low, 16), int(high, 16), what))
        self.elf = Elf(path)
        self.functions = self.elf.functions()

    def runs_in(self, machine, root):
        """Is all of its text that is mapped there its own, and some mapped?"""
        seen = False
        for va, _, text in self.elf.text:
            off = 64 if text.startswith(b"\x7fELF") else 0  # the file's header isn't what it was before strip
            while off < len(text):
                page = text[off:(off | abi.FH_PAGE - 1) + 1]
                there = machine.read_virtual(root, va + off, len(page))
                if there is not None and there != page:
                    return False
                seen = seen or there is not None
                off += len(page)
        return seen

    def place(self, address):
        """main+0x12, or ''."""
        i = bisect.bisect_right(self.functions, (address, 1 << 64)) - 1
        if i < 0 or not self.elf.text[0][0] <= address < self.elf.text[0][0] + len(self.elf.text[0][2]):
            return ""
        start, _, name = self.functions[i]
        return f"{name}+{address - start:#x}" if address > start else name


_programs = {}  # path -> Program, of this modification time
_known = {}     # (root, env's name) -> Program: what was found out before
_loaded = None  # whose symbols gdb has


def program(name):
    """The program of that name in the build directory; None: there is none."""
    build = os.path.dirname(kernel().filename)
    for path in (f"{build}/{name}.debug.elf", f"{build}/layout/{name}.debug.elf", f"{build}/test/{name}.debug.elf"):
        if os.path.exists(path):
            key = path, os.path.getmtime(path)
            if key not in _programs:
                _programs[key] = Program(name, path)
            return _programs[key]


def modules(machine):
    """Names of the boot modules: what may run."""
    for i in range(int(machine.info["nmodules"])):
        yield os.path.basename(machine.string(int(machine.info["module"][i]["command"])).split(" ")[0]).removesuffix(".elf")


def identify(machine, root):
    """The program that runs in an address space; None: none that was built here."""
    if machine.type(root) != abi.FH_TYPES["PT4"]:
        return None
    env = machine.owner(root)
    key = root, env, int(machine.env(env)["serial"])
    if key not in _known:
        found = [p for p in map(program, modules(machine)) if p and p.runs_in(machine, root)]
        if not found:  # it may be half loaded: ask again next time
            return None
        _known[key] = found[0]
    return _known[key]


def of_env(machine, env):
    for root in machine.roots_of(env):
        found = identify(machine, root)
        if found:
            return found


def load(wanted):
    """Let gdb have the symbols of this program, and of no other."""
    global _loaded
    if _loaded is wanted:
        return
    if _loaded:
        gdb.execute(f"remove-symbol-file {_loaded.path}", to_string=True)
    _loaded = None
    if wanted:
        gdb.execute(f"add-symbol-file {wanted.path}", to_string=True)
        _loaded = wanted


def follow(*_):
    """Symbols of the program in the selected CPU's address space. In the kernel's own root, and before the machine has
    booted, gdb keeps those it has. gdb has said by now where it is, in terms of the old ones, so it says it again."""
    try:
        machine = Machine()
        found = identify(machine, machine.root())
    except (gdb.error, gdb.GdbError):
        return
    if found and found is not _loaded:
        print(f"[symbols of {found.name}" + (f", no more of {_loaded.name}]" if _loaded else "]"))
        load(found)
        if register("rip") < abi.FH_KERNEL_BASE:
            gdb.execute("frame")


def forget(*_):
    """Another machine: what was found out about the last one is nothing worth."""
    _known.clear()


class InProgram(gdb.Function):
    """$in_program("sh"): does the selected CPU run the program sh now? (In the kernel on its behalf counts.)"""

    def __init__(self):
        super().__init__("in_program")

    def invoke(self, name):
        try:
            machine = Machine()
            return identify(machine, machine.root()) is program(name.string())
        except gdb.GdbError:
            return False


def resolve(wanted, location):
    """(address, file:line) of a location, as 'break' takes it, in a program. More than one for what is inlined."""
    before = _loaded
    load(wanted)
    try:
        lines = [line for line in gdb.decode_line(location)[1] or ()
                 if line.symtab and line.symtab.objfile.filename == wanted.path]
        return [(line.pc, f"{line.symtab.filename}:{line.line}") for line in lines]
    except gdb.error as e:
        raise gdb.GdbError(f"{wanted.name} has no {location}: {e}")
    finally:
        load(before)


def set_break(name, rest):
    """A breakpoint at NAME:LOCATION [if CONDITION]. It is one on an address, with the program as its condition: it is
    good whichever symbols gdb has, and even before the program is started."""
    wanted = program(name)
    if not wanted:
        raise gdb.GdbError(f"{name}: no such program in {os.path.dirname(kernel().filename)}.")
    location, _, condition = (part.strip() for part in rest.partition(" if "))
    places = resolve(wanted, location)
    if not places:
        raise gdb.GdbError(f"{name} has no {location}; the kernel or another program may.")
    for address, line in places:  # gdb's own words would name whichever program has its symbols loaded
        gdb.execute(f'break *{address:#x} if $in_program("{name}")' + (f" && ({condition})" if condition else ""), to_string=True)
        print(f"Breakpoint {int(gdb.parse_and_eval('$bpnum'))} at {address:#x} in {name}: {line}")


class Break(gdb.Command):
    """Set a breakpoint: b LOCATION as break does; b PROGRAM:LOCATION in a user program.

b sh:main, b demo:user/demo/heap.c:30, b hello:main if $rdi > 1: it stops only where that program runs, though all programs
lie at the same addresses, and may be set before the program is started. (A condition may use registers and memory.)"""

    def __init__(self):
        super().__init__("b", gdb.COMMAND_BREAKPOINTS, gdb.COMPLETE_LOCATION)

    def invoke(self, argument, from_tty):
        name, colon, rest = argument.partition(":")
        if colon and name.isidentifier() and rest and program(name):
            set_break(name, rest)
        else:
            gdb.execute("break " + argument, from_tty)


def install():
    InProgram()
    Break()
    gdb.events.stop.connect(follow)
    gdb.events.before_prompt.connect(follow)
    gdb.events.connection_removed.connect(forget)
