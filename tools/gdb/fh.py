"""gdb's commands for Freehold: `help fh` lists them. Loaded by `make gdb`."""
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gdb
import programs
from audit import PINS, Audit
from headers import abi
from machine import (TABLES, TYPE, TYPE_NAME, Machine, canonical, cpus, is_leaf, leaf_pfn, register, rights_of, rights_text,
                     selected, span)
from words import address, env_label, frame_number, frame_text, idle_hint, named, number, place, space, space_label, symbol


class Fh(gdb.Command):
    """Freehold: frames, envs, threads and page tables of the stopped machine, or of a dump.

Numbers are gdb expressions (0x5000, $rax >> 12). An ENV is the pfn of its ENV frame, or the name of its program. Where one
is optional, the address space is the one that the selected CPU has loaded."""

    def __init__(self):
        super().__init__("fh", gdb.COMMAND_DATA, prefix=True)

    def invoke(self, argument, from_tty):
        gdb.execute("help fh")


class Command(gdb.Command):
    """Of a subclass: its name in lower case is the command's; `usage` what it takes; run(machine, arguments) does it."""
    usage, least, most = "", 0, 0
    needs_table = True  # there is nothing to say before the kernel has filled its table

    def __init__(self):
        self.name = "fh " + type(self).__name__.lower().rstrip("_")
        if self.usage:
            self.__doc__ = f"{self.__doc__}\n\nUsage: {self.name} {self.usage}"
        super().__init__(self.name, gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        words = [argument.strip()] if self.most == 1 and argument.strip() else gdb.string_to_argv(argument)
        if not self.least <= len(words) <= self.most:
            raise gdb.GdbError(f"Usage: {self.name} {self.usage}".rstrip())
        try:
            machine = Machine()
            if self.needs_table and not machine.ready:
                raise gdb.GdbError("The kernel is still starting: its table isn't filled yet. (Only fh pt works so early.) "
                                   "Let it go on: 'continue', and Ctrl-C after a moment.")
            self.run(machine, *words)
        except gdb.error as e:
            raise gdb.GdbError(f"{self.name}: {e}")


def references(machine, wanted):
    """Everything that refers to a frame, a line each."""
    for table, level, index, entry in machine.entries():
        first = leaf_pfn(level, entry) if is_leaf(level, entry) else abi.fh_pte_pfn(entry)
        n = span(level) // abi.FH_PAGE if is_leaf(level, entry) else 1
        if first <= wanted < first + n:
            at = machine.address_of(table, level, index)
            seen = f"{at[1]:#x} in {space_label(machine, at[0])}" if at else "no root leads there"
            what = "names itself: the recursive window" if wanted == table else rights_text(rights_of(entry))
            yield f"PT{level} {table:#x}[{index}] {what}  {seen}"
    for pfn in machine.frames("THREAD"):
        thread = machine.thread(pfn)
        yield from (f"thread {pfn:#x}: its {pin.replace('_', ' ')}" for pin in PINS if wanted and int(thread[pin]) == wanted)
        if pfn == wanted and state_name(thread) == "RUNNING":
            yield "it is running"
    loaded = machine.variable("epoch_cpu")
    yield from (f"cpu {c}: loaded in CR3" for c in range(machine.ncpus) if int(loaded[c]["root"]["n"]) == wanted)


def quiet_text(machine, stamp):
    """Whether a CPU may still reach the frame by an old translation (DESIGN 4)."""
    late = [f"cpu {c} (epoch {epoch})" for c, epoch in enumerate(machine.epochs()[1]) if epoch <= stamp]
    return "not quiet: an old translation may be left on " + ", ".join(late) if late else "quiet"


class Frame(Command):
    """A frame's record in words, and all that refers to it: why it can't be freed.

The record: type, owner, references, tenant, stamp; a table's count of entries, an ENV's account, a THREAD's state."""
    usage, least, most = "PFN", 1, 1

    def run(self, machine, word):
        pfn = frame_number(machine, word)
        record = machine.record(pfn)
        state, kind, stamp = record["state"], abi.fh_type(record["state"]), record["stamp"] & abi.FH_STAMP_MASK
        print(f"frame {pfn:#x}, physical {pfn * abi.FH_PAGE:#x}: {frame_text(machine, pfn)}")
        if state & abi.FH_STATE_LOCK:
            print("  locked by a CPU that is changing it")
        if kind == TYPE["FREE"]:
            print(f"  last owner {named(machine, record['tenant'])}")
        if kind in TABLES:
            print(f"  {abi.fh_count(record['link'])} present entries")
        if abi.fh_link_parent(record["link"]):
            print(f"  linked by a foreign owner's table {abi.fh_link_parent(record['link']):#x}"
                  f"[{abi.fh_link_index(record['link'])}]")
        if kind == TYPE["ENV"]:
            print(f"  {account_text(machine, pfn)}")
        if kind == TYPE["THREAD"]:
            print(f"  {state_name(machine.thread(pfn))}")
        print(f"  stamp {stamp}: {quiet_text(machine, stamp)}")
        found = list(references(machine, pfn))
        print(f"  referred to by: {'nothing' if not found else ''}".rstrip())
        print("".join(f"    {line}\n" for line in found), end="")


class Owner(Command):
    """Whose the memory at an address is.

The number is looked up as a virtual address of the loaded address space and, where there is RAM, as a physical one."""
    usage, least, most = "VA|PA", 1, 1

    def run(self, machine, word):
        where, root = number(word), machine.root()
        pa = machine.translate(root, where) if canonical(where & (1 << 48) - 1) == where else None
        if pa is not None:
            print(f"virtual {where:#x} in {space_label(machine, root)}: frame {pa // abi.FH_PAGE:#x}, "
                  f"{frame_text(machine, pa // abi.FH_PAGE)}")
        if where // abi.FH_PAGE < machine.nframes:
            print(f"physical {where:#x}: frame {where // abi.FH_PAGE:#x}, {frame_text(machine, where // abi.FH_PAGE)}")
        elif pa is None:
            raise gdb.GdbError(f"{where:#x} is mapped nowhere in {space_label(machine, root)}, and is beyond physical memory.")


BITS = (("P", "FH_P"), ("W", "FH_W"), ("U", "FH_U"), ("PWT", "FH_PWT"), ("PCD", "FH_PCD"), ("A", "FH_A"), ("D", "FH_D"))


def entry_text(level, entry):
    """The bits of an entry by name."""
    if not entry & abi.FH_P:
        return "empty" if not entry else "not present: " + word_text(entry)
    bits = [name for name, bit in BITS if entry & getattr(abi, bit)]
    bits += ["PS"] if level > 1 and entry & abi.FH_PS else []
    bits += ["PAT"] if level == 1 and entry & abi.FH_PAT else []
    bits += ["G"] if entry & abi.FH_G else []
    bits += ["NX"] if entry & abi.FH_NX else []
    kit = [name for name, bit in (("forked", abi.PTE_FORKED), ("may-write", abi.PTE_MAY_WRITE)) if entry & bit]
    return " ".join(bits) + (f" (kit: {', '.join(kit)})" if kit else "")


def word_text(word):
    """What the kit means by a word that is not present; another libOS may mean something else."""
    if word & abi.PTE_PARKED:
        return f"the libOS's own word (kit: frame {(~word & abi.PTE_PARKED_FIELD) >> 12:#x} is parked here, PROT_NONE)"
    if word & abi.PTE_PROMISED:
        return f"the libOS's own word (kit: {rights_text(abi.pte_promised_rights(word))} is promised for the first touch)"
    return "the libOS's own word"


class Pt(Command):
    """The way through the page tables to an address, every level decoded.

Each entry's bits, and type, owner and tenant of the frame that it names; then the rights that remain of all levels. It
works early in boot too, as soon as paging is on."""
    usage, least, most = "VA [ENV|ROOT]", 1, 2
    needs_table = False

    def run(self, machine, word, where=None):
        va, root = address(word), space(machine, where)
        print(f"{va:#x} in {space_label(machine, root)}")
        granted = abi.RIGHT_R | abi.RIGHT_W | abi.RIGHT_X
        for level, table, index, entry in machine.walk(root, va):
            print(f"  PT{level} {table:#x}[{index}] = {entry:#018x}  {entry_text(level, entry)}")
            if entry & abi.FH_P:
                pfn = abi.fh_pte_pfn(entry)
                if is_leaf(level, entry):
                    pfn = leaf_pfn(level, entry) + va % span(level) // abi.FH_PAGE
                print(f"      frame {pfn:#x}: {frame_text(machine, pfn)}")
            granted &= rights_of(entry)
        idle_hint(machine, root, va)
        if entry & abi.FH_P:
            print(f"  together: {rights_text(granted)} for {'user code' if entry & abi.FH_U else 'the kernel'}, "
                  f"physical {machine.translate(root, va):#x}")


def account_text(machine, env):
    account = int(machine.env(env)["account"])
    flags = [text for bit, text in ((abi.FH_ACCOUNT_FROZEN, "frozen"), (abi.FH_ACCOUNT_DEAD, "dead")) if account & bit]
    return " ".join([f"owns {abi.fh_owned(account)} of {abi.fh_quota(account)}"] + flags)


class Envs(Command):
    """The tree of envs: pfn, program, frames owned and quota, threads, address spaces."""

    def run(self, machine):
        envs = machine.frames("ENV")

        def show(env, depth):
            threads, roots = machine.threads_of(env), machine.roots_of(env)
            print(f"{'  ' * depth}{env_label(machine, env)}: serial {int(machine.env(env)['serial'])}, "
                  f"{account_text(machine, env)}; threads {' '.join(map(hex, threads)) or '-'}; "
                  f"roots {' '.join(map(hex, roots)) or '-'}")
            for child in envs:
                if child != env and machine.owner(child) == env and depth < abi.FH_ENV_DEPTH:
                    show(child, depth + 1)

        for env in envs:
            if machine.owner(env) == env:
                show(env, 0)


def state_name(thread):
    states = abi.fh_thread_state
    return states[int(thread["state"])].removeprefix("FH_") if int(thread["state"]) < len(states) else "?"


def where_now(machine):
    """Where the selected CPU is."""
    return place(machine, machine.root(), register("rip"))


class Threads(Command):
    """All threads: env, state, where they are or will go on, what they wait for."""

    def run(self, machine):
        running = {abi.fh_name_pfn(int(machine.cpu(c)["thread"])): c for c in range(machine.ncpus)}
        on = {machine.cpu_index(t): t for t in cpus()}
        for pfn in machine.frames("THREAD"):
            thread, env = machine.thread(pfn), machine.owner(pfn)
            state = state_name(thread)
            text = f"thread {pfn:#x} of {env_label(machine, env)}: {state}"
            if state == "RUNNING" and running.get(pfn) in on:
                with selected(on[running[pfn]]):
                    text += f" on cpu {running[pfn]}, at {where_now(machine)}"
            else:
                text += f" at {place(machine, int(thread['loaded']), int(thread['regs']['rip']))}, home cpu {int(thread['home'])}"
            if state == "SLEEPING":
                text += f", waits for bells {int(thread['wait']):#x}" + (" or a deadline" if int(thread["deadline"]) else "")
            if state == "FAULTED":
                text += f", vector {int(thread['regs']['vector'])}, address {int(thread['fault_address']):#x}"
            print(text + (f", bells {int(thread['bells']):#x}" if int(thread["bells"]) else ""))


class Cpus(Command):
    """What each CPU does, and how far it is behind the TLB clock.

A frame whose stamp is not below a CPU's epoch may still be reached by an old translation there."""

    def run(self, machine):
        clock, epochs = machine.epochs()
        state = machine.variable("epoch_cpu")
        print(f"clock {clock}")
        for thread in cpus():
            c = machine.cpu_index(thread)
            with selected(thread):
                if c is None:
                    print(f"gdb thread {thread.num}: not started by the kernel")
                    continue
                running = abi.fh_name_pfn(int(machine.cpu(c)["thread"]))
                epoch = "idle, holds no translation" if epochs[c] == abi.FH_EPOCH_INF else f"epoch {epochs[c]}"
                asked = ", asked to flush" if int(state[c]["request"]) else ""
                who = f"thread {running:#x}, " if running else ""
                print(f"cpu {c} (gdb thread {thread.num}): {epoch}{asked}; {who}{space_label(machine, machine.root())}; "
                      f"at {where_now(machine)}")


def area_name(areas, va):
    """What lies there: one of the program's areas, or in the kit's own part (plan.h)."""
    kit = ((abi.META_VA, abi.CPUS_VA + abi.PLAN_GIB, "kit"), (abi.BOOTFS_VA, abi.TABLE_VA, "modules"),
           (abi.WINDOW_VA, abi.WINDOW_END, "window: its page tables"))
    there = [(low, name) for low, high, name in (*areas, *kit) if low <= va < high] if areas else []
    return max(there)[1] if there else ""  # the last to begin: a stack may lie in the room of mappings


class Maps(Command):
    """What is mapped in an address space: runs of pages with the same rights, type and owner."""
    usage, least, most = "ENV|ROOT", 1, 1

    def run(self, machine, word):
        root = space(machine, word)
        env = machine.owner(root)
        image = programs.identify(machine, root)
        areas = image.areas(machine, root) if image else ()
        print(space_label(machine, root))
        run = None  # [lo, hi, what is said of it]
        for va, level, entry, granted in machine.leaves(root):
            pfn = leaf_pfn(level, entry)
            kind, owner = machine.type(pfn), machine.owner(pfn) if pfn < machine.nframes else 0
            whose = f" of {env_label(machine, owner)}" if owner not in (0, env) else ""
            what = "" if level == 4 else f"{'2 MiB ' if level == 2 else ''}{TYPE_NAME.get(kind, 'no RAM')}{whose}"
            text = f"{rights_text(granted)}  {what:24} {area_name(areas, va)}".rstrip()
            if run and run[1:] == [va, text]:
                run[1] += span(level)
                continue
            self.show(run)
            run = [va, va + span(level), text]
        self.show(run)

    @staticmethod
    def show(run):
        if run:
            low, high, text = run
            print(f"{low:016x}-{high:016x} {text}")


class Why(Command):
    """Why would a write by user code at this address fault? Without one: at the address in CR2."""
    usage, least, most = "[VA [ENV|ROOT]]", 0, 2

    def run(self, machine, word="$cr2", where=None):
        if word == "$cr2" and not machine.live:
            raise gdb.GdbError("A dump has no CR2: give an address.")
        va, root = number(word), space(machine, where)
        print("\n".join(self.sentences(machine, root, va)))
        idle_hint(machine, root, va)

    def sentences(self, machine, root, va):
        at = f"{va:#x} in {space_label(machine, root)}"
        if canonical(va & (1 << 48) - 1) != va:
            yield f"{at}: the address is not canonical (bits 47 to 63 differ): that is a general protection fault."
        elif va >= abi.FH_KERNEL_BASE:
            yield f"{at}: slot {abi.FH_KERNEL_SLOT} is the kernel's, in every address space; user code can't reach it."
        else:
            yield from self.walked(machine, root, va, at)

    def walked(self, machine, root, va, at):
        for level, table, index, entry in machine.walk(root, va):
            slot, low = f"slot {index} of PT{level} {table:#x}", va - va % span(level)
            if not entry & abi.FH_P:
                extent = "the page" if level == 1 else f"all of {low:#x}-{low + span(level):#x}"
                yield f"{at}: not mapped. {slot} is {entry_text(level, entry)}, so {extent} is missing."
                yield from self.neighbours(machine, root, va)
                return
            if not entry & abi.FH_W:
                yield f"{at}: mapped, but without W: {slot} lacks it{'' if level == 1 else ', for all that lies below'}. " + \
                      self.read_only(machine, level, table, entry)
                return
        pfn = leaf_pfn(level, entry) + va % span(level) // abi.FH_PAGE
        yield (f"{at}: a write would not fault. Every level allows it, down to frame {pfn:#x}, {frame_text(machine, pfn)}. "
               "If it did fault, it was mapped since, or the CPU went by an older entry that it still had.")

    @staticmethod
    def read_only(machine, level, table, entry):
        pfn = abi.fh_pte_pfn(entry)
        kind = machine.type(pfn)
        if level == 4 and pfn == table:
            return "It is the recursive window: page tables are changed by pt_set and pt_update only."
        if not is_leaf(level, entry):
            return "Whoever linked the table wanted it read-only."
        if kind not in (TYPE["DATA"], TYPE["DEVICE"]):
            return f"Frame {pfn:#x} is {frame_text(machine, pfn)}: the kernel lets only DATA and DEVICE be mapped writable."
        if entry & abi.PTE_MAY_WRITE:
            return (f"The kit marked it copy-on-write (frame {pfn:#x}, {frame_text(machine, pfn)}): its fault handler copies "
                    "the page and goes on.")
        return f"Frame {pfn:#x} is {frame_text(machine, pfn)}: it could be writable; whoever mapped it gave it no W."

    @staticmethod
    def neighbours(machine, root, va):
        below = above = None
        for low, level, entry, granted in machine.leaves(root):
            if low > va:
                above = low
                break
            below = low + span(level)
        if below is not None:
            yield f"What is mapped below ends at {below:#x}, {va - below:#x} bytes before it."
        if above is not None:
            yield f"What is mapped above begins at {above:#x}, {above - va:#x} bytes after it."


class Refusals(Command):
    """Why the kernel refused its last calls, in words, the latest last (debug kernels)."""

    def run(self, machine):
        if not int(machine.info["refusals_pfn"]):
            raise gdb.GdbError("Only a debug kernel notes its refusals: 'make qemu-gdb DEBUG=1', 'make gdb DEBUG=1'.")
        ring = machine.at(int(machine.info["refusals_pfn"]) * abi.FH_PAGE, "struct fh_refusals")
        following = int(ring["next"])
        errors = {n: name for name, n in abi.FH_ERRORS.items()}
        for seq in range(max(0, following - abi.FH_REFUSALS), following):
            entry = ring["entry"][seq % abi.FH_REFUSALS]
            if int(entry["seq"]) == seq:
                print(f"{seq:5} env {env_label(machine, int(entry['env']))} {errors.get(int(entry['error']), '?')}: "
                      f"{entry['text'].string()}")
        if not following:
            print("nothing was refused yet")


class Audit_(Command):
    """Recompute references, owners, counts and quotas, and say what doesn't fit.

A machine stops between two instructions: a CPU inside the kernel may be half way through a change, and the frames it works
on then don't fit. Such CPUs are named."""

    def run(self, machine):
        problems = Audit(machine).problems
        print("".join(line + "\n" for line in problems), end="")
        busy = []
        for thread in cpus():
            with selected(thread):
                at = register("rip")
                if machine.cpu_index(thread) is not None and at >= abi.KBASE and not symbol(at).startswith("wait_idle"):
                    busy.append(f"CPU {machine.cpu_index(thread)} is in the kernel, at {symbol(at)}")
        if problems and busy:
            print("; ".join(busy) + ": what it is changing may be half done. Step on, and ask again.")
        print(f"audit: {f'{len(problems)} things do not fit' if problems else 'everything fits'}, {machine.nframes} frames")


class Break(Command):
    """A breakpoint in a user program: fh break PROGRAM:LOCATION, or b PROGRAM:LOCATION.

The location is what break takes: a function, FILE:LINE. It stops only where that program runs, though all programs lie at
the same addresses, and may be set before it is started."""

    def invoke(self, argument, from_tty):
        name, _, rest = argument.partition(":")
        if not rest.strip():
            raise gdb.GdbError("Usage: fh break PROGRAM:LOCATION [if CONDITION], for example: fh break sh:main")
        programs.set_break(name.strip(), rest.strip())


Fh()
for command in (Frame, Owner, Pt, Envs, Threads, Cpus, Maps, Why, Refusals, Audit_, Break):
    command()
programs.install()
