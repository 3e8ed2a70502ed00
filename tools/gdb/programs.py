"""User programs. Most are linked at the same address, so gdb may know the symbols of one at a time: those of the program in
the selected CPU's address space. Which one that is, its text says: it is compared with that of the programs built, so
nothing is asked of the libOS that runs it. A static-pie lies where its loader put it: its text is looked for."""
import bisect, os, gdb
from headers import abi
from machine import Elf, Machine, kernel, leaf_pfn, register


class Program:
    def __init__(self, name, path):
        self.name, self.path, self.areas = name, path, []
        layout = name.removesuffix("_pie") if os.path.basename(os.path.dirname(path)) == "layout" else "freehold"
        with open(f"{os.path.dirname(kernel().filename)}/layouts/{layout}.areas") as file:
            for low, high, what in (line.rstrip().split(" ", 2) for line in file):
                self.areas.append((int(low, 16), int(high, 16), what))
        self.elf = Elf(path)
        self.functions = self.elf.functions()

    def pages(self):
        """(address, contents) of its text, by pages."""
        for va, _, text in self.elf.text:
            off = 64 if text.startswith(b"\x7fELF") else 0  # the file's header isn't what it was before strip
            while off < len(text):
                page = text[off:(off | abi.FH_PAGE - 1) + 1]
                yield va + off, page
                off += len(page)

    def runs_at(self, machine, root, bias):
        """Is all of its text that is mapped there its own, and some mapped?"""
        seen = False
        for va, page in self.pages():
            there = machine.read_virtual(root, va + bias, len(page))
            if there is not None and there != page:
                return False
            seen = seen or there is not None
        return seen

    def image_in(self, machine, root):
        """The Image of it that is in an address space, or None."""
        if not self.elf.moves:
            return Image(self, 0) if self.runs_at(machine, root, 0) else None
        whole = {page: va for va, page in self.pages() if len(page) == abi.FH_PAGE}
        for at, level, entry, granted in machine.leaves(root):
            if level == 1 and granted & abi.RIGHT_X:
                va = whole.get(machine.read(leaf_pfn(level, entry) * abi.FH_PAGE, abi.FH_PAGE))
                if va is not None and self.runs_at(machine, root, at - va):
                    return Image(self, at - va)


class Image:
    """A program where it runs: `bias` is what its loader added to the addresses in its file."""

    def __init__(self, program, bias):
        self.program, self.bias, self.name, self.path = program, bias, program.name, program.path

    def __eq__(self, other):
        return isinstance(other, Image) and (self.program, self.bias) == (other.program, other.bias)

    def place(self, address):
        """main+0x12, or ''."""
        address -= self.bias
        functions, (low, _, text) = self.program.functions, self.program.elf.text[0]
        i = bisect.bisect_right(functions, (address, 1 << 64)) - 1
        if i < 0 or not low <= address < low + len(text):
            return ""
        start, _, name = functions[i]
        return f"{name}+{address - start:#x}" if address > start else name

    def areas(self, machine, root):
        """(lo, hi, name) of its layout's areas: where the program itself says that they are, once it does; where its table
        says, before."""
        before = _loaded
        load(self)
        try:
            layout = self.value(machine, root, "*program_layout", "struct layout")
            here = self.value(machine, root, "layout_here", "struct places")
            return list(extents(machine, root, layout["area"], here["area"])) or self.program.areas
        except (gdb.error, TypeError):
            return self.program.areas
        finally:
            load(before)

    def value(self, machine, root, name, type_name):
        """A variable of the program, or what it points to, read in its own address space; TypeError: it isn't there."""
        symbol = gdb.lookup_global_symbol(name.lstrip("*"))
        at, ctype = int(symbol.value().address), gdb.lookup_type(type_name)
        if name.startswith("*"):
            at = int.from_bytes(machine.read_virtual(root, at, 8), "little")
        return gdb.Value(machine.bytes_virtual(root, at, ctype.sizeof), ctype)


def extents(machine, root, areas, here):
    """(lo, hi, name) of the areas that hold mappings. One without an end reaches to the next end, and those that begin
    at one address share their room, as in layout.h."""
    end, guard = (int(gdb.parse_and_eval(name)) for name in ("AREA_END", "AREA_GUARD"))
    shared = {}  # where they begin -> their names, and their end
    for i in range(abi.LAYOUT_AREAS):
        if int(areas[i]["kind"]) == end:
            break
        if int(areas[i]["kind"]) != guard:
            names, _ = shared.get(int(here[i]["lo"]), ([], 0))
            names.append(machine.string_virtual(root, int(areas[i]["name"])))
            shared[int(here[i]["lo"])] = names, next((hi for k in range(i, abi.LAYOUT_AREAS) if (hi := int(here[k]["hi"]))), 0)
    for lo, (names, hi) in shared.items():
        if hi:
            yield lo, hi, " to ".join(dict.fromkeys((names[0], names[-1])))


_programs = {}  # path -> Program, of this modification time
_known = {}     # (root, env's name) -> Image: what was found out before
_loaded = None  # the Image whose symbols gdb has


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
    """The Image of the program that runs in an address space; None: none that was built here."""
    if machine.type(root) != abi.FH_TYPES["PT4"]:
        return None
    env = machine.owner(root)
    key = root, env, int(machine.env(env)["serial"])
    if key not in _known:
        built = [p for p in map(program, modules(machine)) if p]
        for p in sorted(built, key=lambda p: p.elf.moves):  # those that need no search first
            if found := p.image_in(machine, root):
                _known[key] = found
                break
    return _known.get(key)  # None: it may be half loaded; ask again next time


def of_env(machine, env):
    for root in machine.roots_of(env):
        found = identify(machine, root)
        if found:
            return found


def load(wanted):
    """Let gdb have the symbols of this Image, and of no other."""
    global _loaded
    if _loaded == wanted:
        return
    if _loaded:
        gdb.execute(f"remove-symbol-file {_loaded.path}", to_string=True)
    _loaded = None
    if wanted:
        gdb.execute(f"add-symbol-file {wanted.path} -o {wanted.bias:#x}", to_string=True)
        _loaded = wanted


def follow(*_):
    """Symbols of the program in the selected CPU's address space. In the kernel's own root, and before the machine has
    booted, gdb keeps those it has. gdb has said by now where it is, in terms of the old ones, so it says it again."""
    try:
        machine = Machine()
        found = identify(machine, machine.root())
    except (gdb.error, gdb.GdbError):
        return
    if found and found != _loaded:
        print(f"[symbols of {found.name}" + (f", moved by {found.bias:#x}" if found.bias else "") + (f", no more of {_loaded.name}]" if _loaded else "]"))
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
            found = identify(machine, machine.root())
            return found is not None and found.program is program(name.string())
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


def running(wanted):
    """The Image of a program that some env runs now or is about to run, or None."""
    machine = Machine()
    if machine.ready:
        for root in machine.frames("PT4"):
            found = identify(machine, root)
            if found and found.program is wanted:
                return found


def set_break(name, rest):
    """A breakpoint at NAME:LOCATION [if CONDITION]. It is one on an address, with the program as its condition: it is
    good whichever symbols gdb has, and even before the program is started."""
    wanted = program(name)
    if not wanted:
        raise gdb.GdbError(f"{name}: no such program in {os.path.dirname(kernel().filename)}.")
    location, _, condition = (part.strip() for part in rest.partition(" if "))
    if wanted.elf.moves:
        image = running(wanted)
        if not image:
            raise gdb.GdbError(f"{name} is moved when it is loaded: it has no addresses yet. Stop where the shell has loaded it, by "
                               "'b sh:child_start', and ask again.")
    else:
        image = Image(wanted, 0)
    places = resolve(image, location)
    if not places:
        raise gdb.GdbError(f"{name} has no {location}; the kernel or another program may.")
    for address, line in places:  # gdb's own words would name whichever program has its symbols loaded
        gdb.execute(f'break *{address:#x} if $in_program("{name}")' + (f" && ({condition})" if condition else ""), to_string=True)
        print(f"Breakpoint {int(gdb.parse_and_eval('$bpnum'))} at {address:#x} in {name}: {line}")


class Break(gdb.Command):
    """Set a breakpoint: b LOCATION as break does; b PROGRAM:LOCATION in a user program.

b sh:main, b demo:user/demo/heap.c:30, b hello:main if $rdi > 1: it stops only where that program runs, though all programs
lie at the same addresses, and may be set before the program is started; but not in a static-pie, whose addresses its loader
chooses. (A condition may use registers and memory.)"""

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
