"""The stopped machine, or a dump of it: physical memory, the kernel's variables, the ownership table, page tables.

All of it is read by physical address: on a live machine through the kernel's direct map, which is in every address space;
in a dump there too, or, if it was made without page tables, where it lies. Layouts are those of the kernel's debug
information. A Machine lives for one command, so nothing in it is older than the stop it is asked about."""
import array, contextlib, os, struct, gdb
from headers import abi

KERNEL = "freehold64.elf"
TYPE = abi.FH_TYPES
TYPE_NAME = {number: name for name, number in TYPE.items()}
TABLES = {TYPE[f"PT{level}"]: level for level in (1, 2, 3, 4)}


class Elf:
    """The loadable segments of an ELF64 file, and where its functions are."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.bytes = file.read()
        offset, size, count = *struct.unpack_from("<Q", self.bytes, 32), *struct.unpack_from("<HH", self.bytes, 54)
        headers = [struct.unpack_from("<IIQQQQ", self.bytes, offset + i * size) for i in range(count)]
        self.moves = struct.unpack_from("<H", self.bytes, 16)[0] == 3  # ET_DYN: it lies where its loader puts it
        # (virtual, physical address, contents) of what is executable
        self.text = [(va, pa, self.bytes[at:at + n]) for kind, flags, at, va, pa, n in headers if kind == 1 and flags & 1]

    def functions(self):
        """(address, size, name) of each, sorted."""
        offset, size, count = *struct.unpack_from("<Q", self.bytes, 40), *struct.unpack_from("<HH", self.bytes, 58)
        sections = [struct.unpack_from("<IIQQQQI", self.bytes, offset + i * size) for i in range(count)]
        found = []
        for _, kind, _, _, at, n, link in sections:
            if kind != 2:  # SHT_SYMTAB
                continue
            strings = sections[link][4]
            for name, info, _, _, value, length in struct.iter_unpack("<IBBHQQ", self.bytes[at:at + n]):
                if info & 15 == 2 or (info & 15 == 0 and info >> 4 == 1):  # functions, and global labels of assembly
                    end = self.bytes.index(b"\0", strings + name)
                    found.append((value, length, self.bytes[strings + name:end].decode()))
        return sorted(found)


def kernel():
    """The kernel's symbols."""
    for objfile in gdb.objfiles():
        if os.path.basename(objfile.filename or "") == KERNEL:
            return objfile
    raise gdb.GdbError("The kernel's symbols aren't loaded: start gdb by 'make gdb'.")


def register(name):
    """A register of the selected CPU as a number; None where there is none: a dump has no control registers."""
    value = gdb.parse_and_eval("$" + name)
    return None if value.type.code == gdb.TYPE_CODE_VOID else int(value) & (1 << 64) - 1


@contextlib.contextmanager
def selected(thread):
    """Another CPU for a moment, then the one that was selected, and its frame."""
    before, frame = gdb.selected_thread(), gdb.selected_frame()
    if thread.num == before.num:
        yield
        return
    thread.switch()
    try:
        yield
    finally:
        before.switch()
        if frame.is_valid():
            frame.select()


def cpus():
    return sorted(gdb.selected_inferior().threads(), key=lambda t: t.num)


def memory(address, n):
    """Bytes at an address of the kernel's, or None. A CPU that hasn't been started has no page tables: ask another."""
    for thread in [gdb.selected_thread()] + cpus():
        with selected(thread):
            try:
                return bytes(gdb.selected_inferior().read_memory(address, n))
            except gdb.MemoryError:
                pass


class Machine:
    def __init__(self):
        self.kernel = kernel()
        if not gdb.selected_inferior().threads():
            raise gdb.GdbError("There is no machine: 'make gdb' connects to the one that 'make qemu-gdb' started; "
                               "'make gdb CORE=FILE' opens a dump.")
        self.live = register("cr3") is not None
        if gdb.selected_thread() is None:
            cpus()[0].switch()
        self.base = self.find_memory()
        self.info = self.pointed("info", "struct fh_info")
        self.ready = int(self.info["root_thread"]) != 0
        self.nframes, self.ncpus = (int(self.info["nframes"]), int(self.info["ncpus"])) if self.ready else (0, 0)
        self._table = self._links = None
        self._by_type, self._words = {}, {}

    # ---- Memory ----

    def find_memory(self):
        """What to add to a physical address; and the machine runs the kernel whose symbols we have."""
        _, at, text = [s for s in Elf(self.kernel.filename).text if s[0] >= abi.KBASE][0]
        for base in (abi.DIRECT_BASE,) if self.live else (abi.DIRECT_BASE, 0):
            there = memory(base + at, len(text))
            if there == text:
                return base
            if there is not None and any(there):
                raise gdb.GdbError(f"What runs is another kernel than {self.kernel.filename} (its text differs): build "
                                   "it again, or give 'make gdb' the DEBUG= of 'make qemu-gdb'.")
        raise gdb.GdbError("The kernel isn't there yet, or has no memory mapped: let the machine boot ('continue', and "
                           "Ctrl-C after a moment).")

    def read(self, pa, n):
        found = memory(self.base + pa, n)
        if found is None:
            raise gdb.GdbError(f"Physical address {pa:#x} can't be read: no RAM there.")
        return found

    def words(self, pfn):
        """A frame as 512 numbers."""
        if pfn not in self._words:
            self._words[pfn] = array.array("Q", self.read(pfn * abi.FH_PAGE, abi.FH_PAGE))
        return self._words[pfn]

    def at(self, pa, type_name):
        """What lies at a physical address, as a C type; read at once."""
        ctype = gdb.lookup_type(type_name)
        return gdb.Value(self.read(pa, ctype.sizeof), ctype)

    @staticmethod
    def physical(address):
        """Of an address in the kernel's image or direct map."""
        return address - (abi.KBASE if address >= abi.KBASE else abi.DIRECT_BASE)

    def variable(self, name):
        """A variable of the kernel (a program may have one of the same name)."""
        symbol = self.kernel.lookup_global_symbol(name) or self.kernel.lookup_static_symbol(name)
        return gdb.Value(self.read(self.physical(int(symbol.value().address)), symbol.type.sizeof), symbol.type)

    def pointed(self, name, type_name):
        """What a pointer variable of the kernel points to."""
        address = int(self.variable(name))
        return self.at(self.physical(address), type_name) if address else None

    def string(self, offset):
        """One of the info page's strings."""
        characters = self.info["strings"]
        end = next(i for i in range(offset, 1 << 16) if not int(characters[i]))
        return bytes(int(characters[i]) & 255 for i in range(offset, end)).decode(errors="replace")

    # ---- The ownership table ----

    def record(self, pfn):
        """{state, link, tenant, stamp} of a frame."""
        fields = [f.name for f in gdb.lookup_type("struct fh_frame").fields()]
        if self._table:
            return dict(zip(fields, self._table[pfn * len(fields):]))
        size = 8 * len(fields)
        raw = self.read(int(self.info["table_pfn"]) * abi.FH_PAGE + pfn * size, size)
        return dict(zip(fields, array.array("Q", raw)))

    def state(self, pfn):
        return self.record(pfn)["state"]

    def type(self, pfn):
        return abi.fh_type(self.state(pfn)) if pfn < self.nframes else None

    def owner(self, pfn):
        return abi.fh_owner(self.state(pfn))

    def table(self):
        """All records as one array of words, as they were when it was first asked for."""
        if self._table is None:
            size = gdb.lookup_type("struct fh_frame").sizeof
            self._table = array.array("Q", self.read(int(self.info["table_pfn"]) * abi.FH_PAGE, self.nframes * size))
        return self._table

    def frames(self, name):
        """The frames of a type, in order."""
        if not self._by_type:
            states = self.table()[::gdb.lookup_type("struct fh_frame").sizeof // 8]
            for pfn, state in enumerate(states):
                self._by_type.setdefault(abi.fh_type(state), []).append(pfn)
        return self._by_type.get(TYPE[name], [])

    def env(self, pfn):
        return self.at(pfn * abi.FH_PAGE, "struct fh_env")

    def thread(self, pfn):
        return self.at(pfn * abi.FH_PAGE, "struct fh_thread")

    def threads_of(self, env):
        return [t for t in self.frames("THREAD") if self.owner(t) == env]

    def roots_of(self, env):
        """Its address spaces: those that its threads run in first."""
        mine = [int(self.thread(t)["root"]) for t in self.threads_of(env)]
        return list(dict.fromkeys([r for r in mine if r] + [r for r in self.frames("PT4") if self.owner(r) == env]))

    # ---- CPUs ----

    def cpu_index(self, thread=None):
        """The kernel's number of the CPU that gdb calls a thread: gdb numbers them by APIC ID. None: it isn't used."""
        apic_id = (thread or gdb.selected_thread()).num - 1
        for c in range(self.ncpus):
            if int(self.cpu(c)["apic_id"]) == apic_id:
                return c

    def cpu(self, c):
        return self.at(int(self.info["cpu_pfn"][c]) * abi.FH_PAGE, "struct fh_cpu")

    def epochs(self):
        """The clock, and each CPU's epoch."""
        clock = self.pointed("tlb_clock", "struct fh_clock")
        return int(clock["clock"]), [int(clock["cpu"][c]["epoch"]) for c in range(self.ncpus)]

    def root(self):
        """pfn of the PT4 that the selected CPU has loaded."""
        if self.live:
            return abi.fh_pte_pfn(register("cr3"))
        c = self.cpu_index()
        return int(self.variable("epoch_cpu")[c]["root"]["n"]) if c is not None else int(self.variable("kernel_root")["n"])

    # ---- Page tables ----

    def walk(self, root, va):
        """(level, table, index, entry) from level 4 downward, to the leaf or to the first entry that is not present."""
        table = root
        for level in (4, 3, 2, 1):
            index = va >> 12 + 9 * (level - 1) & 511
            entry = struct.unpack("<Q", self.read(table * abi.FH_PAGE + 8 * index, 8))[0]
            yield level, table, index, entry
            if is_leaf(level, entry) or not entry & abi.FH_P:
                return
            table = abi.fh_pte_pfn(entry)

    def translate(self, root, va):
        """Physical address that va has in the space; None: nothing is mapped there."""
        *_, (level, _, _, entry) = self.walk(root, va)
        return leaf_pfn(level, entry) * abi.FH_PAGE + va % span(level) if entry & abi.FH_P else None

    def read_virtual(self, root, va, n):
        """Bytes of one page of an address space, or None."""
        pa = self.translate(root, va)
        return None if pa is None else self.read(pa, n)

    def bytes_virtual(self, root, va, n):
        """Bytes of an address space, over as many pages as it takes; TypeError: one isn't there."""
        found = b""
        while len(found) < n:
            at = va + len(found)
            found += self.read_virtual(root, at, min(n - len(found), abi.FH_PAGE - at % abi.FH_PAGE))
        return found

    def string_virtual(self, root, va):
        found = b""
        while b"\0" not in found:
            found += self.bytes_virtual(root, va + len(found), 16)
        return found.split(b"\0")[0].decode(errors="replace")

    def leaves(self, root, level=4, base=0, rights=None):
        """(va, level, entry, rights) of everything mapped for user code, in order; rights: what all levels allow. The
        recursive window comes as one leaf of level 4."""
        for index, entry in enumerate(self.words(root)):
            if not entry & abi.FH_P or (level == 4 and index == abi.FH_KERNEL_SLOT):
                continue
            va = canonical(base + index * span(level))
            granted = rights_of(entry) if rights is None else rights_of(entry) & rights
            if is_leaf(level, entry) or abi.fh_pte_pfn(entry) == root:
                yield va, level, entry, granted
            elif abi.fh_pte_pfn(entry) < self.nframes:
                yield from self.leaves(abi.fh_pte_pfn(entry), level - 1, va, granted)

    def entries(self):
        """(table, level, index, entry) of every present entry in the machine, the kernel's slot left out."""
        for kind, level in TABLES.items():
            for table in self.frames(TYPE_NAME[kind]):
                for index, entry in enumerate(self.words(table)):
                    if entry & abi.FH_P and not (level == 4 and index == abi.FH_KERNEL_SLOT):
                        yield table, level, index, entry

    def address_of(self, table, level, index):
        """(root, va) that an entry of a table stands for, by the first way down to it; None: no root leads there."""
        if self._links is None:
            self._links = {}
            for t, l, i, entry in self.entries():
                if not is_leaf(l, entry) and abi.fh_pte_pfn(entry) != t:
                    self._links.setdefault(abi.fh_pte_pfn(entry), (t, i))
        va = index * span(level)
        while level < 4:
            if table not in self._links:
                return None
            (table, index), level = self._links[table], level + 1
            va += index * span(level)
        return table, canonical(va)


def is_leaf(level, entry):
    return bool(entry & abi.FH_P) and (level == 1 or bool(entry & abi.FH_PS))


def span(level):
    """Bytes that one entry of a level covers."""
    return abi.FH_PAGE << 9 * (level - 1)


def leaf_pfn(level, entry):
    """First frame of a leaf: in a large one, the lowest bits of the field are no address (bit 12 is PAT)."""
    return abi.fh_pte_pfn(entry) & ~(span(level) // abi.FH_PAGE - 1)


def canonical(va):
    return va | 0xffff << 48 if va >> 47 & 1 else va


def rights_of(entry):
    return abi.RIGHT_R | (abi.RIGHT_W if entry & abi.FH_W else 0) | (0 if entry & abi.FH_NX else abi.RIGHT_X)


def rights_text(rights):
    return "".join(letter if rights & bit else "-" for letter, bit in
                   (("r", abi.RIGHT_R), ("w", abi.RIGHT_W), ("x", abi.RIGHT_X)))
