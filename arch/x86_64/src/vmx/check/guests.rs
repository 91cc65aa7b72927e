//! For tests: control structures that a processor takes, as our setup writes them, with guests in each mode.

use x86::vmx::vmcs::{control, guest};
use xenvisor_core::vcpu::start::Segment;

use crate::vcpu::engine::SegmentRegister as Register;
use crate::vmx::capability::{Allowed, Capabilities};
use crate::vmx::controls::Controls;
use crate::vmx::fields::Fields;
use crate::vmx::segment;
use crate::vmx::setup::{self, Addresses, HostState};
use crate::vmx::testing::{self, Structure};

/// What a guest is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// 64-bit code.
    Long,
    /// 32-bit code without paging.
    Protected,
    /// 32-bit code with PAE paging.
    Pae,
    /// Real mode.
    Real,
    /// Virtual-8086 mode.
    V8086,
    /// 64-bit code in a guest that is not unrestricted.
    Bound,
}

impl Mode {
    pub(super) const ALL: [Self; 6] = [
        Self::Long,
        Self::Protected,
        Self::Pae,
        Self::Real,
        Self::V8086,
        Self::Bound,
    ];
}

/// A processor that has every control, but for reserved ones, and every state: there, each rule can be broken.
pub(super) fn rich() -> Capabilities {
    let all = |allowed: Allowed, may| Allowed { may, ..allowed };
    let able = testing::capabilities();
    Capabilities {
        pin: all(able.pin, 0xff),
        primary: all(able.primary, 0xffff_fffe),
        secondary: all(able.secondary, 0x7fff_ffff),
        tertiary: 0xff,
        exit: all(able.exit, 0x7fff_ffff),
        entry: all(able.entry, 0x007f_ffff),
        cr4_fixed1: able.cr4_fixed1 | 1 << 23,
        misc: able.misc & !(1 << 30),
        ..able
    }
}

const ADDRESSES: Addresses = Addresses {
    msr_bitmap: 0x1000,
    io_a: 0x2000,
    io_b: 0x3000,
    virtual_apic: 0x4000,
    ept_pointer: setup::ept_pointer(0x5000, true),
};

fn host() -> HostState {
    HostState {
        cr0: 0x8001_0033,
        cr3: 0x10_0000,
        cr4: 0x20a0,
        cs: 8,
        ss: 16,
        tr: 24,
        tr_base: 0xffff_8000_0000_1000,
        gdtr_base: 0xffff_8000_0000_2000,
        idtr_base: 0xffff_8000_0000_3000,
        pat: 0x0007_0406_0007_0406,
        efer: 0xd00,
        rsp: 0xffff_8000_0000_5000,
        rip: 0xffff_8000_0000_6000,
        ..HostState::default()
    }
}

/// A structure for a processor, with a guest in a mode.
pub(super) fn structure(able: &Capabilities, mode: Mode) -> Structure {
    let mut able = *able;
    if mode == Mode::Bound {
        able.secondary.may &= !(1 << 7);
        able.unrestricted_guest = false;
    }
    let controls = Controls::compute(&able).unwrap();
    let mut fields = Structure::default();
    setup::write(&mut fields, &controls, &ADDRESSES, &host());
    fields.set(control::VPID, 1);
    begin(&mut fields, mode);
    fields
}

fn begin(fields: &mut Structure, mode: Mode) {
    let (cr0, cr4, efer) = match mode {
        Mode::Long | Mode::Bound => (0x8001_0033, 0x2020, 0x501),
        Mode::Protected => (0x33, 0x2000, 0),
        Mode::Pae => (0x8000_0033, 0x2020, 0),
        Mode::Real => (0x30, 0x2000, 0),
        Mode::V8086 => (0x8000_0033, 0x2000, 0),
    };
    let rip = if efer != 0 {
        0xffff_ffff_8100_0000
    } else {
        0x10_0000
    };
    let flags = if mode == Mode::V8086 { 0x2_0002 } else { 2 };
    let registers = [
        (guest::CR0, cr0),
        (guest::CR3, 0x6000),
        (guest::CR4, cr4),
        (guest::IA32_EFER_FULL, efer),
        (guest::IA32_PAT_FULL, 0x0007_0406_0007_0406),
        (guest::DR7, 0x400),
        (guest::RIP, rip),
        (guest::RSP, 0),
        (guest::RFLAGS, flags),
        (guest::IA32_SYSENTER_CS, 0),
        (guest::IA32_SYSENTER_ESP, 0),
        (guest::IA32_SYSENTER_EIP, 0),
        (guest::GDTR_BASE, 0),
        (guest::GDTR_LIMIT, 0xffff),
        (guest::IDTR_BASE, 0),
        (guest::IDTR_LIMIT, 0xffff),
    ];
    for (field, value) in registers {
        fields.set(field, value);
    }
    if efer != 0 {
        fields.or(control::VMENTRY_CONTROLS, 0x200);
    }
    let (selector, code, data) = match mode {
        Mode::Long | Mode::Bound => (0x10, 0xa09b, 0xc093),
        Mode::Protected | Mode::Pae => (0x10, 0xc09b, 0xc093),
        Mode::Real => (0x1000, 0x9b, 0x93),
        Mode::V8086 => (0x1000, 0xf3, 0xf3),
    };
    let is_short = matches!(mode, Mode::Real | Mode::V8086);
    let (base, limit) = if is_short {
        (0x1_0000, 0xffff)
    } else {
        (0, u32::MAX)
    };
    for register in [
        Register::Cs,
        Register::Ss,
        Register::Ds,
        Register::Es,
        Register::Fs,
        Register::Gs,
    ] {
        let attributes = if register == Register::Cs { code } else { data };
        let flat = Segment {
            selector,
            attributes,
            limit,
            base,
        };
        segment::write(fields, register, &flat);
    }
    let task = Segment {
        selector: 0,
        attributes: 0x8b,
        limit: 0x67,
        base: 0,
    };
    segment::write(fields, Register::Task, &task);
    let none = Segment {
        attributes: 1 << 16,
        ..Segment::default()
    };
    segment::write(fields, Register::Ldt, &none);
}
