#!/bin/sh
# The layouts' tables are sound; every numbered line of each layout has one test, or a reason for having none; docs/layouts.md
# is what the tables say.
cd "$(dirname "$0")/../.." || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL
n=0
line() {
	n=$((n + 1))
	if [ -z "$2" ]; then echo "ok $n - $1"; else echo "not ok $n - $1"; echo "$2" | sed 's/^/# /'; fi
}
tool=build/layouts/tool
line "the tables are sound" "$(make $tool 2>&1 >/dev/null; $tool check 2>&1)"
$tool docs >build/layouts/docs.md
line "docs/layouts.md is up to date (make docs)" "$(cmp docs/layouts.md build/layouts/docs.md 2>&1)"
for layout in $(sed -n 's/^X(\(.*\))$/\1/p' src/libos/layout/list.h); do
	[ "$layout" = freehold ] && continue # every other guest test is its test
	other=$(sed -n 's/^#include "\(.*\.c\)".*/\1/p' test/layout/"$layout".c 2>/dev/null) # the tests of another table with the same rules
	test=$(cat test/layout/"$layout".c test/layout/"$layout"/*.c ${other:+test/layout/"$other"} 2>/dev/null)
	total=$(echo "$test" | sed -n 's/^const unsigned lines_total = \([0-9]*\);$/\1/p')
	wrong=
	[ -n "$total" ] || wrong="test/layout/$layout.c doesn't say how many lines there are (lines_total)"
	for i in $(seq "${total:-0}"); do
		tests=$(echo "$test" | grep -cE "^[[:space:]]*\{$i, \"")
		reasons=$(grep -c "^- $layout\.$i: " docs/layouts.md)
		[ $((tests + reasons)) = 1 ] || wrong="$wrong
$layout.$i has $tests tests and $reasons reasons for none"
	done
	extra=$(echo "$test" | sed -n 's/^[[:space:]]*{\([0-9][0-9]*\), ".*/\1/p' | awk -v t="${total:-0}" '$1 > t')
	[ -z "$extra" ] || wrong="$wrong
there is no line $extra"
	line "$layout: each of its ${total:-?} lines has one test, or a reason" "$wrong"
done
echo "1..$n"
