#!/bin/sh
# A newcomer's first minutes: make new, make run-NAME, make check-NAME, make grade, with both templates, and make lab, in a copy of
# the tree (and of what has been built); and what is said to a wrong name.
cd "$(dirname "$0")/../.." || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL CMD
copy=$(mktemp -d "${TMPDIR:-/tmp}/freehold-new.XXXXXX") || exit 1
trap 'rm -rf "$copy"' EXIT
mkdir "$copy/build"
cp -a GNUmakefile src user test tools "$copy"
for f in build/*; do
	case $f in build/debug | build/static | build/test-logs | build/unit) ;; *) cp -a "$f" "$copy/build" ;; esac
done
cd "$copy" || exit 1
n=0
# say SENTENCE: by the status before; with what was printed, if that was wrong
say() {
	status=$?
	n=$((n + 1))
	if [ $status -eq 0 ]; then echo "ok $n - $1"; else echo "not ok $n - $1"; tail -n 30 out | sed 's/^/# /'; fi
}
# says WORDS COMMAND...: it fails, and says so
says() {
	words=$1; shift
	! "$@" >out 2>&1 && grep -qF "$words" out
}

echo 1..32
make new NAME=zz1 >out 2>&1; say "make new makes an allocator"
make new NAME=zz2 KIND=libos >out 2>&1; say "and a libOS"
for name in zz1 zz2; do
	[ "$(ls user/$name | tr '\n' ' ')" = "main.c $name.c " ] && ! grep -q NAME user/$name/*; say "$name: two files, with its name in them"
	make run-$name >out 2>&1 && grep -q "^$name: " out; say "make run-$name runs it"
	make check-$name CPUS=2 >out 2>&1 && grep -q '^1\.\.' out && ! grep -q '^not ok' out; say "make check-$name: it passes all checks"
done
make host-zz1 >out 2>&1 && ! grep -q '^not ok' out; say "make host-zz1: it passes them on Linux, under sanitizers"
says "zz2 has no host mode: it includes kit.h" make host-zz2 && [ "$(wc -l <out)" -le 2 ]; say "make host-zz2 says that it has no host mode"
printf '%s\n' 2 6 'a 0 512' 'a 1 128' 'r 0 640' 'f 1' 'f -1' 'f 0' >few.rep
make grade NAME=zz1 CPUS=1 TRACES=few.rep >out 2>&1 && grep -q '^few  *yes' out && grep -q '^score of zz1: [5-9][0-9]\.' out &&
	grep -q '"score"' build/grade/zz1.json && ! grep -q '^not ok' build/grade/zz1.tap; say "make grade NAME=zz1 gives it more than half of the points"
make -n grade NAME='zz1 all' >out 2>&1 && grep -q 'grade.py.* zz1 .*tlsf' out; say "NAME='zz1 all': it and the gallery"
make lab N=1 >out 2>&1; [ $? -ne 0 ] && [ -e user/lab1/frames.c ] && grep -q '^# points: [0-9]* of 100$' out; say "make lab N=1 tests the template, whose points aren't all there"
says "# points: none, there is no test 99, but 1 to" make lab N=1 ONLY=99; say "a test that there isn't is refused in words"
sed -i 's/round_up(n + sizeof(struct head), HEAP_ALIGN)/round_up(n, HEAP_ALIGN)/' user/zz1/zz1.c
make host-zz1 >out 2>&1; [ $? -ne 0 ] && grep -q '^not ok' out; say "broken (a block without room for its head), it doesn't"
make check-zz1 >out 2>&1; [ $? -ne 0 ] && grep -q '^not ok' out; say "nor in the machine: make check-zz1 fails"
says "exists already" make new NAME=zz1; say "a name that is taken is refused in words"
says "exists already" make new NAME=root; say "that of another program, too"
says "exists already" make new NAME=tlsf; say "and of an allocator of the gallery"
for name in freehold pass1 lab2 hoard none nano all halt malloc; do
	says "choose another name" tools/new $name && [ ! -e user/$name ]; say "$name is refused: it is something else's"
done
says "can't be a C name" make new NAME=Two-Words; say "a name that C wouldn't take"
says "a word of C" make new NAME=static; say "or that is C's own"
says "say what it is called" make new; say "or none"
says "there is no KIND=kernel" make new NAME=zz3 KIND=kernel && [ ! -e user/zz3 ]; say "a template that there isn't"
