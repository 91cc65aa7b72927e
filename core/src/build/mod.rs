//! Building a PVH guest: from modules and a description to memory contents and the state of its first vcpu.
//!
//! Everything here is pure: bytes go out through [`GuestRam`], the rest comes back as data. The caller makes a
//! [`Layout`], asks [`examine`] whether the plan makes sense, puts frames behind [`Layout::backed`], and calls
//! [`build`]. A failure leaves parts of the guest in
//! its memory and nothing else; building again starts from the beginning.
//!
//! Contents of special pages, tables and start info follow Xen's toolstack, so that a guest cannot tell.

pub mod acpi;
pub mod entry;
mod error;
mod extent;
pub mod kernel;
pub mod layout;
pub mod placement;
mod ram;
pub mod special;
pub mod start_info;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use error::{BuildError, OutOfMemory};
pub use extent::Extent;
pub use kernel::{Kernel, KernelError};
pub use layout::{Layout, LayoutError};
pub use ram::{GuestRam, RamFault};

use crate::number::GuestAddr;
use crate::vcpu::start::StartState;
use placement::{INITRD_END_MAX, Placement, START_INFO_END_MAX, Side};
use start_info::{CommandLine, StartInfo};

/// Where a guest that looks below 1 MiB finds the ACPI root pointer: where Xen's toolstack puts it then.
const LOW_RSDP: GuestAddr = GuestAddr::new(0xf_ffc0);

/// A module by name.
#[derive(Clone, Copy, Debug)]
pub struct Module<'a> {
    /// Its name, for messages.
    pub name: &'a str,
    /// What it holds.
    pub bytes: &'a [u8],
}

/// What a guest is to be built from.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The kernel: an ELF file or a bzImage.
    pub kernel: Module<'a>,
    /// The initrd, if there is one; handed over as it is.
    pub initrd: Option<Module<'a>>,
    /// The kernel's command line.
    pub command_line: &'a str,
    /// How many vcpus the guest has.
    pub vcpus: u32,
}

/// A guest that is ready to start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Built {
    /// The kernel as it was loaded.
    pub kernel: Kernel,
    /// Where the initrd lies.
    pub initrd: Option<Extent>,
    /// Where the start info lies, and all it points to save the ACPI root pointer.
    pub start_info: Extent,
    /// Where the ACPI root pointer lies.
    pub rsdp: GuestAddr,
    /// The state in which the first vcpu starts.
    pub start: StartState,
}

/// Judges what can be judged of a plan before there is memory for the guest, and without unpacking its kernel:
/// either takes seconds.
///
/// # Errors
/// [`BuildError`] says which part of the plan is wrong, and how.
pub fn examine<'a>(plan: &Plan<'a>, layout: &Layout) -> Result<(), BuildError<'a>> {
    if !(1..=acpi::VCPUS_MAX).contains(&plan.vcpus) {
        return Err(BuildError::Vcpus { found: plan.vcpus });
    }
    CommandLine::new(plan.command_line)?;
    let extents: heapless::Vec<Extent, 2> = layout.ram().collect();
    kernel::examine(plan.kernel.bytes, &extents).map_err(|error| BuildError::Kernel {
        module: plan.kernel.name,
        error,
    })
}

/// Builds a guest in memory that lies as `layout` says.
///
/// # Errors
/// [`BuildError`] says which part of the plan is wrong, and how.
pub fn build<'a>(plan: &Plan<'a>, layout: &Layout, ram: &mut dyn GuestRam) -> Result<Built, BuildError<'a>> {
    examine(plan, layout)?;
    let command_line = CommandLine::new(plan.command_line)?;
    let extents: heapless::Vec<Extent, 2> = layout.ram().collect();
    let kernel = kernel::load(plan.kernel.bytes, &extents, ram).map_err(|error| BuildError::Kernel {
        module: plan.kernel.name,
        error,
    })?;

    let mut placement = Placement::new(layout.low());
    let mut kernel_end = GuestAddr::default();
    for segment in &kernel.segments {
        // There is room for the most segments a kernel has.
        let _ = placement.take(*segment);
        kernel_end = kernel_end.max(segment.end());
    }
    let rsdp = write_acpi(plan.vcpus, &kernel, layout, &mut placement, ram)?;
    // Before the initrd, which is content with less convenient places.
    let map = layout.map();
    let mut info = StartInfo {
        initrd: None,
        command_line: &command_line,
        map: &map,
        rsdp,
    };
    let length = start_info::BLOCK_BYTES_MAX;
    let block = placement
        .place(length, Side::From(kernel_end), START_INFO_END_MAX)
        .ok_or(BuildError::StartInfoRoom { length })?;
    if let Some(module) = plan.initrd {
        info.initrd = Some(write_initrd(&module, &mut placement, ram)?);
    }
    ram.write(block.start(), &info.bytes(block.start())?)?;
    special::write(ram)?;
    Ok(Built {
        start: entry::state(kernel.entry, block.start()),
        kernel,
        initrd: info.initrd,
        start_info: block,
        rsdp,
    })
}

/// Writes the ACPI tables and the pointer to them; returns where that lies.
fn write_acpi<'a>(
    vcpus: u32,
    kernel: &Kernel,
    layout: &Layout,
    placement: &mut Placement,
    ram: &mut dyn GuestRam,
) -> Result<GuestAddr, BuildError<'a>> {
    let region = layout.acpi();
    let tables = acpi::tables(vcpus, region.start())?;
    ram.zero(region.start(), region.length())?;
    ram.write(region.start(), &tables.bytes)?;
    let rsdp = if kernel.rsdp_anywhere {
        // Behind the tables, on 16 bytes.
        let behind = (tables.bytes.len() as u64).next_multiple_of(16);
        region.start().checked_add(behind).unwrap_or(region.start())
    } else {
        let at = Extent::new(LOW_RSDP, acpi::RSDP_BYTES).unwrap_or(Extent::EMPTY);
        if !placement.is_free(at) {
            return Err(BuildError::RootPointerRoom { at });
        }
        let _ = placement.take(at);
        LOW_RSDP
    };
    ram.write(rsdp, &tables.rsdp)?;
    Ok(rsdp)
}

/// Writes the initrd; returns where it lies.
fn write_initrd<'a>(
    module: &Module<'a>,
    placement: &mut Placement,
    ram: &mut dyn GuestRam,
) -> Result<Extent, BuildError<'a>> {
    let length = module.bytes.len() as u64;
    let extent = placement
        .place(length, Side::Below(INITRD_END_MAX), INITRD_END_MAX)
        .ok_or(BuildError::InitrdRoom {
            module: module.name,
            length,
        })?;
    ram.write(extent.start(), module.bytes)?;
    Ok(extent)
}
