//! The guest's bus: its tables, RAM, devices, and fetching instructions.
#![allow(clippy::cast_possible_truncation, reason = "the tests' addresses are small")]

use super::super::bus::{Device, GuestBus, Nothing, fetch};
use super::*;
use crate::devices::local_apic::{Effect, LocalApic, Window};
use crate::guest::page_walk::{Cr0, Cr4, Efer, Paging, Privilege};
use std::cell::RefCell;
use xenvisor_core::clock::Instant;
use xenvisor_core::machine::{GuestRam, IpiKind, IpiTarget, NotRam};
use xenvisor_core::number::{GuestAddr, VcpuId, Vector};

/// Guest-physical RAM from 0 up to its length.
struct Ram(RefCell<Vec<u8>>);

impl GuestRam for Ram {
    fn read(&self, at: GuestAddr, into: &mut [u8]) -> Result<(), NotRam> {
        let at = at.raw() as usize;
        let ram = self.0.borrow();
        into.copy_from_slice(
            ram.get(at..at + into.len())
                .ok_or(NotRam(GuestAddr::new(at as u64)))?,
        );
        Ok(())
    }
    fn write(&self, at: GuestAddr, from: &[u8]) -> Result<(), NotRam> {
        let at = at.raw() as usize;
        let mut ram = self.0.borrow_mut();
        ram.get_mut(at..at + from.len())
            .ok_or(NotRam(GuestAddr::new(at as u64)))?
            .copy_from_slice(from);
        Ok(())
    }
    fn compare_exchange(&self, at: GuestAddr, old: u64, new: u64) -> Result<bool, NotRam> {
        let mut now = [0; 8];
        self.read(at, &mut now)?;
        if u64::from_le_bytes(now) != old {
            return Ok(false);
        }
        self.write(at, &new.to_le_bytes()).map(|()| true)
    }
}

const KERNEL: Privilege = Privilege::Supervisor {
    alignment_check: false,
};

/// Without paging: linear is physical.
fn unpaged() -> Paging {
    Paging {
        cr0: Cr0::empty(),
        cr3: 0,
        cr4: Cr4::empty(),
        efer: Efer::empty(),
        pointers: None,
        protection_keys: 0,
        address_bits: 40,
        huge_pages: false,
    }
}

/// 32-bit paging by a table at 0x1000: page 0x5000 lies at 0x7000, page 0x6000 at 0xfee00000, 0x7000 nowhere.
fn paged() -> (Ram, Paging) {
    let ram = Ram(RefCell::new(vec![0; 0x8000]));
    let entry = |at, value: u32| ram.write(GuestAddr::new(at), &value.to_le_bytes()).unwrap();
    entry(0x1000, 0x2003);
    entry(0x2014, 0x7003);
    entry(0x2018, 0xfee0_0003);
    (
        ram,
        Paging {
            cr0: Cr0::PAGING | Cr0::WRITE_PROTECT,
            cr3: 0x1000,
            ..unpaged()
        },
    )
}

#[test]
fn the_bus_of_a_guest_finds_ram_devices_and_nothing() {
    let (ram, paging) = paged();
    let mut bus = GuestBus {
        ram: &ram,
        paging: &paging,
        privilege: KERNEL,
        device: &mut Nothing,
    };
    let at = LinearAddr::new;
    bus.write(at(0x5100), 8, 0x0102_0304_0506_0708).unwrap();
    assert_eq!(ram.0.borrow()[0x7100], 8);
    assert_eq!(bus.read(at(0x5100), 4, false), Ok(0x0506_0708));
    assert_eq!(bus.read(at(0x6000), 4, false), Ok(0xffff_ffff), "an open bus");
    bus.write(at(0x6000), 4, 0).unwrap();
    // Across pages: two bytes of RAM, two of nothing.
    bus.write(at(0x5ffe), 4, 0x1122_3344).unwrap();
    assert_eq!(bus.read(at(0x5ffe), 4, false), Ok(0xffff_3344));
    // Neither half is written if one faults.
    let fault = bus.write(at(0x6ffe), 4, 0);
    assert!(matches!(fault, Err(BusFault::Exception(Exception::Page(fault))) if fault.address == at(0x7000)));
}

#[test]
fn an_instruction_reaches_the_apic_through_its_page() {
    let (ram, paging) = paged();
    let mut apic = LocalApic::new(VcpuId::new(1), 40);
    apic.write_mmio(0xf0, 4, 0x1ff, Instant::ZERO);
    let segments = flat_segments();
    let mut guest = Registers {
        rbx: 0x6000,
        rsi: 0x5000,
        rdi: 0x6300,
        rcx: 2,
        rax: 0x4041,
        rip: 0x5000,
        ..registers()
    };
    let mut processor = Processor {
        registers: &mut guest,
        segments: &segments,
        code: CodeSize::Bits64,
        mode: Mode::Flat,
    };
    let mut window = Window::new(&mut apic, Instant::ZERO);
    let mut bus = GuestBus {
        ram: &ram,
        paging: &paging,
        privilege: KERNEL,
        device: &mut window,
    };
    // mov eax, [rbx+0x30]: the version.
    assert_eq!(
        execute::run(&[0x8b, 0x43, 0x30], &mut processor, &mut bus, 1),
        DONE
    );
    assert_eq!(processor.registers.rax, 0x50014);
    // rep stosd to the command register sends twice: one interrupt each time.
    processor.registers.rax = 0x4041;
    assert_eq!(
        execute::run(&[0xf3, 0xab], &mut processor, &mut bus, 9),
        Ok(Step::More { single_step: false })
    );
    assert_eq!(processor.registers.rcx, 1);
    let Effect::Send(ipi) = window.effect() else {
        panic!("{:?}", window.effect())
    };
    assert_eq!(
        (ipi.to, ipi.kind),
        (IpiTarget::Physical(0), IpiKind::Fixed(Vector::new(0x41)))
    );
    assert!(window.covers(GuestAddr::new(0xfee0_0ffc)) && !window.covers(GuestAddr::new(0xfee0_1000)));
}

#[test]
fn instructions_are_fetched_up_to_where_they_can_be() {
    let (ram, paging) = paged();
    ram.write(GuestAddr::new(0x7ff8), &[1, 2, 3, 4, 5, 6, 7, 8])
        .unwrap();
    let whole = fetch(&ram, &paging, KERNEL, LinearAddr::new(0x5100)).unwrap();
    assert_eq!(whole.bytes(), [0; 15]);
    // The next page is no RAM: what there is comes, and decoding says whether it suffices.
    let cut = fetch(&ram, &paging, KERNEL, LinearAddr::new(0x5ff8)).unwrap();
    assert_eq!(cut.bytes(), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(fetch(&ram, &paging, KERNEL, LinearAddr::new(0x7000)).is_err());
    assert_eq!(
        fetch(&ram, &paging, KERNEL, LinearAddr::new(0x6000))
            .unwrap()
            .bytes(),
        []
    );
}
