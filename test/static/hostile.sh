#!/bin/sh
# docs/hostile.md: each class of attack has a program in test/hostile, or a line that says why not; its table is what the programs say
# of themselves. With -w: write the table.
cd "$(dirname "$0")/../.." || exit 1
page=docs/hostile.md
# The rows: number, program, its opening comment.
rows() {
	for f in test/hostile/[0-9]*.c; do
		n=$(basename $f .c)
		sed -n "1s,^/\* [0-9]*: \(.*\) \*/\$,| ${n%%-*} | [${n#*-}](../$f) | \1 |,p" $f
	done
}
table=$(rows)
if [ "$1" = -w ]; then
	{ sed '/^| 01 /,$d' $page; echo "$table"; sed '1,/^| 53 /d' $page; } >build/hostile.md && mv build/hostile.md $page
	exit
fi
echo 1..3
if [ "$(grep '^| [0-9]' $page)" = "$table" ]; then
	echo "ok 1 - the table of $page is what the programs say of themselves"
else
	echo "not ok 1 - the table of $page is what the programs say of themselves: test/static/hostile.sh -w writes it"
	echo "$table" | diff - $page | grep '^[<>] | [0-9]' | sed 's/^/# /'
fi
# The list of classes itself: "12. ...", several to a line.
listed=$(sed '/^## /,$d' $page | grep -oE '(^|— )[0-9]+\. ' | grep -oE '[0-9]+' | sort -n)
missing=$(for n in $listed; do
	echo "$table" | grep -q "^| $(printf %02d "$n") " || grep -q "^- $n: " $page || echo "$n"
done)
if [ -n "$listed" ] && [ -z "$missing" ]; then
	echo "ok 2 - $(echo "$listed" | wc -l) classes: each has a program or a reason"
else
	echo "not ok 2 - each class has a program or a reason"
	echo "$missing" | sed 's/^/# class /'
fi
stray=$(echo "$table" | sed 's/^| 0*\([0-9]*\) .*/\1/' | while read -r n; do echo "$listed" | grep -qx "$n" || echo "$n"; done)
if [ -z "$stray" ]; then echo "ok 3 - each program has a class"; else echo "not ok 3 - no such class: $stray"; fi
