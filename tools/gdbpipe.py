"""gdb with Freehold's commands, driven by a program."""
import re, subprocess, time


class Gdb:
    """gdb on the other end of two pipes."""

    def __init__(self, kernel="build/freehold64.elf"):
        settings = [word for s in ("pagination off", "confirm off", "width 0") for word in ("-ex", f"set {s}")]
        self.process = subprocess.Popen(["timeout", "120", "gdb", "-q", "-nx", *settings, kernel, "-x", "tools/gdb/fh.py"],
                                        stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.asked = 0
        self.ask("")

    def ask(self, command):
        """What gdb prints in answer."""
        self.asked += 1
        end = f"@answered-{self.asked}@"
        try:
            self.process.stdin.write(f"{command}\necho \\n{end}\\n\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return "gdb has ended"
        lines = []
        for line in self.process.stdout:
            if line.strip() == end:
                break
            lines.append(line.replace("(gdb) ", ""))
        return "".join(lines).strip()

    def connect(self, where):
        """To a simulator that may not have made its socket yet; for half a minute."""
        for _ in range(300):
            answer = self.ask(f"target remote {where}")
            if not re.search("No such file|refused", answer):
                break
            time.sleep(0.1)
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.stdout.read()
        self.process.wait(30)
