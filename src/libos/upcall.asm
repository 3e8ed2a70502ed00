; upcall.asm - where the kernel enters on an exception or a doorbell, and the way back.
;
; On entry all registers of the interrupted code are in the slot (rdi); rsp is this depth's own stack; GS points to the
; upcall frame. Nothing needs saving. The way back is plain instructions, because a user-mode iretq is not usable with
; SMAP on (docs/machine.md): load the registers from slot[d], where d is known without a register because each depth has its
; own copy of the code, then make d the depth, then leave through two instructions for which the kernel knows, by
; [resume_lo, resume_hi), that the slot is still the interrupted context.

bits 64
default abs

%include "offsets.inc"

global upcall_entry, upcall_resume_lo, upcall_resume_hi, thread_entry
extern upcall_dispatch, thread_begin

section .text

upcall_entry:
    cld                                     ; System V: DF is clear in C
    mov     rbx, rdi
    call    upcall_dispatch                 ; void upcall_dispatch(struct fh_context *)
    mov     rax, [rbx + CTX_ROOT]
    cmp     rax, [gs:UP_LIBOS_ROOT]
    jne     .by_kernel                      ; it ran in another address space
    test    dword [rbx + CTX_RFLAGS], RFLAGS_TF
    jnz     .by_kernel                      ; single step: a popfq here would trap here
    mov     rax, [gs:UP_DEPTH]
    shl     rax, LEAVE_SHIFT
    lea     rcx, [rel leave_table - LEAVE_SIZE] ; depth is one more than the index of our slot
    add     rax, rcx
    jmp     rax
.by_kernel:
    mov     eax, FH_SYS_thread_ctl
    xor     edi, edi
    mov     esi, FH_THREAD_RETURN
    xor     edx, edx
    syscall
    ud2

; One exit for each depth, LEAVE_SIZE bytes apart.
LEAVE_SHIFT equ 8
LEAVE_SIZE  equ 1 << LEAVE_SHIFT
align LEAVE_SIZE
leave_table:
%assign d 0
%rep FH_UPCALL_SLOTS
    align LEAVE_SIZE
%assign slot UP_SLOT + d * CTX_SIZE
    mov     r15, [gs:slot + 0]
    mov     r14, [gs:slot + 8]
    mov     r13, [gs:slot + 16]
    mov     r12, [gs:slot + 24]
    mov     r11, [gs:slot + 32]
    mov     r10, [gs:slot + 40]
    mov     r9,  [gs:slot + 48]
    mov     r8,  [gs:slot + 56]
    mov     rbp, [gs:slot + 64]
    mov     rdi, [gs:slot + 72]
    mov     rsi, [gs:slot + 80]
    mov     rdx, [gs:slot + 88]
    mov     rcx, [gs:slot + 96]
    mov     rbx, [gs:slot + 104]
    mov     rax, [gs:slot + 112]
    push    qword [gs:slot + CTX_RFLAGS]
    popfq
    jmp     leave_tail %+ d
%assign d d + 1
%endrep
leave_end:

; mov keeps the flags. Once depth is d, a doorbell may come in; it finds rip in here and leaves the slot alone.
upcall_resume_lo:
%assign d 0
%rep FH_UPCALL_SLOTS
%assign slot UP_SLOT + d * CTX_SIZE
leave_tail %+ d:
    mov     qword [gs:UP_DEPTH], d
    mov     rsp, [gs:slot + CTX_RSP]
    jmp     [gs:slot + CTX_RIP]
%assign d d + 1
%endrep
upcall_resume_hi:

; First instruction of a thread made by thread_new: rdi = struct thread.
thread_entry:
    xor     ebp, ebp                        ; backtraces end here
    call    thread_begin
    ud2

section .note.GNU-stack noalloc noexec nowrite progbits
