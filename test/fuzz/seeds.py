#!/usr/bin/env python3
"""Makes the seeds of test/fuzz/corpus that come from real inputs: what QEMU and GRUB tell a multiboot kernel, the firmware
tables of QEMU and Bochs, the heads of our programs. After `make DEBUG=1`; run from the top. Seeds made by hand or found
by fuzzing are not touched."""
import os, re, struct, subprocess, sys, tempfile
sys.path.insert(0, "tools")
import bochs, vm

KERNEL, MODULES = "build/debug/freehold.elf", ["build/debug/root.elf", "build/debug/sh.elf one two"]
ENTRY = struct.unpack_from("<I", open(KERNEL, "rb").read(), 24)[0]
MIB, PORT = 1 << 20, 29999


def write(target, name, data):
    os.makedirs(f"test/fuzz/corpus/{target}", exist_ok=True)
    with open(f"test/fuzz/corpus/{target}/{name}", "wb") as file:
        file.write(data)


def piece(memory, at, n, seal=False):
    return struct.pack("<IH", at, n | seal << 15) + memory(at, n)


def words(memory, at, format):
    return struct.unpack("<" + format, memory(at, struct.calcsize("<" + format)))


def multiboot(name, memory, info):
    """The information block and all that it points to (multiboot1 3.3)."""
    flags, command, nmodules, modules, map_length, map = (words(memory, info + at, "I")[0] for at in (0, 16, 20, 24, 44, 48))
    data = struct.pack("<I", info) + piece(memory, info, 52) + piece(memory, map, map_length) + piece(memory, modules, 16 * nmodules)
    for at in [command] + [words(memory, modules + 16 * i + 8, "I")[0] for i in range(nmodules)]:
        data += piece(memory, at, memory(at, 512).index(b"\0") + 1)
    write("multiboot", name, data)


def acpi(name, memory):
    """RSDP, root tables, MADT; the MP table; the BIOS data words that say where to look."""
    bda = piece(memory, 0x40E, 7)
    rom = memory(0xE0000, 0x20000)
    rsdp = 0xE0000 + rom.index(b"RSD PTR ")
    data = bda + piece(memory, rsdp, 36 if memory(rsdp + 15, 1) >= b"\2" else 20, True)
    rsdt = words(memory, rsdp + 16, "I")[0]
    length = words(memory, rsdt + 4, "I")[0]
    data += piece(memory, rsdt, length, True)
    for table in words(memory, rsdt + 36, f"{(length - 36) // 4}I"):
        if memory(table, 4) == b"APIC":
            data += piece(memory, table, words(memory, table + 4, "I")[0], True)
    write("acpi", name, data)
    for at in range(0xE0000, MIB, 16):  # BIOS code has the signature in it too
        if memory(at, 4) != b"_MP_" or sum(memory(at, 16)) % 256:
            continue
        table = words(memory, at + 4, "I")[0]
        data = bda + piece(memory, at, 16, True) + piece(memory, table, words(memory, table + 4, "H")[0], True)
        write("acpi", name + "-mp", data)


def in_qemu():
    """Stopped at the kernel's first instruction, which QEMU's loader jumps to."""
    with tempfile.TemporaryDirectory() as folder, vm.VM(KERNEL, MODULES, cpus=4, gdb=PORT):
        commands = [f"target remote :{PORT}", f"hbreak *{ENTRY:#x}", "continue", "info registers rbx",
                    f"dump binary memory {folder}/memory 0 {128 * MIB}", "kill"]
        said = subprocess.run(["gdb", "-nx", "-batch", KERNEL.replace("freehold", "freehold64"), *(f"-ex={c}" for c in commands)],
                              capture_output=True, text=True).stdout
        with open(f"{folder}/memory", "rb") as file:
            data = file.read()
    memory = lambda at, n: data[at : at + n]
    multiboot("qemu", memory, int(re.search(r"rbx +0x([0-9a-f]+)", said)[1], 16))
    acpi("qemu", memory)


def in_bochs():
    """Stopped at the kernel's first instruction, where paging is off."""
    with bochs.Debugger(KERNEL, MODULES, cpus=4) as machine:
        machine.command(f"pb {ENTRY:#x}")
        machine.command("c", 120)
        info = int(re.search(r"rbx: *([0-9a-f_]+)", machine.command("r"))[1].replace("_", ""), 16) & 0xFFFFFFFF
        with tempfile.TemporaryDirectory() as folder:
            machine.command(f'writemem "{folder}/memory" 0 {128 * MIB}', 300)
            with open(f"{folder}/memory", "rb") as file:
                data = file.read()
    memory = lambda at, n: data[at : at + n]
    multiboot("grub", memory, info)
    acpi("bochs", memory)


def step(call, who=0, frame=0, other=0, n=1, index=0, op=0, bits=0, noise_what=0, noise_entry=0, more=0, edge=0):
    return bytes((call, who, frame, other, n, index, op, bits, noise_what, noise_entry, more, edge))


def table():
    """System calls at their edges (struct step in table.c). Frames by their codes: 3 to 6 are root's PT1 to PT4, 13 to 16 those of
    env 1, whose pages 17 to 19 are mapped from slot 0 on; 22 is a page of its own, 43 a window granted to env 3, 34 that one's
    PT2; from 45 on they are FREE; 224 to 245 are the special ones."""
    special, ops = range(224, 246), range(10)
    ALLOC, FREE, RETYPE, GRANT, WITHDRAW, TAKE, BATCH, SET = 0, 1, 2, 3, 4, 5, 12, 13
    write("table", "edge-511", b"".join(step(SET, 0, 6, other, 1, 3, op, edge=1) for op in ops for other in (5, 50)) +
          b"".join(step(BATCH, 0, t, 50, 2, 3 if t < 6 else 2, op, edge=1) for op in ops for t in (3, 6)))
    write("table", "edge-pfn", b"".join(step(SET, 0, 3, f, 1, 5, 1, bits) for f in special for bits in (1, 2)))
    write("table", "edge-large", b"".join(step(SET, 0, 4, f, 1, 5, op, bits) for f in range(231, 243) for op in (1, 6) for bits in (18, 19)))
    write("table", "edge-run", b"".join(step(call, 0, f, 0, n, edge=e) for call in (ALLOC, FREE) for f in special for n, e in ((9, 0),))
          + b"".join(step(call, 0, f, 0, 1, edge=8) for call in (ALLOC, FREE, TAKE) for f in (45, 242, 244)))
    write("table", "edge-types", b"".join(step(SET, 0, 3, f, 1, 5, 1, bits) for f in (3, 4, 5, 6, 0, 44, 9, 22) for bits in (1, 2, 3)))
    write("table", "edge-foreign", b"".join(step(SET, 3, t, 31, 1, 0, op) for op in ops for t in (13, 14, 15)) +
          b"".join(step(call, 3, f, op=2, more=3) for call in (FREE, RETYPE, GRANT, WITHDRAW, TAKE) for f in (13, 17, 22, 43)))
    write("table", "window", step(SET, 3, 34, 43, 1, 9, 1, 1) + step(WITHDRAW, 1, 43) + step(GRANT, 1, 43, more=3) +
          step(SET, 3, 34, 43, 1, 9, 1, 1) + step(SET, 3, 34, 43, 1, 9, 4) + step(WITHDRAW, 1, 43) + step(GRANT, 1, 43, more=2))
    reuse = lambda op, slot: step(SET, 1, 13, 0, 1, slot, op)
    write("table", "reuse", reuse(4, 0) + step(GRANT, 1, 17, more=3) + step(TAKE, 3, 17) + reuse(7, 1) + step(ALLOC, 3, 18, more=3) +
          reuse(4, 2) + step(RETYPE, 1, 19, op=3) + step(FREE, 3, 18) + step(ALLOC, 1, 18, more=1, op=1) +
          step(RETYPE, 1, 22, op=4) + step(SET, 1, 15, 22, 1, 7, 1, 1) + step(SET, 1, 15, 0, 1, 7, 4) + step(RETYPE, 1, 22, op=2))


def full():
    """As many pieces of RAM, and modules, as there is room for; one more of each."""
    def tables(name, npieces, nmodules):
        map = b"".join(struct.pack("<IQQI", 20, MIB * 2 * i, MIB, 1) for i in range(npieces))
        starts = [MIB * (4 + 2 * (i // 8)) + 8192 * (i % 8) for i in range(nmodules)]
        modules = b"".join(struct.pack("<IIII", start, start + 5000, 0x500, 0) for start in starts)
        info = struct.pack("<13I", 1 << 6 | 1 << 3, 0, 0, 0, 0, nmodules, 0x8000, 0, 0, 0, 0, len(map), 0x9000)
        pieces = b"".join(struct.pack("<IH", at, len(data)) + data for at, data in ((0x7000, info), (0x8000, modules), (0x9000, map)))
        write("multiboot", name, struct.pack("<I", 0x7000) + pieces)

    tables("full", 64, 8)
    tables("full-modules", 8, 32)
    tables("over-ram", 66, 1)
    tables("over-modules", 8, 34)


def segments(name, n):
    """A program of n segments, each a page."""
    head = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x400000, 64, 0, 0, 64, 56, n, 0, 0, 0)
    body = b"".join(struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000 + 4096 * i, 0, 1, 4096, 0) for i in range(n))
    write("elf", name, struct.pack("<HHI", 3, 7, len(head + body)) + head + body)


def moving():
    """Position-independent, one segment at 0 that holds all, one relocation, a note that names a layout."""
    at = 64 + 3 * 56
    note = struct.pack("<III12s20s", 9, 20, 0x4648, b"Freehold", b"freehold")
    dynamic = struct.pack("<6Q", 7, at + 48 + 48, 8, 24, 0, 0)
    rela = struct.pack("<QQq", at, 8, 0x1234)
    rest = note + bytes(48 - len(note)) + dynamic + rela
    load = lambda type, offset, n: struct.pack("<IIQQQQQQ", type, 5, offset, offset, 0, n, n, 8)
    head = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 3, 0, 0, 0)
    file = head + load(1, 0, at + len(rest)) + load(4, at, len(note)) + load(2, at + 48, 48) + rest
    write("elf", "moving", struct.pack("<HHI", 3, 7, len(file)) + file)


def shell():
    up, down = b"\x1b[A", b"\x1b[B"
    write("shell", "history", b"".join(b"ls %d\r" % i for i in range(40)) + 40 * up + 40 * down + b"\r")
    write("shell", "words", b"help" + 40 * b" a" + b"\rrun" + 29 * b" b" + b" c&\rhelp;" + 31 * b" d" + b"\r" + 32 * b" e" + b"\r")
    write("shell", "long", b"x" * 300 + b"\x01" + b"y" * 9 + b"\x0b\x15\x17\r")


def elf():
    """Headers, and how long the file is; what stands in it is nobody's concern. Shortened to what the target takes."""
    for name in ("root", "hello"):
        with open(f"build/debug/{name}.elf", "rb") as file:
            data = file.read()
        head = data[: 64 + 56 * struct.unpack_from("<H", data, 56)[0]]
        write("elf", name, struct.pack("<HHI", 3, 7, len(data)) + head)


elf()
segments("segments", 16)
segments("segments-over", 18)
moving()
full()
table()
shell()
in_qemu()
in_bochs()
