"""A virtual machine with Freehold in it: start it, talk to its serial console, learn how it ended.

    with VM("build/freehold.elf", ["build/root.elf", "build/sh.elf"], cpu="max") as vm:
        vm.expect(r"fh> $", 30)
        vm.send("halt 3\n")
        assert vm.wait(30).code == 3
"""
import codecs, collections, ctypes, os, re, select, signal, subprocess, tempfile, time

# The kernel writes v to isa-debug-exit and QEMU exits with 2v+1 (FH_EXIT_* in abi.h). Our own codes are above 100.
EXIT_BOOT, EXIT_PANIC, EXIT_HALT, HALT_MAX = 16, 17, 32, 63
PANIC, REFUSED, NO_VERDICT, QEMU_FAILED, TIMEOUT = 101, 102, 103, 104, 124

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


def decode(exit_code, qemu_log, qemu_stderr=""):
    """What QEMU's exit code says about the guest."""
    value = exit_code // 2 if exit_code > 0 and exit_code % 2 else None
    if value == EXIT_BOOT:
        return Status(REFUSED, "the kernel refused to boot")
    if value == EXIT_PANIC:
        return Status(PANIC, "kernel panic")
    if value is not None and EXIT_HALT <= value <= EXIT_HALT + HALT_MAX:
        code = value - EXIT_HALT
        return Status(code, f"the machine halted with code {code}" if code else "")
    if exit_code == 0:
        cause = "triple fault" if "Triple fault" in qemu_log else "the machine reset or powered off without a verdict"
        return Status(NO_VERDICT, cause)
    return Status(QEMU_FAILED, " ".join(f"QEMU failed ({exit_code}): {qemu_stderr}".split()))


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no QEMU survives us, however we end


class VM:
    """One run. Arguments are those of qemu_command; echo gets console bytes as they come, log is a file's name.
    With tty, QEMU owns the terminal and its monitor (Ctrl-A c; Ctrl-A x quits); there is only wait() then."""

    def __init__(self, kernel, modules=(), echo=None, log=None, tty=False, **options):
        self.transcript = ""
        self._seen = 0  # expect() has used up the transcript to here
        self.open = not tty  # the console may still say something
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._sinks = [echo] if echo else []
        self._log = open(log, "wb", buffering=0) if log else None
        if self._log:
            self._sinks.append(self._log.write)
        # -d cpu_reset costs nothing and tells a triple fault from a reset.
        self._qemu_log = tempfile.NamedTemporaryFile("r", prefix="qemu-", suffix=".log", errors="replace")
        self._stderr = tempfile.TemporaryFile("w+", errors="replace")
        mux = ",mux=on" if tty else ""
        command = qemu_command(kernel, modules, **options) + ["-d", "cpu_reset", "-D", self._qemu_log.name]
        command += ["-chardev", f"stdio,id=console,signal=off{mux}", "-serial", "chardev:console"]
        command += ["-mon", "chardev=console"] if tty else []
        pipe = None if tty else subprocess.PIPE
        self.qemu = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=None if tty else self._stderr,
                                     preexec_fn=_die_with_parent)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def kill(self):
        if self.qemu.poll() is None:
            self.qemu.kill()
        self.qemu.wait()
        for file in (self.qemu.stdin, self.qemu.stdout, self._log, self._qemu_log, self._stderr):
            if file:
                try:
                    file.close()
                except BrokenPipeError:
                    pass

    def pump(self, seconds):
        """Take in what the console prints, waiting up to so long for it; false when there was nothing."""
        if not self.open or not select.select([self.qemu.stdout], [], [], max(0, seconds))[0]:
            return False
        data = os.read(self.qemu.stdout.fileno(), 65536)
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
        """Type. QEMU takes bytes from the pipe only as fast as the guest's UART does."""
        try:
            self.qemu.stdin.write(text.encode())
            self.qemu.stdin.flush()
        except BrokenPipeError:
            pass  # it has just ended: wait() says how

    def wait(self, timeout=None):
        """Wait for the end and say how it came; after the timeout, kill."""
        end = time.monotonic() + timeout if timeout else float("inf")
        while self.open and time.monotonic() < end:
            self.pump(min(3600, end - time.monotonic()))
        try:
            exit_code = self.qemu.wait(max(1, end - time.monotonic()) if timeout else None)
        except subprocess.TimeoutExpired:
            self.qemu.kill()
            return Status(TIMEOUT, f"timeout: killed after {timeout:g} s")
        self._stderr.seek(0)
        return decode(exit_code, self._qemu_log.read(), self._stderr.read())

    def tail(self, lines=40):
        """The end of the transcript, for a report."""
        return self.transcript.replace("\r", "").split("\n")[-lines:]
