#!/usr/bin/env python3
"""Make a CD image that GRUB boots Freehold from: in Bochs, in QEMU (-cdrom), on a PC with a legacy BIOS, from a CD or
written to a USB stick as it is. GRUB hands over the command lines that QEMU's -kernel and -initrd would."""
import argparse, os, shutil, subprocess, tempfile

GRUB = "/usr/lib/grub/i386-pc"
MODULES = "multiboot iso9660 biosdisk normal configfile part_msdos part_gpt"


def make_iso(image, kernel, modules, append=""):
    """modules: 'file args', the first is root, as for QEMU's -initrd."""
    with tempfile.TemporaryDirectory(prefix="iso-") as root:
        lines = [f"multiboot /{kernel} {kernel} {append}"]
        lines += [f"module /{module.split()[0]} {module}" for module in modules]
        for file in [kernel] + [module.split()[0] for module in modules]:
            os.makedirs(os.path.dirname(f"{root}/{file}"), exist_ok=True)
            shutil.copy(file, f"{root}/{file}")
        os.makedirs(f"{root}/boot/grub")
        with open(f"{root}/boot/grub/grub.cfg", "w") as config:
            config.write("\n".join(lines + ["boot", ""]))
        run = subprocess.run(["grub-mkrescue", "-d", GRUB, "--install-modules=" + MODULES, "--fonts=", "--locales=",
                              "--themes=", "-o", image, root], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if run.returncode:
            raise RuntimeError(f"grub-mkrescue failed:\n{run.stdout}")


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("image")
    p.add_argument("--kernel", default="build/freehold.elf")
    p.add_argument("--modules", default="build/root.elf", help="'file args,file args'; the first is root")
    p.add_argument("--append", default="", help="kernel command line")
    a = p.parse_args()
    make_iso(a.image, a.kernel, [m for m in a.modules.split(",") if m], a.append)
