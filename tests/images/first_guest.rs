//! An image with one tiny guest and no hypervisor: the virtual processor alone, from entry to exit.
//!
//! The guest is a few instructions in flat 32-bit protected mode. Each exit is shown on COM1, so that a test can compare
//! the whole of it.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
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
    use core::arch::global_asm;
    use core::ops::Range;

    use xenvisor::bare::host::Host;
    use xenvisor::bare::host::end::{End, end};
    use xenvisor::bare::host::machine::{BareMachine, Virtualization};
    use xenvisor::bare::svm::hardware::Svm;
    use xenvisor_core::lock::{Rank, Ranked};
    use xenvisor_core::machine::{Exit, Machine, Outcome, Registers, VcpuSetup, VirtCpu};
    use xenvisor_core::memory::frames::{Frames, Owner};
    use xenvisor_core::memory::guest::GuestMemory;
    use xenvisor_core::number::{DomainId, Gfn, GuestAddr, Mfn, Order, VcpuId, Vector};
    use xenvisor_core::p2m::{Kind, Rights, SecondStage, Target};
    use xenvisor_core::vcpu::start::{Segment, StartState};

    const RIP: u64 = 0x1000;
    const GUEST: DomainId = DomainId::new(1);

    global_asm!(
        r#"
        .section .rodata.guest, "a"
        .global first_guest_start
        .global first_guest_end
        .code32
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
        # A handler for vector 0x30.
        movl $handler - first_guest_start + 0x1000, %eax
        movw %ax, 0x2000 + 0x30 * 8
        movw $8, 0x2000 + 0x30 * 8 + 2
        movw $0x8e00, 0x2000 + 0x30 * 8 + 4
        movw $0, 0x2000 + 0x30 * 8 + 6
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
        xorl %ebp, %ebp
        sti
        hlt
        movl %ebp, %ebx
        movl $20, %eax
        vmmcall
        # Spins until the machine's timer ends the turn.
        movl $0x100000, %ecx
1:      loop 1b
        ud2                             # no handler: a triple fault
handler:
        incl %ebp
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

    fn program() -> &'static [u8] {
        let start = &raw const first_guest_start;
        let length = (&raw const first_guest_end).addr() - start.addr();
        // SAFETY: the assembler put the program between the two labels.
        unsafe { core::slice::from_raw_parts(start, length) }
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
        let ranges: alloc::vec::Vec<Range<Mfn>> = host.free_memory().collect();
        let frames = Arc::new(Frames::new(Arc::clone(host.memory()), &ranges).unwrap());
        let svm: Box<dyn Virtualization> = match Svm::enable(host, &frames) {
            Ok(svm) => Box::new(svm),
            Err(error) => panic!("{error}"),
        };
        let machine = BareMachine::new(host, svm);
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
            root: stage.root(),
            frames: &frames,
        };
        let mut cpu = machine.new_vcpu(&setup).unwrap();
        let stage: Ranked<Box<dyn SecondStage>> = Ranked::new(Rank::SecondStage, stage);
        let memory = GuestMemory::new(&**host.memory(), &frames, &stage);
        xenvisor_core::machine::GuestRam::write(&memory, GuestAddr::new(RIP), program()).unwrap();
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
                Exit::Hypercall(_) => cpu.complete_hypercall(Outcome::Return(0)),
                Exit::PortRead { .. } | Exit::PortWrite { .. } => cpu.complete_port(u32::MAX),
                Exit::Unbacked { .. } => {
                    if let Err(exit) = cpu.complete_unbacked(memory) {
                        host.console_write(format!("not done: {exit:x?}\r\n").as_bytes());
                        return;
                    }
                }
                Exit::Halt => {
                    assert!(cpu.interrupts_enabled() && !cpu.interruptible_and_pending());
                    cpu.set_upcall_line(Some(Vector::new(0x30)));
                    assert!(cpu.interruptible_and_pending());
                }
                Exit::Ipi(_) => {}
                Exit::Preempted => {}
                Exit::Shutdown | Exit::Unknown { .. } => {
                    host.console_write(format!("{:x?}\r\n", cpu.registers()).as_bytes());
                    return;
                }
            }
        }
    }
}
