# The crash report's symbol table, as assembly: from `nm -n`, the text symbols in the kernel half.
BEGIN {
	print "section .ksyms progbits alloc noexec nowrite align=8"
	print "global ksyms, nksyms"
	print "ksyms:"
}
$2 ~ /^[tT]$/ && $1 ~ /^ffffff/ {
	printf "\tdq 0x%s, name%d\n", $1, n
	names = names sprintf("name%d: db \"%s\", 0\n", n++, $3)
}
END {
	printf "align 8\nnksyms: dq %d\n%s", n, names
}
