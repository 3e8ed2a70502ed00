; start.asm - the first instruction of a program, and the two that fork needs: run a function on another stack, and
; come out of it a second time.
;
; At _start: rdi = info page, rsi -> struct places or 0 (root), rsp -> argc, argv[0] ... argv[argc-1], NULL, NULL (System V ABI, 3.4.1, with an empty
; environment). GS base is the upcall frame already.

bits 64
default abs

global _start, fork_call, fork_return
extern start_c

section .text

_start:
    xor     ebp, ebp                ; backtraces end here
    mov     rdx, rsp
    and     rsp, -16
    call    start_c                 ; start_c(info, places, stack); does not return
    ud2

; int64_t fork_call(uint64_t stack_top, int64_t (*f)(uint64_t saved, void *arg), void *arg)
; Runs f on another stack. `saved` is where the registers that a call preserves are: fork_return(saved) comes out here
; again, with 0, in whichever env it is called.
fork_call:
    push    rbp
    push    rbx
    push    r12
    push    r13
    push    r14
    push    r15
    mov     rbp, rsp
    mov     rcx, rsi
    mov     rsi, rdx
    mov     rsp, rdi
    mov     rdi, rbp
    call    rcx
    mov     rsp, rbp
fork_out:
    pop     r15
    pop     r14
    pop     r13
    pop     r12
    pop     rbx
    pop     rbp
    ret

; void fork_return(uint64_t saved)
fork_return:
    mov     rsp, rdi
    xor     eax, eax
    jmp     fork_out

section .note.GNU-stack noalloc noexec nowrite progbits
