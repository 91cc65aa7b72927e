//! The ACPI tables of a PVH guest, as Xen's toolstack makes them: RSDP, RSDT and XSDT, FADT, FACS, MADT, DSDT.
//!
//! They say that there are local APICs and nothing else: no IO-APIC, no timer, no clock, no keyboard. The fixed
//! hardware they name (power management registers, a general purpose event block, a reset port) has nothing
//! behind it; reads give all ones, which a guest takes for a machine that is already in ACPI mode and idle.
//! Source of layouts: the ACPI specification, version 5.0, §5.2.

mod aml;
mod table;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use super::OutOfMemory;
use crate::number::{FRAME_SIZE, GuestAddr};
use table::Table;

/// How many bytes of guest memory are set aside for the tables.
pub const REGION_BYTES: u64 = 4 * FRAME_SIZE;
/// The most vcpus that the tables can describe: with two ids to each, a local APIC id has no room for more.
pub const VCPUS_MAX: u32 = 128;
/// How many bytes a root pointer has.
pub const RSDP_BYTES: u64 = 36;

/// Where local APICs are in memory.
const LOCAL_APIC: u32 = 0xfee0_0000;
/// The system control interrupt.
const SCI: u16 = 9;
const PM1A_EVENT: u16 = 0xb000;
const PM1A_CONTROL: u16 = 0xb004;
const GPE0: u16 = 0xafe0;
const RESET: u16 = 0xcf9;
const RESET_VALUE: u8 = 6;

/// The id of the local APIC of a vcpu.
#[must_use]
pub const fn local_apic_id(vcpu: u32) -> u32 {
    vcpu.saturating_mul(2)
}

/// The tables of a guest, as bytes for one place, and the pointer to them.
#[derive(Clone, Debug)]
pub struct Tables {
    /// What belongs at the address the tables were made for.
    pub bytes: Vec<u8>,
    /// The root pointer. It may lie anywhere that the guest looks.
    pub rsdp: Vec<u8>,
}

/// Makes the tables of a guest with `vcpus` vcpus (1 to [`VCPUS_MAX`]; more are not listed), to lie at `at`.
///
/// # Errors
/// When there is no memory to make them in.
pub fn tables(vcpus: u32, at: GuestAddr) -> Result<Tables, OutOfMemory> {
    let vcpus = vcpus.min(VCPUS_MAX);
    let mut region = Region {
        base: at.raw(),
        bytes: OutOfMemory::or_room(usize::try_from(REGION_BYTES).unwrap_or(usize::MAX))?,
    };
    // The FACS comes first: it must lie on 64 bytes, which the start of a frame does.
    let facs = region.add(&facs()?);
    let dsdt = region.add(&dsdt(vcpus)?);
    let madt = region.add(&madt(vcpus)?);
    let fadt_5 = region.add(&fadt(5, facs, dsdt)?);
    let fadt_1 = region.add(&fadt(1, facs, dsdt)?);
    let rsdt = region.add(&root(*b"RSDT", &[fadt_1, madt], 4)?);
    let xsdt = region.add(&root(*b"XSDT", &[fadt_5, madt], 8)?);
    Ok(Tables {
        bytes: region.bytes,
        rsdp: rsdp(rsdt, xsdt)?,
    })
}

/// Tables one after the other, each on 16 bytes. A test makes the largest of each to see that all of them fit.
struct Region {
    base: u64,
    bytes: Vec<u8>,
}

impl Region {
    /// Appends a table; returns its address.
    fn add(&mut self, table: &[u8]) -> u64 {
        let at = self.bytes.len().next_multiple_of(16);
        if at.saturating_add(table.len()) <= self.bytes.capacity() {
            self.bytes.resize(at, 0);
            self.bytes.extend_from_slice(table);
        }
        self.base.saturating_add(at as u64)
    }
}

/// The low half of an address that is known to lie below 4 GiB.
fn low(address: u64) -> u32 {
    u32::try_from(address).unwrap_or(0)
}

fn facs() -> Result<Vec<u8>, OutOfMemory> {
    let mut table = Table::bare(64)?;
    table.bytes(b"FACS").u32(64).zeros(24).u8(1);
    Ok(table.bare_of(64))
}

fn root(signature: [u8; 4], entries: &[u64], width: usize) -> Result<Vec<u8>, OutOfMemory> {
    let mut table = Table::new(signature, 1, 8 * entries.len())?;
    for entry in entries {
        // Four bytes of each in an RSDT, eight in an XSDT.
        table.bytes(entry.to_le_bytes().get(..width).unwrap_or_default());
    }
    Ok(table.finish())
}

fn madt(vcpus: u32) -> Result<Vec<u8>, OutOfMemory> {
    const PCAT_COMPAT: u32 = 1;
    const LOCAL_APIC_ENTRY: u8 = 0;
    const ENABLED: u32 = 1;
    let mut table = Table::new(*b"APIC", 3, 8 + 8 * 128)?;
    table.u32(LOCAL_APIC).u32(PCAT_COMPAT);
    for vcpu in 0..vcpus {
        let [id, ..] = vcpu.to_le_bytes();
        let [apic, ..] = local_apic_id(vcpu).to_le_bytes();
        table.u8(LOCAL_APIC_ENTRY).u8(8).u8(id).u8(apic).u32(ENABLED);
    }
    Ok(table.finish())
}

/// One definition block: a processor object for each vcpu below `\_SB`.
fn dsdt(vcpus: u32) -> Result<Vec<u8>, OutOfMemory> {
    let code = aml::processors(vcpus)?;
    let mut table = Table::new(*b"DSDT", 5, code.len())?;
    table.bytes(&code);
    Ok(table.finish())
}

/// The fixed description table, in the form of revision 5 or, cut short, of revision 1.
fn fadt(revision: u8, facs: u64, dsdt: u64) -> Result<Vec<u8>, OutOfMemory> {
    /// `WBINVD` works, there is C1, the clock's alarm is not in fixed registers, the platform clock is good.
    const FLAGS: u32 = 1 | 1 << 2 | 1 << 6 | 1 << 15;
    /// No VGA, no CMOS clock; the bit for a keyboard controller is clear.
    const BOOT: u16 = 1 << 2 | 1 << 5;
    /// Latencies past which a guest uses neither C2 nor C3.
    const NO_C_STATES: u16 = 0xfff;
    let modern = revision >= 2;
    let mut table = Table::new(*b"FACP", revision, 240)?;
    table.u32(low(facs)).u32(low(dsdt)).u8(0).u8(0).u16(SCI);
    table.u32(0).zeros(4); // No SMI command, so no values for it.
    table
        .u32(PM1A_EVENT.into())
        .u32(0)
        .u32(PM1A_CONTROL.into())
        .u32(0);
    table.u32(0).u32(0).u32(GPE0.into()).u32(0); // No PM2, no timer, one event block.
    table.u8(4).u8(2).u8(0).u8(0).u8(4).u8(0).u8(0).u8(0);
    table.u16(NO_C_STATES).u16(NO_C_STATES).u16(0).u16(0);
    table.zeros(5); // Duty cycle; day, month and century of an alarm.
    table.u16(if modern { BOOT } else { 0 }).u8(0);
    // The flag that would make guests use the reset register is clear, as Xen has it: they have hypercalls.
    table.u32(FLAGS);
    if modern {
        table.port(RESET, 8).u8(RESET_VALUE).zeros(3);
        // A long form that is zero means the short one: so it is, as from Xen, for FACS and event block.
        table.u64(0).u64(dsdt);
        table
            .port(PM1A_EVENT, 32)
            .zeros(12)
            .port(PM1A_CONTROL, 16)
            .zeros(12);
        table.zeros(12 * 4); // PM2, timer, event blocks.
        table.zeros(24); // No sleep registers: those are for reduced hardware.
    }
    Ok(table.finish())
}

fn rsdp(rsdt: u64, xsdt: u64) -> Result<Vec<u8>, OutOfMemory> {
    let mut table = Table::bare(36)?;
    table
        .bytes(b"RSD PTR ")
        .u8(0)
        .bytes(&table::OEM)
        .u8(2)
        .u32(low(rsdt));
    table.checksum(8, 20);
    table.u32(36).u64(xsdt).zeros(4);
    table.checksum(32, 36);
    Ok(table.bare_of(36))
}
