//! The first Rust code: gathers what the loader told, builds the host, and hands over to the image.

use super::gather::gather;
use super::reader::LoaderMemory;
use crate::console::serial::LastWords;
use crate::host::end::{End, end};
use crate::panic::fail;
use core::fmt::Write;

/// Memory as the boot page tables show it: the first 4 GiB, at its own addresses.
struct BootMemory;

impl LoaderMemory for BootMemory {
    fn read(&self, at: u64, into: &mut [u8]) -> bool {
        let Some(end) = at.checked_add(into.len() as u64) else {
            return false;
        };
        if at == 0 || end > 1 << 32 {
            return false;
        }
        let Ok(from) = usize::try_from(at) else {
            return false;
        };
        // SAFETY: the boot tables map the first 4 GiB, so the source exists; it is loader data that nobody
        // writes while we, the only running processor, copy it. `into` is ours and cannot overlap it: the
        // loader's structures are not part of the image.
        unsafe {
            core::ptr::copy_nonoverlapping(
                core::ptr::with_exposed_provenance::<u8>(from),
                into.as_mut_ptr(),
                into.len(),
            );
        }
        true
    }
}

/// Called once, by the entry code, on the main stack, with interrupts off and the boot tables in force.
pub(crate) extern "C" fn start(magic: u32, info: u32) -> ! {
    crate::console::serial::Serial::new().initialise();
    match gather(&BootMemory, magic, info) {
        Ok(info) => {
            let _ = writeln!(
                LastWords,
                "started by {} with {:?}",
                info.protocol,
                info.command_line.as_str()
            );
            for region in info.memory.regions() {
                let _ = writeln!(LastWords, "{:x?}", region);
            }
            for module in &info.modules {
                let _ = writeln!(LastWords, "{:?}", module);
            }
            let _ = writeln!(LastWords, "{:x?}", info.acpi);
        }
        Err(error) => fail(format_args!("{error}")),
    }
    end(End::Well)
}
