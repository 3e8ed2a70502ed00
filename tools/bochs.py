"""Freehold in Bochs: a Machine as vm.VM is, and Bochs' debugger.

The image is a CD made for this run. COM1 is a socket, so that nothing is lost either way. The debugger is part of Debian's
Bochs: a run goes through it, by itself (a command file with `c`), with a person at it (tty), or with a program (Debugger).
Bochs knows no exit status for the guest: the kernel's last line on the console says what it would have been.
"""
import glob, os, re, select, socket, subprocess, tempfile, time
import iso, vm

CPU, CPU_IN_QEMU = "corei7_skylake_x", "max,-umip"  # SMEP and SMAP
PLUGINS = "/usr/lib/*/bochs/plugins/libbx_%s_gui.so"
LAST_LINE = re.compile(r"\r?\nfreehold: (halted|stopped) with code (\d+)\r?\n$")
PROMPT = re.compile(rb"<bochs:\d+> $")
CONNECT = 20  # seconds for Bochs to come up


def display():
    """The value of bochsrc's display_library: the one asked for by the environment, or the one that is in every package and
    waits for nobody. Not `term`: it draws on a terminal of its own, and when nobody reads that and it is full, Bochs stands."""
    asked = os.environ.get("DISPLAY_LIBRARY")
    if asked and asked != "rfb":
        if glob.glob(PLUGINS % asked):
            return f'{asked}, options=""'
        print(f"bochs: display library {asked} is not installed (Debian: bochs-{asked.rstrip('0123456789')})", flush=True)
    return 'rfb, options="timeout=0"'


def mebibytes(size):
    return int(size[:-1]) * (1024 if size[-1] == "G" else 1)


class Bochs(vm.Machine):
    """Arguments as of vm.VM, but `cpu` is one of Bochs' models (bochs --help cpu). tty: the debugger's commands come from
    this terminal. debugger: from a program, by self.process' pipes. symbols: a file for debug_symbols."""

    def __init__(self, kernel, modules=(), echo=None, log=None, tty=False, debugger=False, symbols=None, cpus=1, mem="128M",
                 cpu=CPU, append=""):
        super().__init__(echo, log)
        self._dir = tempfile.TemporaryDirectory(prefix="bochs-")
        image, self._bochs_log, commands, config = (f"{self._dir.name}/{name}" for name in ("iso", "log", "rc", "bochsrc"))
        if tty:
            self._bochs_log = "build/bochs.log"  # for the person to read, later
        iso.make_iso(image, kernel, modules, append)
        listener = socket.create_server(("127.0.0.1", 0))
        lines = [f"cpu: model={cpu}, count={cpus}", f"memory: guest={mebibytes(mem)}, host={mebibytes(mem)}",
                 f"ata0-master: type=cdrom, path={image}, status=inserted", f"log: {self._bochs_log}",
                 f"display_library: {display()}", f"magic_break: enabled={int(tty or debugger)}",
                 f"com1: enabled=1, mode=socket-client, dev=127.0.0.1:{listener.getsockname()[1]}"]
        lines += [f"debug_symbols: file={symbols}"] if symbols else []
        with open("bochsrc") as ours, open(config, "w") as file:  # later lines replace earlier ones, but symbols add up
            file.write("".join(line for line in ours if not line.startswith("debug_symbols")) + "\n".join(lines) + "\n")
        command = ["bochs", "-q", "-f", config]
        if not tty and not debugger:
            with open(commands, "w") as file:
                file.write("c\n")
            command += ["-rc", commands]
        self._said = tempfile.TemporaryFile("w+", errors="replace")
        self._files.append(self._said)
        pipe = subprocess.PIPE if debugger else subprocess.DEVNULL
        self.process = subprocess.Popen(command, env={"TERM": "xterm", **os.environ},
                                        stdin=None if tty else pipe,
                                        stdout=None if tty else subprocess.PIPE if debugger else self._said,
                                        stderr=None if tty else self._said, preexec_fn=vm.die_with_parent)
        end = time.monotonic() + CONNECT
        while not select.select([listener], [], [], 0.1)[0]:
            if self.process.poll() is not None or time.monotonic() > end:
                self.open = False  # wait() will say what happened
                return
        link = listener.accept()[0]
        listener.close()
        self.output, self.input = link.makefile("rb", 0), link.makefile("wb", 0)
        link.close()

    def kill(self):
        super().kill()
        self._dir.cleanup()

    def ended(self, exit_code):
        last = LAST_LINE.search(self.transcript)
        status = vm.verdict(int(last[2]) + (vm.EXIT_HALT if last[1] == "halted" else 0)) if last else None
        if status:
            return status
        try:
            with open(self._bochs_log, errors="replace") as file:
                bochs_log = file.read()
        except OSError:
            bochs_log = ""
        panics = re.findall(r".*>>PANIC<<.*", bochs_log)
        if any("3rd" in panic for panic in panics):
            at = re.findall(r"\| RIP=(\w+)|CR2=0x0*(\w+)", bochs_log)
            return vm.no_verdict("triple fault at rip %s, cr2 %s" % (at[-2][0], at[-1][1]) if len(at) > 1 else "triple fault")
        if self.transcript:
            return vm.no_verdict()
        self._said.seek(0)
        why = panics or self._said.read().split("\n")[-5:]
        return vm.Status(vm.SIM_FAILED, " ".join(f"Bochs failed ({exit_code}): {' '.join(why)}".split()))


class Debugger(Bochs):
    """Bochs' debugger, driven by a program."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, debugger=True, **options)
        self.on_console = lambda: None  # called when the console has said something
        self._answer("")

    def command(self, line, timeout=60):
        """What the debugger says to it. With `c` that is when the machine stops again; vm.Ended: it ended."""
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        return self._answer(line, timeout)

    def _answer(self, line, timeout=60):
        said, end = b"", time.monotonic() + timeout
        while not PROMPT.search(said):
            ready = select.select([self.process.stdout] + ([self.output] if self.open else []), [], [], 1)[0]
            if self.output in ready and self.pump(0):
                self.on_console()
            if self.process.stdout in ready:
                data = os.read(self.process.stdout.fileno(), 1 << 20)
                if not data:
                    self.said = said.decode(errors="replace")  # its last words
                    raise vm.Ended(f"the machine ended after {line!r}")
                said += data
            if time.monotonic() > end:
                raise vm.Timeout(f"no answer to {line!r} within {timeout} s")
        return PROMPT.sub(b"", said).decode(errors="replace").replace(line, "", 1).lstrip("\n")


def machine(sim, *arguments, **options):
    """A machine in the simulator of that name."""
    return {"qemu": vm.VM, "bochs": Bochs}[sim](*arguments, **options)
