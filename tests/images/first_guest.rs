//! An image with one tiny guest and no hypervisor: the virtual processor alone, from entry to exit.
//!
//! The guest is a few instructions in flat 32-bit protected mode. Each exit is shown on COM1, so that a test can compare
//! the whole of it.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly; that is what it is for"
)]

#[cfg(not(target_os = "none"))]
fn main() {
    println!("this image tries a virtual processor: build it for x86_64-unknown-none");
}

#[cfg(target_os = "none")]
mod bare {
    extern crate alloc;

    use alloc::boxed::Box;
    use alloc::format;
    use alloc::sync::Arc;
    use alloc::vec::Vec;
    use core::arch::global_asm;
    use core::ops::Range;

    use xenvisor::bare::host::Host;
    use xenvisor::bare::host::assemble::virtualization;
    use xenvisor::bare::host::end::{End, end};
    use xenvisor::bare::host::machine::BareMachine;
    use xenvisor_core::lock::{Rank, Ranked};
    use xenvisor_core::machine::{Exit, Machine, Outcome, Registers, VcpuSetup, VirtCpu};
    use xenvisor_core::memory::frames::{Frames, Owner};
    use xenvisor_core::memory::guest::GuestMemory;
    use xenvisor_core::number::{DomainId, Gfn, GuestAddr, Mfn, Order, VcpuId, Vector};
    use xenvisor_core::p2m::{Kind, Rights, SecondStage, Target};
    use xenvisor_core::vcpu::start::{Segment, StartState};

    const RIP: u64 = 0x1000;
    const GUEST: DomainId = DomainId::new(1);

    // In the guest: EBP counts interrupts; a fault continues at EDI with its vector in ESI; hypercall 99 means that
    // trial EBX has failed.
    global_asm!(
        r#"
        .section .rodata.guest, "a"
        .global first_guest_start
        .global first_guest_end
        .code32
        .set base, 0x1000

        .macro gate vector, handler
        movl $(\handler - first_guest_start + base), %eax
        movw %ax, 0x2000 + \vector * 8
        movw $8, 0x2000 + \vector * 8 + 2
        movw $0x8e00, 0x2000 + \vector * 8 + 4
        movw $0, 0x2000 + \vector * 8 + 6
        .endm

        .macro must_fault vector, trial, instruction:vararg
        movl $\trial, %ebx
        movl $(90f - first_guest_start + base), %edi
        xorl %esi, %esi
        \instruction
90:     cmpl $\vector, %esi
        jne failed
        .endm

first_guest_start:
        movl $0x8000, %esp
        movl $0x40000000, %eax
        cpuid
        movb %bl, %al
        movw $0x3f8, %dx
        outb %al, %dx                   # 'X'
        inb $0x61, %al
        movl $17, %eax
        movl $1, %ebx
        vmmcall
        movl %eax, 0x500000             # nothing is there

        # SSE state must survive whatever the host does.
        movl %cr4, %eax
        orl $0x200, %eax
        movl %eax, %cr4
        pcmpeqd %xmm3, %xmm3
        movl $18, %eax
        vmmcall
        movd %xmm3, %ebx
        movl $19, %eax
        vmmcall

        gate 6, undefined
        gate 13, protection
        gate 0x30, upcall
        gate 0x31, interrupt
        gate 0x35, interrupt
        movw $0x7ff, 0x3000
        movl $0x2000, 0x3002
        lidt 0x3000
        movw $0x17, 0x3100
        movl $0x3200, 0x3102
        movl $0, 0x3200
        movl $0, 0x3204
        movl $0x0000ffff, 0x3208
        movl $0x00cf9b00, 0x320c
        movl $0x0000ffff, 0x3210
        movl $0x00cf9300, 0x3214
        lgdt 0x3100

        # What a guest may not do, or what its CPUID does not offer.
        movl $0x4000, %eax
        must_fault 6, 1, vmcall
        must_fault 6, 2, vmrun
        must_fault 6, 3, vmload
        must_fault 6, 4, vmsave
        must_fault 6, 5, stgi
        must_fault 6, 6, clgi
        must_fault 6, 7, monitor
        must_fault 6, 8, mwait
        must_fault 13, 9, rdpmc
        movl $0xc0010114, %ecx
        must_fault 13, 10, rdmsr
        movl $0xc0010117, %ecx
        must_fault 13, 11, wrmsr
        movl %cr4, %eax
        orl $0x2000, %eax
        must_fault 13, 12, movl %eax, %cr4
        movl $0xc0000080, %ecx
        movl $0x1000, %eax
        xorl %edx, %edx
        must_fault 13, 13, wrmsr
        wbinvd
        invd

        # A string to a port, one element after the other.
        movl $0x4000, %esi
        movl $0x216948, (%esi)
        movl $3, %ecx
        movw $0xe9, %dx
        rep outsb

        # An interrupt from outside the APIC.
        xorl %ebp, %ebp
        sti
        hlt
        movl %ebp, %ebx
        movl $20, %eax
        vmmcall

        # The APIC: a vector to itself that the task priority holds back, then its timer.
        movl $0x1ff, 0xfee000f0
        movl $0x40, 0xfee00080
        movl $0x40035, 0xfee00300
        movl $14, %ebx
        cmpl $1, %ebp
        jne failed
        movl $0, 0xfee00080
        nop
        cmpl $2, %ebp
        jne failed
        movl $0xb, 0xfee003e0
        movl $0x31, 0xfee00320
        movl $1000000, 0xfee00380
        hlt
        movl %ebp, %ebx
        movl $21, %eax
        vmmcall

        # Spins until the machine's timer ends the turn.
        movl $0x100000, %ecx
1:      loop 1b
        movl $0, 0x3002
        movw $0, 0x3000
        lidt 0x3000
        ud2                             # no handler: a triple fault

failed: movl $99, %eax
        vmmcall
        jmp failed
undefined:
        movl $6, %esi
        movl %edi, (%esp)
        iret
protection:
        movl $13, %esi
        addl $4, %esp
        movl %edi, (%esp)
        iret
interrupt:
        movl $0, 0xfee000b0
upcall: incl %ebp
        iret
        .code64
first_guest_end:
        .text
        "#,
        options(att_syntax)
    );

    unsafe extern "C" {
        static first_guest_start: u8;
        static first_guest_end: u8;
    }

    /// The guest, its hypercall instruction the processor's: VMMCALL is AMD's, and VMCALL must fault then; on Intel's the
    /// two change places.
    fn program(is_intel: bool) -> Vec<u8> {
        const VMMCALL: [u8; 3] = [0x0f, 0x01, 0xd9];
        const VMCALL: [u8; 3] = [0x0f, 0x01, 0xc1];
        let start = &raw const first_guest_start;
        let length = (&raw const first_guest_end).addr() - start.addr();
        // SAFETY: the assembler put the program between the two labels.
        let mut program = unsafe { core::slice::from_raw_parts(start, length) }.to_vec();
        for at in 0..program.len().saturating_sub(3) {
            let place = &mut program[at..at + 3];
            if is_intel && *place == VMMCALL {
                place.copy_from_slice(&VMCALL);
            } else if is_intel && *place == VMCALL {
                place.copy_from_slice(&VMMCALL);
            }
        }
        program
    }

    fn start_state() -> StartState {
        let data = Segment {
            selector: 0x10,
            attributes: 0xc093,
            limit: u32::MAX,
            base: 0,
        };
        StartState {
            registers: Registers {
                rip: RIP,
                ..Registers::default()
            },
            cr0: 0x11,
            cr3: 0,
            cr4: 0,
            efer: 0,
            cs: Segment {
                selector: 8,
                attributes: 0xc09b,
                ..data
            },
            ds: data,
            es: data,
            fs: data,
            gs: data,
            ss: data,
            tr: Segment {
                attributes: 0x8b,
                limit: 0x67,
                ..Segment::default()
            },
            ldt: Segment {
                attributes: 1 << 16,
                ..Segment::default()
            },
        }
    }

    // SAFETY: the host's start calls exactly this, with this signature, once.
    #[unsafe(no_mangle)]
    fn xenvisor_image_main(host: &'static Host) -> ! {
        let ranges: Vec<Range<Mfn>> = host.free_memory().collect();
        let frames = Arc::new(Frames::new(Arc::clone(host.memory()), &ranges).unwrap());
        let virtualization = virtualization(host, &frames).unwrap_or_else(|error| panic!("{error}"));
        let machine = BareMachine::new(host, virtualization);
        let mut stage = machine.new_second_stage(&frames).unwrap();
        let block = frames
            .allocate_zeroed(Owner::Domain(GUEST), Order::new(4).unwrap())
            .unwrap()
            .keep();
        for page in 0..16 {
            let to = Target {
                mfn: block.checked_add(page).unwrap(),
                rights: Rights::ReadWriteExecute,
                kind: Kind::Ram,
            };
            let _ = stage.map(Gfn::new(page), Order::FRAME, to).unwrap();
        }
        let setup = VcpuSetup {
            domain: GUEST,
            vcpu: VcpuId::new(0),
            vcpus: 1,
            root: stage.root(),
            frames: &frames,
        };
        let mut cpu = machine.new_vcpu(&setup).unwrap();
        let stage: Ranked<Box<dyn SecondStage>> = Ranked::new(Rank::SecondStage, stage);
        let memory = GuestMemory::new(&**host.memory(), &frames, &stage);
        xenvisor_core::machine::GuestRam::write(&memory, GuestAddr::new(RIP), &program(host.features().vmx))
            .unwrap();
        cpu.start(&start_state());
        run(host, cpu.as_mut(), &memory);
        end(End::Well)
    }

    fn run(host: &Host, cpu: &mut dyn VirtCpu, memory: &GuestMemory<'_>) {
        let mut preempted = 0;
        loop {
            let exit = cpu.run(memory, host.now().after_ns(10_000_000));
            if exit == Exit::Preempted {
                preempted += 1;
                assert!(preempted < 1000, "the guest makes no progress");
                continue;
            }
            host.console_write(format!("{exit:x?}\r\n").as_bytes());
            match exit {
                Exit::Hypercall(call) => {
                    assert_ne!(call.number, 99, "trial {} has failed", call.arguments[0]);
                    cpu.complete_hypercall(Outcome::Return(0));
                }
                Exit::PortRead { .. } | Exit::PortWrite { .. } => cpu.complete_port(u32::MAX),
                Exit::Unbacked { .. } => {
                    if let Err(exit) = cpu.complete_unbacked(memory) {
                        host.console_write(format!("not done: {exit:x?}\r\n").as_bytes());
                        return;
                    }
                }
                Exit::Halt => {
                    assert!(cpu.interrupts_enabled() && !cpu.interruptible_and_pending());
                    match cpu.next_deadline() {
                        None => cpu.set_upcall_line(Some(Vector::new(0x30))),
                        Some(deadline) => {
                            while host.now() < deadline {
                                host.sleep(deadline);
                            }
                            cpu.tick(host.now());
                        }
                    }
                    assert!(cpu.interruptible_and_pending());
                }
                Exit::Ipi(_) => {}
                Exit::Preempted | Exit::HypercallPage(_) => {}
                Exit::Shutdown | Exit::Unknown { .. } => {
                    host.console_write(format!("{:x?}\r\n", cpu.registers()).as_bytes());
                    return;
                }
            }
        }
    }
}
