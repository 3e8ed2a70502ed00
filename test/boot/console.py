#!/usr/bin/env python3
"""A person at the console: keys echo, the line is edited, old lines come back, Ctrl-C ends the program in the foreground,
Ctrl-P prints the state at any time; the screen shows what the serial line does."""
import glob, json, os, re, socket, sys, tempfile
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../tools"))
import vm

SPINNER = "build/test/envs.elf"  # `run envs spin` never ends and never yields
OTHERS = ("freehold", "freehold64", "pass1", "root")
UP, DOWN, LEFT, RIGHT, HOME, END, DELETE = "\033[A", "\033[B", "\033[D", "\033[C", "\033[H", "\033[F", "\033[3~"
PROMPT = r"fh> [ \b]*$"  # the editor wipes what was there with blanks and goes back
WAIT = 20


def modules():
    names = sorted(f for f in glob.glob("build/*.elf") if not f.endswith(".debug.elf"))
    return ["build/root.elf"] + [f for f in names if os.path.basename(f)[:-4] not in OTHERS] + [SPINNER]


class Dialogue:
    """Numbered checks on one machine; a check that raises is one that failed."""

    def __init__(self, machine, monitor):
        self.machine, self.monitor, self.count = machine, monitor, 0

    def check(self, sentence, act):
        self.count += 1
        try:
            bad = act() or []
        except (vm.Ended, vm.Timeout) as e:
            bad = [str(e)] + self.machine.tail(30)
        print(f"{'not ok' if bad else 'ok'} {self.count} - {sentence}")
        print("".join(f"# {line}\n" for line in bad), end="", flush=True)
        if bad:  # back to an empty line
            self.machine.send("\x03")
            while self.machine.pump(1):
                pass

    def expect(self, pattern):
        return self.machine.expect(pattern, WAIT)

    def types(self, keys, *patterns):
        """Type; the patterns must come, in this order, and then a prompt."""
        def act():
            self.machine.send(keys)
            for pattern in patterns:
                self.expect(pattern)
            self.expect(PROMPT)
        return act

    def screen(self):
        """The 25 lines of the VGA text screen, as QEMU shows physical memory."""
        with tempfile.NamedTemporaryFile() as dump:
            self.monitor("pmemsave", val=0xb8000, size=4000, filename=dump.name)
            data = dump.read()
        return [data[i:i + 160:2].decode("ascii", "replace") for i in range(0, 4000, 160)]


def monitor_at(machine, path):
    """Talks to QEMU's machine protocol: a function that runs one command."""
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(WAIT)
    for _ in range(100):
        try:
            link.connect(path)
            break
        except (FileNotFoundError, ConnectionRefusedError):  # not yet bound, or bound and not yet listening
            machine.pump(0.1)
    file = link.makefile("rw")

    def command(name, **arguments):
        file.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        file.flush()
        while True:
            answer = json.loads(file.readline())
            if "return" in answer or "error" in answer:
                return answer

    file.readline()  # the greeting
    command("qmp_capabilities")
    return command


def boot_lines(d):
    d.expect(r"Freehold \d.*frames free")
    d.expect(PROMPT)


def screen_shows(d, *patterns):
    def act():
        while d.machine.pump(0.3):  # it is drawn at the next tick at the latest
            pass
        lines = d.screen()
        missing = [p for p in patterns if not any(re.search(p, line) for line in lines)]
        return [f"not on the screen: {p}" for p in missing] + (["|" + line.rstrip() for line in lines] if missing else [])
    return act


def spins(d):
    d.machine.send("run envs spin\n")
    d.expect(r"run envs spin\r?\n")
    if d.machine.pump(1):
        return ["it does not spin"] + d.machine.tail(10)


def state_dump(d):
    d.machine.send("\x10")
    for pattern in (r"---- state: clock \d+ ----", r"cpu 0: slices begun \d+, idle \d+ times, thread [1-9a-f]", r"env [0-9a-f]+: parent [0-9a-f]+ owns \d+ of \d+",
                    r"thread [0-9a-f]+: env [0-9a-f]+ (READY|RUNNING|SLEEPING)", r"\d+ frames FREE", r"---- end of state ----"):
        d.expect(pattern)


def interrupt(d):
    d.machine.send("\x03")
    d.expect(r"\^C")
    d.expect(PROMPT)


def keyboard(d):
    """The PS/2 keyboard, beside the serial line: QEMU presses the keys."""
    for key in ("shift-h", "backspace", "h", "e", "l", "p", "ret"):
        d.monitor("human-monitor-command", **{"command-line": f"sendkey {key}"})
        d.machine.pump(0.2)
    d.expect(r"this page")
    d.expect(PROMPT)


def ends(d, keys, code):
    def act():
        d.machine.send(keys)
        status = d.machine.wait(WAIT)
        if status.code != code:
            return [f"status {status.code}: {status.text}"] + d.machine.tail(20)
    return act


def talk(d):
    t, check = d.types, d.check
    check("the boot lines come, and a prompt", lambda: boot_lines(d))
    check("they are on the screen too", screen_shows(d, r"^Freehold \d", r"^table: ", r"^root: ", r"^fh> +$"))
    check("keys echo", lambda: (d.machine.send("fra"), d.expect(r"fra$"), None)[-1])
    check("Ctrl-U clears the line", t("\x15"))
    check("a command runs", t("help\n", r"help\r?\n", r"this page", r"power off"))
    check("backspace takes back", t("hekq\b\x7flp\n", r"this page"))
    check("a letter is put in after going left", t("hlp" + LEFT * 2 + "e\n", r"this page"))
    check("Home, Delete, End", t("xhel" + HOME + DELETE + END + "p\n", r"this page"))
    check("Ctrl-A, Ctrl-K, Ctrl-E, Ctrl-B, Ctrl-F", t("helpxxx\x01\x06\x06\x06\x06\x0b\x01\x05\x02\x06\n", r"this page"))
    check("Ctrl-W takes a word back", t("halt 3\x17\x17help\n", r"this page"))
    check("Tab completes a module's name", t("bu\t\n", r"usage: bugs"))
    check("Tab completes", t("modu\t\n", r"root +\d+ bytes"))
    check("Up brings the last line back", t(UP + "\n", r"root +\d+ bytes"))
    check("and the ones before, Down the later ones", t(UP * 2 + DOWN + "\n", r"root +\d+ bytes"))
    check("a line that was begun is kept meanwhile", t("fram" + UP + DOWN + "es\n", r"FREE"))
    check("Ctrl-C drops the line", t("halt 9\x03", r"\^C"))
    check("a line of 600 letters is cut, not fatal", t("z" * 600 + "\n", r"no such command"))
    check("bytes that are no keys are ignored", t("\x00\x01\x7f\x80\xff\033[99~\033OQ\033\033[A\x15help\n", r"this page"))
    check("commands are separated by semicolons", t("ps; envs\n", r"thread", r"env"))
    check("an unknown command is said to be", t("nonsense\n", r"nonsense: no such command"))
    check("a program spins in the foreground", lambda: spins(d))
    check("Ctrl-P prints the state while it does", lambda: state_dump(d))
    check("Ctrl-C ends it, and the prompt is back", lambda: interrupt(d))
    check("its frames are all given back", t("run demo heap\n", r"demo: 1 shown, 0 checks failed"))
    check("the PS/2 keyboard types as well", lambda: keyboard(d))
    check("the screen scrolls, and ends with the prompt", screen_shows(d, r"Ctrl-P", r"^fh> +$"))
    check("halt 5 ends the machine with 5", ends(d, "halt 5\n", 5))


print("1..27")
with tempfile.TemporaryDirectory() as scratch:
    path = os.path.join(scratch, "qmp")
    with vm.VM("build/freehold.elf", modules(), extra=["-qmp", f"unix:{path},server=on,wait=off"],
               log="build/test-logs/console.console") as machine:
        talk(Dialogue(machine, monitor_at(machine, path)))
