#!/bin/sh
# What the kernel image must and must not contain.
cd "$(dirname "$0")/../.." || exit 1
n=0
# check SENTENCE OFFENDERS: passes when there are none
check() {
	n=$((n + 1))
	if [ -z "$2" ]; then echo "ok $n - $1"; else echo "not ok $n - $1"; echo "$2" | head -n 20 | sed 's/^/# /'; fi
}

echo 1..10
for dir in build build/debug; do
	code=$(objdump -d --no-show-raw-insn $dir/freehold64.elf) || exit 1
	check "$dir: is a multiboot kernel" "$(grub-file --is-x86-multiboot $dir/freehold.elf || echo 'grub-file says no')"
	# The kernel reads no user virtual address, so SMAP is never lifted (invariant 8).
	check "$dir: no stac" "$(echo "$code" | grep -w stac)"
	check "$dir: no user's FPU register is touched" "$(echo "$code" | grep -E '%(xmm|ymm|mm|st)[0-9(]')"
	# Spectre v1 at the dispatch table: between the check of the number and the call it is masked.
	check "$dir: a system call's number is masked before the table is read" \
		"$(echo "$code" | awk '/<syscall_entry>:/ { on = 1 } on && /jae/ { checked = 1 } checked && /sbb/ { mask = 1 } mask && /and .*%rax/ { good = 1 }
			on && /call +\*/ { if (!good) print "the call comes first"; exit }')"
	check "$dir: a crash report has symbols" "$(nm $dir/freehold64.elf | grep -q ' [Rr] nksyms$' || echo 'no nksyms')"
done
