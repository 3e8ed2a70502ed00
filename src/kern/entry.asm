; entry.asm - the ways in and out of the kernel. Interrupts are off in it for good.
; From user mode an interrupt saves straight into the running thread's fh_regs (TSS.rsp0 points to their end); a
; system call on the short path keeps what it must on the CPU's stack. The slow path and interrupts leave by `resume`.
%include "asm.inc"
bits 64
default rel
section .text

extern syscall_table, syscall_slow, trap, kernel_trap

RFLAGS_VM_BIT equ 17

%macro PUSH_GPRS 0
	push rax
	push rbx
	push rcx
	push rdx
	push rsi
	push rdi
	push rbp
	push r8
	push r9
	push r10
	push r11
	push r12
	push r13
	push r14
	push r15
%endmacro

; Short path: user stub 2 + these. Order of the pushes: struct syscall_frame (cpu.h).
global syscall_entry
syscall_entry:
	swapgs
	mov [gs:CPU_USER_RSP], rsp
	mov rsp, [gs:CPU_STACK_TOP]
	push qword [gs:CPU_USER_RSP]
	push rcx
	push r11
	push r9
	push r8
	push r10
	push rdx
	push rsi
	push rdi
	movzx ecx, byte [gs:CPU_CALLS]
	mov [gs:CPU_TRACE + rcx * 8], rax
	inc qword [gs:CPU_CALLS]
	lea rcx, [rax - SLOW_CALLS]
	cmp rcx, [gs:CPU_FAST_CALLS]
	jae .slow
	sbb r11, r11                ; all ones, as rcx is below: a CPU that only speculates so reads table entry 0 (Spectre v1)
	and rax, r11
	mov rcx, r10
	call [syscall_table + rax * 8]
	pop rdi
	pop rsi
	pop rdx
	pop r10
	pop r8
	pop r9
	pop r11
	pop rcx
	bt rcx, 47                  ; only a syscall in the last bytes under the hole has a bad rip (MACHINE: sysret faults
	jc .high                    ; at CPL 0 then); code in the upper half takes the same way, checked in C
	pop rsp
	swapgs
	o64 sysret

.high:                          ; save the result as if by the slow path, and leave by iretq
	mov [gs:CPU_USER_RSP], rax
	sub rsp, 64
	call .save
	mov rax, [gs:CPU_USER_RSP]
	mov [rdi + REGS_RAX], rax
	extern return_checked
	call return_checked
	jmp resume

.slow:
	call .save
	call syscall_slow           ; regs of the thread to run
	jmp resume

; The whole user context into the running thread's regs; rdi = regs. The syscall frame is above the return address.
.save:
	mov rcx, [gs:CPU_THREAD]
	add rcx, THREAD_REGS
	mov [rcx + REGS_RAX], rax
	mov [rcx + REGS_RDI], rdi
	mov [rcx + REGS_RSI], rsi
	mov [rcx + REGS_RDX], rdx
	mov [rcx + REGS_R10], r10
	mov [rcx + REGS_R8], r8
	mov [rcx + REGS_R9], r9
	mov [rcx + REGS_RBX], rbx
	mov [rcx + REGS_RBP], rbp
	mov [rcx + REGS_R12], r12
	mov [rcx + REGS_R13], r13
	mov [rcx + REGS_R14], r14
	mov [rcx + REGS_R15], r15
	mov rdi, rcx
	mov rax, [rsp + 8 + 48]
	mov [rdi + REGS_RFLAGS], rax
	mov [rdi + REGS_R11], rax
	mov rax, [rsp + 8 + 56]
	mov [rdi + REGS_RIP], rax
	mov [rdi + REGS_RCX], rax
	mov rax, [rsp + 8 + 64]
	mov [rdi + REGS_RSP], rax
	mov qword [rdi + REGS_VECTOR], VEC_SYSCALL
	ret

; rax = regs to run with: cs, ss, rflags forced and rip canonical (C sees to it).
global resume
resume:
	mov rsp, rax
	pop r15
	pop r14
	pop r13
	pop r12
	pop r11
	pop r10
	pop r9
	pop r8
	pop rbp
	pop rdi
	pop rsi
	pop rdx
	pop rcx
	pop rbx
	pop rax
	add rsp, 16
	swapgs
	iretq

; cpu_main on this CPU's own stack; then the regs that it returns.
global on_cpu_stack
extern cpu_main
on_cpu_stack:
	mov rsp, [gs:CPU_STACK_TOP]
	xor ebp, ebp
	sub rsp, 8
	call cpu_main
	jmp resume

; Exceptions and interrupts: [rsp] = vector, error, rip, cs, rflags, rsp, ss.
save_context:
	test byte [rsp + 24], 3
	jz .kernel
.user:
	swapgs
	lfence                      ; nothing is read by GS before it is known which of the two it was (CVE-2019-1125)
	PUSH_GPRS
	mov rdi, rsp
	mov rsp, [gs:CPU_STACK_TOP]
	push 2                      ; aligns the stack, and user AC, DF, NT go: an interrupt doesn't clear them
	popfq
	sub rsp, 8
	call trap
	jmp resume
.kernel:                        ; an interrupt of the idle loop, or a kernel bug
	bt dword [rsp + 32], RFLAGS_VM_BIT
	jc .user                    ; or a user in virtual-8086 mode, which QEMU's iretd lets in (MACHINE): its CS says nothing
	lfence
	PUSH_GPRS
	mov rdi, rsp
	cld
	and rsp, -16
	call kernel_trap
	jmp resume

; #DF, NMI, #MC on their own stacks: GS base may be the user's, so it is found from the stack's address.
ist_common:
	PUSH_GPRS
	cld
	mov rax, rsp
	and rax, ~PERCPU_MASK_ASM
	add rax, PERCPU_CPU_ASM
	mov rdx, rax
	shr rdx, 32
	mov ecx, 0xc0000101
	wrmsr
	mov rdi, rsp
	and rsp, -16
	call kernel_trap            ; reports; never returns
	ud2

; wait_idle: an interrupt restarts the scheduler on an empty stack.
global wait_idle
wait_idle:
	mov rsp, [gs:CPU_STACK_TOP]
	sub rsp, 8
.again:
	sti
	hlt
	cli
	jmp .again

; #DB, on its own stack: `mov ss` delays a single-step trap past a `syscall` or `int3`, so that it comes at the kernel's
; first instruction, with the user's stack and GS (CVE-2018-8897's way in). There it is none of ours: go on without TF.
; From user mode the frame moves to where other exceptions have theirs.
debug_trap:
	test byte [rsp + 8], 3
	jnz .user
	bt dword [rsp + 16], RFLAGS_VM_BIT
	jc .user
	btr qword [rsp + 16], 8
	iretq
.user:
	swapgs
	mov [gs:CPU_USER_RSP], rax
	mov rax, [gs:CPU_THREAD]
	add rax, THREAD_REGS + REGS_SS + 8
	pop qword [rax - 40]
	pop qword [rax - 32]
	pop qword [rax - 24]
	pop qword [rax - 16]
	pop qword [rax - 8]
	lea rsp, [rax - 40]
	mov rax, [gs:CPU_USER_RSP]
	swapgs
	push 0
	push 1
	jmp save_context

%macro STUB 1
stub%1:
%if %1 == 1
	jmp debug_trap
%else
%if %1 != 8 && %1 != 10 && %1 != 11 && %1 != 12 && %1 != 13 && %1 != 14 && %1 != 17 && %1 != 21 && %1 != 29 && %1 != 30
	push 0
%endif
	push %1
%if %1 == 2 || %1 == 8 || %1 == 18
	jmp ist_common
%else
	jmp save_context
%endif
%endif
%endmacro

%assign v 0
%rep 256
	STUB v
%assign v v + 1
%endrep

section .rodata
global trap_stubs
trap_stubs:
%assign v 0
%rep 256
	dq stub%+v
%assign v v + 1
%endrep
