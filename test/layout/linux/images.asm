; images.asm - the probe as an ET_EXEC and as a static-pie, to be started by the tests.

section .rodata
global probe_exec, probe_exec_end, probe_pie, probe_pie_end

align 16
probe_exec: incbin "test/layout/probe/probe.elf"
probe_exec_end:
align 16
probe_pie: incbin "test/layout/probe/probe_pie.elf"
probe_pie_end:

section .note.GNU-stack noalloc noexec nowrite progbits
