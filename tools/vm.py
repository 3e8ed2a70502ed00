"""A virtual machine with Freehold in it: start it, talk to its serial console, learn how it ended.

    with VM("build/freehold.elf", ["build/root.elf", "build/sh.elf"], cpu="max") as vm:
        vm.expect(r"fh> $", 30)
        vm.send("halt 3\n")
        assert vm.wait(30).code == 3

VM is QEMU; Bochs (bochs.py) is the other Machine, with the same arguments.
"""
import codecs, collections, ctypes, os, re, select, signal, subprocess, tempfile, time

# The kernel writes v to isa-debug-exit and QEMU exits with 2v+1 (FH_EXIT_* in abi.h). Our own codes are above 100.
EXIT_BOOT, EXIT_PANIC, EXIT_HALT, HALT_MAX = 16, 17, 32, 63
PANIC, REFUSED, NO_VERDICT, SIM_FAILED, TIMEOUT = 101, 102, 103, 104, 124

Status = collections.namedtuple("Status", "code text")  # text: one line; empty after a plain halt with code 0


class Ended(Exception):
    """The machine ended while more was expected of it."""


class Timeout(Exception):
    """What was expected did not come in time."""


def qemu_command(kernel, modules, cpus=1, mem="128M", cpu="qemu64", append="", icount=False, gdb=None, extra=()):
    command = ["qemu-system-x86_64", "-accel", "tcg", "-kernel", kernel, "-m", str(mem), "-smp", str(cpus), "-cpu", cpu]
    command += ["-display", "none", "-vga", "std", "-nic", "none", "-no-reboot", "-monitor", "none"]
    command += ["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]
    if modules:
        command += ["-initrd", ",".join(modules)]
    if append:
        command += ["-append", append]
    if icount:  # one instruction is one nanosecond of machine time, identical from run to run
        command += ["-icount", "shift=0,sleep=off"]
    if gdb:
        command += ["-S", "-gdb", f"tcp::{gdb}", "-no-shutdown"]  # a triple fault stops in gdb
    return command + list(extra)


def verdict(value):
    """What the kernel's last word means, or None: no such word."""
    if value == EXIT_BOOT:
        return Status(REFUSED, "the kernel refused to boot")
    if value == EXIT_PANIC:
        return Status(PANIC, "kernel panic")
    if value is not None and EXIT_HALT <= value <= EXIT_HALT + HALT_MAX:
        code = value - EXIT_HALT
        return Status(code, f"the machine halted with code {code}" if code else "")


def no_verdict(text="the machine reset or powered off without a verdict"):
    return Status(NO_VERDICT, text)


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no QEMU survives us, however we end


class Machine:
    """One run. A subclass starts self.process, sets self.output, which the console's bytes are read from (None: there is
    only wait()), and self.input, and says by ended() what became of it. echo gets console bytes as they come, log is a
    file's name."""

    def __init__(self, echo=None, log=None):
        self.transcript = ""
        self._seen = 0  # expect() has used up the transcript to here
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._sinks = [echo] if echo else []
        self._files = []  # to be closed at the end
        if log:
            os.makedirs(os.path.dirname(log) or ".", exist_ok=True)
            self._files.append(open(log, "wb", buffering=0))
            self._sinks.append(self._files[-1].write)
        self.process = self.input = self.output = None
        self.open = True  # the console may still say something

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for file in [self.input, self.output] + self._files:
            if file:
                try:
                    file.close()
                except BrokenPipeError:
                    pass

    def pump(self, seconds):
        """Take in what the console prints, waiting up to so long for it; false when there was nothing."""
        if not self.open or not select.select([self.output], [], [], max(0, seconds))[0]:
            return False
        try:
            data = os.read(self.output.fileno(), 65536)
        except ConnectionResetError:
            data = b""
        if not data:
            self.open = False
            return False
        for sink in self._sinks:
            sink(data)
        self.transcript += self._decoder.decode(data)
        return True

    def expect(self, pattern, timeout):
        """Wait for the pattern in what has come since the last match; $ is the end of what has come so far."""
        end = time.monotonic() + timeout
        while True:
            match = re.compile(pattern).search(self.transcript, self._seen)
            if match:
                self._seen = match.end()
                return match
            if not self.open:
                raise Ended(f"the machine ended before {pattern!r}")
            if time.monotonic() >= end:
                raise Timeout(f"no {pattern!r} within {timeout} s")
            self.pump(end - time.monotonic())

    def send(self, text):
        """Type. The simulator takes bytes only as fast as the guest's UART does."""
        try:
            self.input.write(text.encode())
            self.input.flush()
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has just ended: wait() says how

    def wait(self, timeout=None):
        """Wait for the end and say how it came; after the timeout, kill."""
        end = time.monotonic() + timeout if timeout else float("inf")
        while self.open and time.monotonic() < end:
            self.pump(min(3600, end - time.monotonic()))
        try:
            exit_code = self.process.wait(max(1, end - time.monotonic()) if timeout else None)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return Status(TIMEOUT, f"timeout: killed after {timeout:g} s")
        return self.ended(exit_code)

    def tail(self, lines=40):
        """The end of the transcript, for a report."""
        return self.transcript.replace("\r", "").split("\n")[-lines:]


class VM(Machine):
    """QEMU. Arguments are those of Machine and qemu_command. With tty, QEMU owns the terminal and its monitor (Ctrl-A c;
    Ctrl-A x quits)."""

    def __init__(self, kernel, modules=(), echo=None, log=None, tty=False, **options):
        super().__init__(echo, log)
        # -d cpu_reset costs nothing and tells a triple fault from a reset.
        self._qemu_log = tempfile.NamedTemporaryFile("r", prefix="qemu-", suffix=".log", errors="replace")
        self._stderr = tempfile.TemporaryFile("w+", errors="replace")
        self._files += [self._qemu_log, self._stderr]
        mux = ",mux=on" if tty else ""
        command = qemu_command(kernel, modules, **options) + ["-d", "cpu_reset", "-D", self._qemu_log.name]
        command += ["-chardev", f"stdio,id=console,signal=off{mux}", "-serial", "chardev:console"]
        command += ["-mon", "chardev=console"] if tty else []
        pipe = None if tty else subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=None if tty else self._stderr,
                                        preexec_fn=die_with_parent)
        self.input, self.output, self.open = self.process.stdin, self.process.stdout, not tty

    def ended(self, exit_code):
        status = verdict(exit_code // 2 if exit_code > 0 and exit_code % 2 else None)
        if status:
            return status
        if exit_code == 0:
            return no_verdict(*["triple fault"] * ("Triple fault" in self._qemu_log.read()))
        self._stderr.seek(0)
        return Status(SIM_FAILED, " ".join(f"QEMU failed ({exit_code}): {self._stderr.read()}".split()))
