//! What ACPI's tables say about interrupt controllers and clocks.
//!
//! Tables are read where firmware left them, through read-only mappings made on demand; what matters is
//! copied into a [`Platform`]. Firmware is believed, as there is nobody else to ask.
//!
//! Source: ACPI specification 6.5 §5.2.9 (FADT), §5.2.12 (MADT); the HPET table of the IA-PC HPET
//! specification.

use core::ptr::NonNull;

use acpi::address::AddressSpace as Space;
use acpi::fadt::Fadt;
use acpi::hpet::HpetInfo;
use acpi::madt::{Madt, MadtEntry};
use acpi::{AcpiError, AcpiHandler, AcpiTables, PhysicalMapping};
use heapless::Vec;
use spin::Mutex;
use xenvisor_core::number::MachineAddr;

use super::address_space::AddressSpace;
use super::direct_map::{pointer, word};
use crate::apic::routing::{IoApicPlace, Override};
use crate::boot::info::AcpiRoot;
use crate::panic::fail;

/// Most processors, I/O APICs and overrides that are kept.
pub const MAX_PROCESSORS: usize = 256;
const MAX_IO_APICS: usize = 8;
const MAX_OVERRIDES: usize = 32;

/// What the tables say.
#[derive(Debug)]
pub struct Platform {
    /// The APIC ids of processors that may be used, in the order of the table.
    pub processors: Vec<u32, MAX_PROCESSORS>,
    /// Where the local APIC's registers lie, in xAPIC mode.
    pub local_apic: MachineAddr,
    /// The I/O APICs.
    pub(crate) io_apics: Vec<IoApicPlace, MAX_IO_APICS>,
    /// ISA interrupts that are wired otherwise than by their number.
    pub(crate) overrides: Vec<Override, MAX_OVERRIDES>,
    /// The port of the PM timer.
    pub(crate) pm_timer: Option<u16>,
    /// Where the HPET's registers lie.
    pub(crate) hpet: Option<MachineAddr>,
    /// The clock chip's register of the century, or 0.
    pub(crate) century_register: u8,
}

/// Maps tables for the `acpi` crate.
#[derive(Clone)]
struct Firmware<'a>(&'a Mutex<AddressSpace>);

impl AcpiHandler for Firmware<'_> {
    unsafe fn map_physical_region<T>(&self, at: usize, size: usize) -> PhysicalMapping<Self, T> {
        let address = MachineAddr::new(at as u64);
        if let Err(error) = self.0.lock().map_firmware(address, size as u64) {
            fail(format_args!("ACPI tables at {address}: {error:?}"));
        }
        let start = NonNull::new(pointer(address).cast::<T>()).unwrap_or(NonNull::dangling());
        // SAFETY: the `size` bytes from `at` on are readable at `start` from here on, for ever: mappings of
        // firmware are never taken back.
        unsafe { PhysicalMapping::new(at, start, size, size, self.clone()) }
    }

    fn unmap_physical_region<T>(_region: &PhysicalMapping<Self, T>) {}
}

/// Reads the tables.
///
/// # Errors
/// What the `acpi` crate finds missing or broken.
pub(crate) fn read(root: Option<AcpiRoot>, space: &Mutex<AddressSpace>) -> Result<Platform, AcpiError> {
    let firmware = Firmware(space);
    let tables = match root {
        // SAFETY: the loader says that ACPI's root pointer lies there.
        Some(AcpiRoot::Pointer(at)) => unsafe { AcpiTables::from_rsdp(firmware, word(at.raw())) },
        // SAFETY: the loader's copy of the root pointer names this table.
        Some(AcpiRoot::Table { revision, at }) => unsafe {
            AcpiTables::from_rsdt(firmware, revision, word(at.raw()))
        },
        // SAFETY: without word from the loader this is a PC with a BIOS, whose area may be searched.
        None => unsafe { AcpiTables::search_for_rsdp_bios(firmware) },
    }?;
    let fixed = tables.find_table::<Fadt>()?;
    let pm_timer = fixed
        .pm_timer_block()?
        .filter(|block| block.address_space == Space::SystemIo)
        .and_then(|block| u16::try_from(block.address).ok());
    let interrupts = tables.find_table::<Madt>()?;
    let mut platform = Platform {
        processors: Vec::new(),
        local_apic: MachineAddr::new(interrupts.get().local_apic_address.into()),
        io_apics: Vec::new(),
        overrides: Vec::new(),
        pm_timer,
        hpet: HpetInfo::new(&tables)
            .ok()
            .map(|hpet| MachineAddr::new(hpet.base_address as u64)),
        century_register: fixed.century,
    };
    for entry in interrupts.get().entries() {
        platform.note(&entry);
    }
    Ok(platform)
}

impl Platform {
    /// Keeps what an entry of the MADT says. What finds no room is left out: a machine with more than we
    /// keep works with less.
    fn note(&mut self, entry: &MadtEntry<'_>) {
        const ENABLED: u32 = 1;
        const ISA: u8 = 0;
        let kept = match *entry {
            MadtEntry::LocalApic(apic) if apic.flags & ENABLED != 0 => {
                self.processors.push(apic.apic_id.into()).is_ok()
            }
            MadtEntry::LocalX2Apic(apic) if apic.flags & ENABLED != 0 => {
                self.processors.push(apic.x2apic_id).is_ok()
            }
            MadtEntry::LocalApicAddressOverride(entry) => {
                self.local_apic = MachineAddr::new(entry.local_apic_address);
                true
            }
            MadtEntry::IoApic(apic) => self
                .io_apics
                .push(IoApicPlace {
                    registers: MachineAddr::new(apic.io_apic_address.into()),
                    first_interrupt: apic.global_system_interrupt_base,
                })
                .is_ok(),
            MadtEntry::InterruptSourceOverride(entry) if entry.bus == ISA => self
                .overrides
                .push(Override {
                    irq: entry.irq,
                    interrupt: entry.global_system_interrupt,
                    flags: entry.flags,
                })
                .is_ok(),
            _ => true,
        };
        if !kept {
            defmt::warn!("an entry of ACPI's MADT is left out: there are too many of its kind");
        }
    }
}
