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


def full():
    """As many pieces of RAM and modules as there is room for; the BIOS data area follows the map."""
    map = b"".join(struct.pack("<IQQI", 20, MIB * 2 * i, MIB + 4096 * (i % 2), 1 + i % 9 // 8) for i in range(64))
    modules = b"".join(struct.pack("<IIII", MIB * (4 + 36 * (i // 8)) + 8192 * (i % 8), MIB * (4 + 36 * (i // 8)) + 8192 * (i % 8) + 5000, 0x500, 0)
                       for i in range(32))
    info = struct.pack("<IIIIIII4III", 1 << 6 | 1 << 3, 0, 0, 0, 0, 32, 0x8000, 0, 0, 0, 0, len(map), 0x9000)
    pieces = struct.pack("<IH", 0x7000, len(info)) + info + struct.pack("<IH", 0x8000, len(modules)) + modules
    write("multiboot", "full", struct.pack("<I", 0x7000) + pieces + struct.pack("<IH", 0x9000, len(map)) + map)


def elf():
    """Headers, and how long the file is; what stands in it is nobody's concern. Shortened to what the target takes."""
    for name in ("root", "hello"):
        with open(f"build/debug/{name}.elf", "rb") as file:
            data = file.read()
        head = data[: 64 + 56 * struct.unpack_from("<H", data, 56)[0]]
        write("elf", name, struct.pack("<HHI", 3, 7, len(data)) + head)


elf()
full()
in_qemu()
in_bochs()
