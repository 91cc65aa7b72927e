//! From the PVH entry (32-bit protected mode, paging off) to Rust in the same mode, with segments of the guest's own.
//!
//! The kit is built without SSE, but SSE is turned on all the same: a guest may be built for processors that have it.

core::arch::global_asm!(
    r#"
    .section .note.Xen, "a", @note
    .align 4
    .long 4, 4, 18                      # XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long guest_entry

    .section .text.entry, "ax"
    .global guest_entry
guest_entry:
    cld
    movl $guest_stack_top, %esp
    lgdt guest_gdt_pointer
    ljmp $8, $1f
1:  movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, %ss
    movl %cr0, %eax
    andl $0xfffffffb, %eax              # not EM
    orl $2, %eax                        # MP
    movl %eax, %cr0
    movl %cr4, %eax
    orl $0x600, %eax                    # OSFXSR, OSXMMEXCPT
    movl %eax, %cr4
    fninit
    xorl %ebp, %ebp
    subl $12, %esp
    pushl %ebx                          # the start info
    call guest_main

    .section .rodata
    .align 8
guest_gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
guest_gdt_pointer:
    .word . - guest_gdt - 1
    .long guest_gdt

    .section .bss
    .align 16
    .skip 65536
guest_stack_top:
    "#,
    options(att_syntax)
);
