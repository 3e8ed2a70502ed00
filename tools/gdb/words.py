"""From what is typed to numbers, frames, envs and address spaces; and from those to words."""
import gdb
import programs
from headers import abi
from machine import TYPE, TYPE_NAME, canonical


def number(word):
    try:
        return int(gdb.parse_and_eval(word)) & (1 << 64) - 1
    except gdb.error as e:
        raise gdb.GdbError(f"{word} is no number: {e} (Hexadecimal numbers begin with 0x.)")


def frame_number(machine, word):
    pfn = number(word)
    if pfn >= machine.nframes:
        raise gdb.GdbError(f"{pfn:#x} is no frame: the table ends at {machine.nframes:#x}. (A frame number is a physical "
                           "address / 4096.)")
    return pfn


def address(word):
    va = number(word)
    if canonical(va & (1 << 48) - 1) != va:
        raise gdb.GdbError(f"{va:#x} is no address: it isn't canonical (bits 47 to 63 must be equal).")
    return va


def env_named(machine, word):
    """The env that a word names: its program, or its pfn."""
    envs = machine.frames("ENV")
    running = [e for e in envs if programs.of_env(machine, e) and programs.of_env(machine, e).name == word]
    if len(running) == 1:
        return running[0]
    if running:
        raise gdb.GdbError(f"{len(running)} envs run {word}: " + ", ".join(map(hex, running)) + ". Name one by its pfn.")
    try:
        pfn = number(word)
    except gdb.GdbError:
        raise gdb.GdbError(f"No env runs {word}: " + ", ".join(env_label(machine, e) for e in envs) + ".")
    if pfn not in envs:
        raise gdb.GdbError(f"Frame {pfn:#x} is no ENV: " + ", ".join(env_label(machine, e) for e in envs) + ".")
    return pfn


def space(machine, word):
    """The address space to look at: a PT4, an env's first one, or the one loaded."""
    if word is None:
        return machine.root()
    try:
        pfn = number(word)
        if machine.type(pfn) == TYPE["PT4"]:
            return pfn
    except gdb.GdbError:
        pass
    env = env_named(machine, word)
    roots = machine.roots_of(env)
    if not roots:
        raise gdb.GdbError(f"{env_label(machine, env)} has no address space.")
    return roots[0]


def idle_hint(machine, root, va):
    if machine.ready and root == int(machine.variable("kernel_root")["n"]) and va < abi.FH_KERNEL_BASE:
        print("(The selected CPU runs no env now: name one to look into, or choose another CPU by 'thread N'.)")


def env_label(machine, env):
    if machine.type(env) != TYPE["ENV"]:
        return f"{env:#x}"
    found = programs.of_env(machine, env)
    return f"{env:#x} ({found.name})" if found else f"{env:#x}"


def space_label(machine, root):
    if machine.type(root) == TYPE["PT4"]:
        return f"root {root:#x} of {env_label(machine, machine.owner(root))}"
    return f"root {root:#x} of the kernel"


def named(machine, name):
    """A weak name: who it is, if it still lives."""
    pfn, serial = abi.fh_name_pfn(name), abi.fh_name_serial(name)
    if not name:
        return "nobody"
    living = machine.type(pfn) == TYPE["ENV"] and int(machine.env(pfn)["serial"]) == serial
    return env_label(machine, pfn) if living else f"{pfn:#x} with serial {serial}, gone"


def frame_text(machine, pfn):
    """DATA of 0x5000 (root), refs 1"""
    if pfn >= machine.nframes:
        return "no RAM" if machine.ready else "not in the table yet"
    state = machine.state(pfn)
    kind = abi.fh_type(state)
    text = TYPE_NAME.get(kind, "?")
    if abi.fh_owner(state):
        text += f" of {env_label(machine, abi.fh_owner(state))}, refs {abi.fh_refs(state)}"
    if kind != TYPE["FREE"] and machine.record(pfn)["tenant"]:
        text += f", granted to {named(machine, machine.record(pfn)['tenant'])}"
    return text


def symbol(va):
    """A place in the kernel."""
    text = gdb.execute(f"info symbol {va:#x}", to_string=True)
    return "" if text.startswith("No symbol") else text.split(" in section")[0].replace(" + ", "+").strip()


def place(machine, root, va):
    """An address with its function."""
    found = None if va >= abi.FH_KERNEL_BASE else programs.identify(machine, root)
    name = symbol(va) if va >= abi.KBASE else found.place(va) if found else ""
    return f"{va:#x} {name}".rstrip()
