#!/bin/sh
# gcc and clang compile every source without a warning, release and debug. (Warnings are errors.)
cd "$(dirname "$0")/../.." || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL
n=0
echo 1..4
for cc in gcc clang; do
	for debug in 0 1; do
		n=$((n + 1))
		if out=$(make -j2 CC=$cc DEBUG=$debug O=build/static/$cc-$debug objects 2>&1); then
			echo "ok $n - $cc, DEBUG=$debug"
		else
			echo "not ok $n - $cc, DEBUG=$debug"
			echo "$out" | sed 's/^/# /'
		fi
	done
done
