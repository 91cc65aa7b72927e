//! What needs nobody else: plain hypercalls, and instructions that exit.

use core::arch::asm;

use xenvisor_abi::version::XENVER_version;
use xenvisor_abi::xen::{HYPERVISOR_multicall, HYPERVISOR_xen_version, MulticallEntry};
use xenvisor_guests::hypercall::call;
use xenvisor_guests::processor::{cpuid, read_msr, write_msr};
use zerocopy::FromZeros;

use crate::clock::Clock;

/// No hypercall has this number.
const UNKNOWN: u32 = 60;
const APIC_BASE: u32 = 0x1b;
const X2APIC: u64 = 1 << 10;
const X2APIC_TASK_PRIORITY: u32 = 0x808;
/// Nothing answers there.
const PORT: u16 = 0x1234;
const BATCH: usize = 32;

pub(crate) fn calls(clock: &mut Clock<'_>) {
    let version = [XENVER_version.into(), 0, 0, 0, 0];
    clock.count("hypercall", |_| {
        call(HYPERVISOR_xen_version, version);
    });
    clock.count("unknown-hypercall", |_| {
        call(UNKNOWN, [0; 5]);
    });
    let mut calls: [MulticallEntry; BATCH] = FromZeros::new_zeroed();
    for entry in &mut calls {
        entry.op = HYPERVISOR_xen_version.into();
        entry.args[0] = XENVER_version.into();
    }
    let at = calls.as_mut_ptr().expose_provenance() as u64;
    clock.count_many("multicall-32", 10, |_| {
        call(HYPERVISOR_multicall, [at, BATCH as u64, 0, 0, 0]);
    });
}

pub(crate) fn all(clock: &mut Clock<'_>) {
    clock.count("cpuid", |_| {
        cpuid(1, 0);
    });
    clock.count("read-msr", |_| {
        read_msr(APIC_BASE);
    });
    write_msr(APIC_BASE, read_msr(APIC_BASE) | X2APIC);
    clock.count("write-msr", |_| write_msr(X2APIC_TASK_PRIORITY, 0));
    clock.count("read-port", |_| {
        read_port();
    });
    clock.count("write-port", |_| write_port());
}

fn read_port() -> u8 {
    let value;
    // SAFETY: there is nothing behind the port.
    unsafe { asm!("in al, dx", in("dx") PORT, out("al") value, options(nostack, nomem)) };
    value
}

fn write_port() {
    // SAFETY: there is nothing behind the port.
    unsafe { asm!("out dx, al", in("dx") PORT, in("al") 0_u8, options(nostack, nomem)) };
}
