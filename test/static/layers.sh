#!/bin/sh
# Dependencies point down only: user -> libos -> abi.h (DESIGN 8). And the reference page is the header's.
cd "$(dirname "$0")/../.." || exit 1
n=0
# check SENTENCE OFFENDERS: passes when there are none
check() {
	n=$((n + 1))
	if [ -z "$2" ]; then echo "ok $n - $1"; else echo "not ok $n - $1"; echo "$2" | head -n 20 | sed 's/^/# /'; fi
}

echo 1..4
check "user code includes no kernel header but abi.h" \
	"$(grep -rnE '#include.*(kern/|machine/mach)' src/libos user test/guest test/hostile test/bench 2>/dev/null)"
check "the kernel includes nothing of the kit" "$(grep -rnE '#include.*libos' src/kern src/boot)"
check "frame.c, grant.c and pt.c are pure C" "$(grep -nwE 'asm|__asm__' src/kern/frame.c src/kern/grant.c src/kern/pt.c)"
check "docs/abi.md is what 'make docs' makes" "$(tools/abidoc.py src/kern/abi.h 2>&1 | diff docs/abi.md - 2>&1)"
