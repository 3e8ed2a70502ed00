#!/bin/sh
# clang -Wthread-safety sees a wait with a record locked, a second lock, a lock not given back: in copies broken on purpose.
cd "$(dirname "$0")/../.." || exit 1
n=0
echo 1..4
try() { # what file sed-script message
	n=$((n + 1))
	copy=build/static/locks-$n.c
	mkdir -p build/static
	sed "$3" "src/kern/$2" >$copy
	if [ -n "$3" ] && cmp -s $copy "src/kern/$2"; then
		echo "not ok $n - $1: the source has changed, nothing was broken by $3"
		return
	fi
	out=$(${CLANG:-clang} -std=c11 -ffreestanding -fsyntax-only -Wthread-safety -Werror -DFREEHOLD_KERNEL -DDEBUG=1 -Isrc/kern \
		-Isrc/kern/machine -Ibuild/debug -mcmodel=kernel -mgeneral-regs-only $copy 2>&1)
	if [ $? -eq 0 ] && [ -z "$4" ] || { [ -n "$4" ] && echo "$out" | grep -q "$4"; }; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		echo "$out" | sed 's/^/# /'
	fi
}
try "grant.c as it is: nothing" grant.c "" ""
try "a wait with a record locked" grant.c "s/^\trecord_unlock(f);/\tawait_quiet(0);\n&/" "cannot call function 'await_quiet' while lock 'a_record' is held"
try "a second record locked" grant.c "s/^\tatomic_swap(&record(f)->tenant, 0ul);/\tif (record_lock(f, state) != 0)\n\t\treturn 0;\n&/" "already held"
try "a lock not given back" grant.c "s/^\trecord_unlock(e);//" "is not held on every path"
