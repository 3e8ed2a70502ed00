#!/bin/sh
# What `make ide` writes: every C file has a compiler command that works for clang too, the rest is what editors can read.
cd "$(dirname "$0")/../.." || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL
n=0
# check SENTENCE OFFENDERS: passes when there are none
check() {
	n=$((n + 1))
	if [ -z "$2" ]; then echo "ok $n - $1"; else echo "not ok $n - $1"; echo "$2" | head -n 20 | sed 's/^/# /'; fi
}

echo 1..4
list=$(mktemp)
trap 'rm -f "$list"' EXIT
make -Bn V=1 objects | tools/ide.py compile_commands.json >"$list"
check "every C file of kernel, kit and programs is listed" \
	"$(for f in src/kern/*.c src/libos/*.c user/*.c user/*/*.c; do grep -q "\"$f\"" "$list" || echo "$f"; done)"
check "clang understands the commands" "$(python3 - "$list" <<'END' 2>&1
import json, subprocess, sys
for entry in json.load(open(sys.argv[1])):
    if entry["file"] in ("src/kern/pt.c", "src/libos/heap.c", "user/sh/run.c"):
        words = entry["arguments"][1:entry["arguments"].index("-MMD")]
        subprocess.run(["clang", "-fsyntax-only", *words, entry["file"]], cwd=entry["directory"])
END
)"
check "VS Code's files are JSON, and name files that exist" "$(for f in launch tasks; do
	tools/ide.py $f.json build 25000 | python3 -c 'import json, sys
for word in json.dumps(json.load(sys.stdin)).split("\""):
    path = word.split()[-1] if word.split() else ""
    if path.startswith("/") and not __import__("os").path.exists(path): print("no", path)' 2>&1; done)"
check "gdb reads .gdbinit" "$(tools/ide.py .gdbinit build 25000 >"$list"; gdb -q -nx -batch -x "$list" -ex 'help fh' 2>&1 | grep -q '^fh audit' || echo 'no fh in it')"
