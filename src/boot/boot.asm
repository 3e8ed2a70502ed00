; boot.asm - multiboot1 entry: 32-bit protected mode to 64-bit code at KBASE (multiboot1 specification, 3.2).
; The tables made here map the low 4 GiB twice, at 0 and at the direct map, and the first GiB at KBASE; memory.c
; replaces them. 32-bit code names symbols of this section only: the rest of the kernel lies above 4 GiB.
%include "asm.inc"

MAGIC equ 0x1badb002
FLAGS equ 3                     ; modules page-aligned, memory map wanted

section .multiboot align=4
	dd MAGIC, FLAGS, -(MAGIC + FLAGS)

section .boot progbits alloc exec write align=4096
bits 32
global boot_start
boot_start:
	cli
	cld
	mov edi, eax                ; magic and info, kept for kernel_main
	mov esi, ebx

	mov eax, 0x80000000         ; long mode: CPUID 80000001h EDX bit 29; NX: bit 20 (SDM vol. 2A, CPUID)
	cpuid
	mov ebp, no_long_mode
	cmp eax, 0x80000001
	jb refuse
	mov eax, 0x80000001
	cpuid
	bt edx, 29
	jnc refuse
	mov ebp, no_nx
	bt edx, 20
	jnc refuse

	mov eax, 0x83               ; present, writable, 2 MiB
	xor ebx, ebx
.fill:
	mov [boot_pd + ebx * 8], eax
	add eax, 0x200000
	inc ebx
	cmp ebx, 4 * 512
	jne .fill
	mov eax, boot_pd + 3
	xor ebx, ebx
.pdpt:
	mov [boot_pdpt_low + ebx * 8], eax
	mov [boot_pdpt_high + ebx * 8], eax
	add eax, 4096
	inc ebx
	cmp ebx, 4
	jne .pdpt
	mov dword [boot_pdpt_high + 510 * 8], boot_pd + 3
	mov dword [boot_pml4], boot_pdpt_low + 3
	mov dword [boot_pml4 + 511 * 8], boot_pdpt_high + 3

	mov eax, cr4
	or eax, 0x20                ; PAE
	mov cr4, eax
	mov eax, boot_pml4
	mov cr3, eax
	mov ecx, 0xc0000080         ; EFER: SCE, LME, NXE
	rdmsr
	or eax, 0x901
	wrmsr
	mov eax, cr0
	or eax, 0x80010000          ; PG, WP
	mov cr0, eax
	lgdt [boot_gdtr]
	jmp KERNEL_CS:.long

bits 64
.long:
	mov ax, KERNEL_DS
	mov ds, ax
	mov es, ax
	mov ss, ax
	xor eax, eax
	mov fs, ax
	mov gs, ax
	mov rax, kernel_start
	jmp rax

; One line on COM1 and the screen, then isa-debug-exit with FH_EXIT_BOOT, then halt. ebp: the sentence.
bits 32
refuse:
	mov ecx, 0xb8000
.next:
	mov al, [ebp]
	test al, al
	jz .exit
	mov [ecx], al
	mov byte [ecx + 1], 0x0f
	add ecx, 2
	inc ebp
	mov bl, al
	mov edx, 0x3fd              ; line status: wait for THRE, at most so long
	mov esi, 100000
.wait:
	in al, dx
	test al, 0x20
	jnz .send
	dec esi
	jnz .wait
.send:
	mov dx, 0x3f8
	mov al, bl
	out dx, al
	jmp .next
.exit:
	mov al, 16
	out 0xf4, al
.halt:
	cli
	hlt
	jmp .halt

no_long_mode db "freehold: this CPU has no 64-bit long mode; it can't run here", 13, 10, 0
no_nx db "freehold: this CPU has no NX (execute disable); it can't run here", 13, 10, 0

align 8
global boot_gdt, boot_pdpt_low
boot_gdt dq 0, 0x00209a0000000000, 0x0000920000000000
boot_gdtr:
	dw boot_gdtr - boot_gdt - 1
	dd boot_gdt

align 4096
global boot_pml4
boot_pml4 times 512 dq 0
boot_pdpt_low times 512 dq 0
boot_pdpt_high times 512 dq 0
boot_pd times 4 * 512 dq 0

section .text
extern kernel_main
bits 64
kernel_start:
	mov rsp, start_stack_top
	mov edi, edi
	mov esi, esi
	xor ebp, ebp
	push rbp                    ; no return address: backtraces end here
	jmp kernel_main

section .bss
align 16
	resb 16384
global start_stack_top
start_stack_top:
