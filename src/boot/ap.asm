; ap.asm - start-up code of the other CPUs: real mode at AP_START to 64-bit code at KBASE. smp.c copies it there and
; fills the mailbox behind its GDTR; a start-up IPI begins here with cs = AP_START >> 4, ip = 0 (SDM vol. 3A, 8.4).
%include "asm.inc"
section .rodata
global ap_code, ap_code_end

bits 16
ap_code:
	cli
	xor eax, eax
	mov ds, ax
	o32 lgdt [AP_GDTR]
	mov eax, 0x20               ; PAE
	mov cr4, eax
	mov eax, [AP_ROOT]
	mov cr3, eax
	mov ecx, 0xc0000080         ; EFER: SCE, LME, NXE, as boot.asm
	rdmsr
	or eax, 0x901
	wrmsr
	mov eax, 0x80010011         ; PG, WP, ET, PE; caches on
	mov cr0, eax
	jmp dword KERNEL_CS:AP_START + (.long - ap_code)

bits 64
.long:
	mov ax, KERNEL_DS
	mov ss, ax
	mov eax, 1                  ; initial APIC ID: bits 31-24 of EBX
	cpuid
	shr ebx, 24
	lea eax, [rbx + AP_WANTED_BIT]
	mov ecx, AP_TAKEN
	lock cmpxchg [abs AP_STATE], ecx
	jne .stop                   ; too late: the boot CPU has given this one up, its stack may be another's
	mov rsp, [abs AP_STACK]
	mov edi, [abs AP_ID]
	xor ebp, ebp
	call [abs AP_ENTRY]
.stop:
	cli
	hlt
	jmp .stop
ap_code_end:
