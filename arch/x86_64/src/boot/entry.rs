//! The first instructions: from whatever a loader leaves (32-bit protected mode, paging off) to Rust in
//! long mode, on the main stack.
//!
//! Three doors lead in. PVH says so by its own entry point (the ELF note names it); multiboot 1 and 2 share
//! the ELF entry and say which by a magic number in EAX. All leave a machine address of their information
//! in EBX. The boot tables map the first 4 GiB to itself, writable and executable; they are left behind as
//! soon as [`crate::host`] has built its own.
//!
//! Sources: the PVH boot ABI (Xen `docs/misc/pvh`, `elfnote.h` type 18), Multiboot 0.6.96 §3.1, Multiboot 2
//! §3.1; SDM vol. 3A §10.8.5 (entering IA-32e mode).

use core::arch::global_asm;

use super::magic::{MULTIBOOT1_MAGIC, MULTIBOOT2_TAG_END, PVH_MAGIC};
use crate::host::stacks::{BOOT_ROOM, MAIN_STACK_TOP};

/// "I came from PVH": what the first argument of [`super::start`] is then.
const PVH: u32 = PVH_MAGIC;
/// Multiboot 1 header: magic, flags (page-aligned modules, memory map wanted), and a sum of zero.
const MB1_HEADER_MAGIC: u32 = 0x1bad_b002;
const MB1_FLAGS: u32 = 0b11;
/// Multiboot 2 header: its magic number.
const MB2_HEADER_MAGIC: u32 = 0xe852_50d6;

global_asm!(
    r#"
    .section .note.Xen, "a", @note
    .balign 4
    .long 4                         # length of the name
    .long 8                         # length of the value
    .long 18                        # XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad xenvisor_pvh_entry

    .section .multiboot1, "a", @progbits
    .balign 4
    .long {mb1_magic}
    .long {mb1_flags}
    .long -({mb1_magic} + {mb1_flags})

    .section .multiboot2, "a", @progbits
    .balign 8
multiboot2_header:
    .long {mb2_magic}
    .long 0                         # i386, protected mode
    .long multiboot2_header_end - multiboot2_header
    .long -({mb2_magic} + (multiboot2_header_end - multiboot2_header))
    .balign 8
    .short 6                        # tag: modules start on page boundaries
    .short 0
    .long 8
    .balign 8
    .short {mb2_end}
    .short 0
    .long 8
multiboot2_header_end:

    .section .boot.text, "ax", @progbits
    .code32
    .global xenvisor_pvh_entry
    .type xenvisor_pvh_entry, @function
xenvisor_pvh_entry:
    movl ${pvh}, %edi
    jmp boot_common

    .global xenvisor_multiboot_entry
    .type xenvisor_multiboot_entry, @function
xenvisor_multiboot_entry:
    movl %eax, %edi

boot_common:
    cli
    cld
    movl %ebx, %esi
    movl ${stacks} + {main_stack_top}, %esp

    # Long mode (bit 29) and no-execute (bit 20) are not optional here.
    movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    jb boot_too_old
    movl $0x80000001, %eax
    cpuid
    andl $0x20100000, %edx
    cmpl $0x20100000, %edx
    jne boot_too_old

    # 4 GiB, 2 MiB at a time: present, writable, large.
    movl $boot_directories, %edx
    movl $0x83, %eax
    xorl %ecx, %ecx
1:  movl %eax, (%edx,%ecx,8)
    movl $0, 4(%edx,%ecx,8)
    addl $0x200000, %eax
    incl %ecx
    cmpl $2048, %ecx
    jne 1b
    leal 3(%edx), %eax
    movl $boot_pointers, %edx
    xorl %ecx, %ecx
2:  movl %eax, (%edx,%ecx,8)
    addl $0x1000, %eax
    incl %ecx
    cmpl $4, %ecx
    jne 2b
    leal 3(%edx), %eax
    movl %eax, xenvisor_boot_root

    movl $xenvisor_boot_root, %eax
    movl %eax, %cr3
    movl $0x20, %eax                # CR4.PAE
    movl %eax, %cr4
    movl $0xc0000080, %ecx          # EFER: long mode enable, no-execute enable
    rdmsr
    orl $0x900, %eax
    wrmsr
    movl $0x80010033, %eax          # CR0: PG WP NE ET MP PE
    movl %eax, %cr0
    lgdt boot_gdt_pointer
    ljmp $8, $boot_long

    # No long mode: say so on COM1 as it stands, ask QEMU to end, and stop.
boot_too_old:
    movl $boot_too_old_text, %esi
3:  movb (%esi), %al
    testb %al, %al
    jz 4f
    movw $0x3f8, %dx
    outb %al, %dx
    incl %esi
    jmp 3b
4:  movw $0xf4, %dx
    movb $0x12, %al
    outb %al, %dx
5:  hlt
    jmp 5b

    .code64
boot_long:
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, %ss
    movl %edi, %edi
    movl %esi, %esi
    movq ${stacks} + {main_stack_top}, %rsp
    xorl %ebp, %ebp
    call {start}
    ud2

    .section .rodata.boot, "a", @progbits
boot_too_old_text:
    .asciz "xenvisor: this processor has no long mode or no no-execute bit\r\n"
    .balign 8
    .global xenvisor_boot_gdt
xenvisor_boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff        # 64-bit code
boot_gdt_pointer:
    .short 15
    .long xenvisor_boot_gdt

    .section .bss.boot, "aw", @nobits
    .balign 4096
    .global xenvisor_boot_root
xenvisor_boot_root:
    .skip 4096
boot_pointers:
    .skip 4096
boot_directories:
    .skip 4 * 4096
    .text
    "#,
    mb1_magic = const MB1_HEADER_MAGIC,
    mb1_flags = const MB1_FLAGS,
    mb2_magic = const MB2_HEADER_MAGIC,
    mb2_end = const MULTIBOOT2_TAG_END,
    pvh = const PVH,
    stacks = sym BOOT_ROOM,
    main_stack_top = const MAIN_STACK_TOP,
    start = sym super::start::start,
    options(att_syntax)
);

/// The magic number multiboot 1 leaves in EAX is not the one in its header.
const _: () = assert!(MULTIBOOT1_MAGIC != MB1_HEADER_MAGIC);
