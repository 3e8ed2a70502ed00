#!/usr/bin/env python3
"""Files for editors, on standard output.

    make -Bn V=1 objects | tools/ide.py compile_commands.json     every C file's compiler command, for clangd
    tools/ide.py .gdbinit BUILD PORT                              for gdb started by hand in this directory
    tools/ide.py launch.json BUILD PORT                           VS Code (its C/C++ extension): debug the machine
    tools/ide.py tasks.json BUILD PORT                            ... and start it"""
import json, os, re, shlex, subprocess, sys

TOP = os.getcwd()
GDBINIT = """# Made by `make ide`. gdb reads it if you allow it once, in ~/.config/gdb/gdbinit:  add-auto-load-safe-path {top}
set confirm off
file {build}/freehold64.elf
source tools/gdb/fh.py
define freehold
  target remote :{port}
end
document freehold
Connect to the machine that `make qemu-gdb` started.
end
"""


def compile_commands():
    shell = lambda match: subprocess.run(match[1], shell=True, capture_output=True, text=True).stdout.strip()
    for line in sys.stdin:
        words = shlex.split(re.sub(r"\$\(([^()]*)\)", shell, line)) if " -c -o " in line else [""]
        if words[-1].endswith(".c"):
            yield {"directory": TOP, "file": words[-1], "arguments": words}


def launch(build, port):
    return {"version": "0.2.0", "configurations": [{
        "name": "Freehold in QEMU", "type": "cppdbg", "request": "launch", "cwd": TOP, "MIMode": "gdb",
        "program": f"{TOP}/{build}/freehold64.elf", "miDebuggerServerAddress": f"localhost:{port}",
        "stopAtConnect": True, "preLaunchTask": "qemu-gdb",
        "setupCommands": [{"text": f"source {TOP}/tools/gdb/fh.py"}]}]}


def tasks(build, port):
    debug = " DEBUG=1" if build.endswith("debug") else ""
    return {"version": "2.0.0", "tasks": [{
        "label": "qemu-gdb", "type": "shell", "command": f"make qemu-gdb{debug}", "isBackground": True,
        "problemMatcher": {"pattern": {"regexp": "^(.+\\.[ch]):(\\d+): (.*)$", "file": 1, "line": 2, "message": 3},
                           "background": {"activeOnStart": True, "beginsPattern": "^ ", "endsPattern": "waits for gdb"}}}]}


def main(name, build="", port=""):
    if name == ".gdbinit":
        print(GDBINIT.format(top=TOP, build=build, port=port), end="")
    else:
        made = {"compile_commands.json": lambda *_: list(compile_commands()), "launch.json": launch, "tasks.json": tasks}
        print(json.dumps(made[name](build, port), indent=1))


main(*sys.argv[1:])
