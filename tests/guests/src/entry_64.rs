//! From the PVH entry (32-bit protected mode, paging off) to Rust in 64-bit mode.

core::arch::global_asm!(
    r#"
    .section .note.Xen, "a", @note
    .align 4
    .long 4, 4, 18                      # XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long guest_entry

    .section .text.entry, "ax"
    .code32
    .global guest_entry
guest_entry:
    cld
    movl %ebx, %esi                     # the start info
    movl $guest_stack_top, %esp
    # Four page directories of 2 MiB pages map 4 GiB to themselves.
    movl $guest_pd, %edi
    xorl %ecx, %ecx
1:  movl %ecx, %eax
    shll $21, %eax
    orl $0x83, %eax
    movl %eax, (%edi,%ecx,8)
    movl $0, 4(%edi,%ecx,8)
    incl %ecx
    cmpl $2048, %ecx
    jb 1b
    movl $guest_pd, %eax
    orl $3, %eax
    movl %eax, guest_pdpt
    addl $0x1000, %eax
    movl %eax, guest_pdpt + 8
    addl $0x1000, %eax
    movl %eax, guest_pdpt + 16
    addl $0x1000, %eax
    movl %eax, guest_pdpt + 24
    movl $guest_pdpt, %eax
    orl $3, %eax
    movl %eax, guest_pml4
    movl $guest_pml4, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x20, %eax                     # PAE
    movl %eax, %cr4
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x100, %eax                    # EFER.LME
    wrmsr
    movl %cr0, %eax
    orl $0x80000000, %eax               # PG
    movl %eax, %cr0
    lgdt guest_gdt_pointer
    ljmp $8, $2f
    .code64
2:  movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %esi, %edi
    xorl %ebp, %ebp
    call guest_main

    .section .rodata
    .align 8
guest_gdt:
    # 64-bit code, data, and 32-bit code for whoever wants to know what compatibility mode is like.
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff
guest_gdt_pointer:
    .word . - guest_gdt - 1
    .long guest_gdt

    .section .bss
    .align 4096
guest_pml4: .skip 4096
guest_pdpt: .skip 4096
guest_pd:   .skip 4096 * 4
    .skip 65536
guest_stack_top:
    "#,
    options(att_syntax)
);
