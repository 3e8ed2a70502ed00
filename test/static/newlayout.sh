#!/bin/sh
# A layout is one file and one line: flat's table under another name, with its image, stack and heap elsewhere, in a copy of the
# tree, and flat's program in it. Built, booted, run; nothing else is changed. (docs/layouts.md, "A layout of your own".)
cd "$(dirname "$0")/../.." || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL
tree=build/static/newlayout
rm -rf $tree
mkdir -p $tree/build/include $tree/build/layouts
make -j2 all >/dev/null 2>&1
# What is built already is not built again: times are kept.
cp -pr GNUmakefile src user test tools $tree
cp -pr build/*.elf build/obj build/flags build/include build/layouts build/asm.h build/libkit.a $tree/build
cd $tree || exit 1

sed 's/flat/low/g; s/0x100000,/0x200000,/; s/0xff800000/0x7f800000/g; s/0x100000000/0x80000000/' src/libos/layout/flat.c \
	>src/libos/layout/low.c
echo 'X(low)' >>src/libos/layout/list.h
sed 's/flat/low/g' user/layout/flat.c >user/layout/low.c

echo 1..3
if out=$(make -j2 build/freehold.elf build/root.elf build/sh.elf build/layout/low.elf 2>&1); then echo "ok 1 - a new layout builds"
else echo "not ok 1 - a new layout builds"; echo "$out" | sed 's/^/# /'; fi
out=$(tools/run.py --modules build/root.elf,build/sh.elf,build/layout/low.elf --timeout 60 --cmd 'run layout low; halt' 2>&1)
status=$?
if [ $status = 0 ] && echo "$out" | grep -q '^layout low:' && ! echo "$out" | grep -q FAILED; then echo "ok 2 - a program lives in it"
else echo "not ok 2 - a program lives in it"; echo "$out" | sed "s/^/# $status /"; fi
missing=
for line in '^00200000-.* rwx. .*\[text\]$' '-80000000 rwx. .*\[stack\]$'; do
	echo "$out" | grep -qe "$line" || missing="$missing $line"
done
echo "${missing:+not }ok 3 - its text and its stack are where its table says"
[ -z "$missing" ] || { echo "# missing: $missing"; echo "$out" | sed 's/^/# /'; }
