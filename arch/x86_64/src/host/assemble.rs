//! The bare machine put together: what the hypervisor's model runs on, and what was loaded with the image.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use xenvisor_core::machine::Machine;
use xenvisor_core::memory::frames::{Frames, OutOfFrames, Owner};
use xenvisor_core::number::{MachineAddr, Mfn};
use xenvisor_core::system::{Boot, Module};

use super::Host;
use super::machine::{BareMachine, Virtualization};
use crate::heap::{self, LargeBlocks};
use crate::svm::hardware::{NoSvm, Svm};
use crate::vmx::capability::NoVmx;
use crate::vmx::hardware::Vmx;

/// The machine, its frames, and what was loaded.
pub struct Assembled {
    /// The machine.
    pub machine: Arc<dyn Machine>,
    /// Its frames.
    pub frames: Arc<Frames>,
    /// The command line and the modules.
    pub boot: Boot,
}

/// Why this machine cannot run guests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AssembleError {
    /// No memory is left for the hypervisor's own books.
    OutOfFrames(OutOfFrames),
    /// The processor cannot run guests: what it lacks for AMD's way, and for Intel's.
    NoVirtualization(NoSvm, NoVmx),
}

impl fmt::Display for AssembleError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfFrames(_) => {
                out.write_str("the machine has not enough memory for the hypervisor's own books")
            }
            Self::NoVirtualization(NoSvm::NotThere, NoVmx::NotThere) => {
                out.write_str("the processor has neither SVM nor VMX")
            }
            Self::NoVirtualization(NoSvm::NotThere, vmx) => write!(out, "{vmx}"),
            Self::NoVirtualization(svm, _) => write!(out, "{svm}"),
        }
    }
}

impl core::error::Error for AssembleError {}

impl From<OutOfFrames> for AssembleError {
    fn from(error: OutOfFrames) -> Self {
        Self::OutOfFrames(error)
    }
}

/// Takes over the free memory, switches virtualization on. Once a machine.
///
/// # Errors
/// When the machine cannot run guests.
pub fn assemble(host: &'static Host) -> Result<Assembled, AssembleError> {
    let free: Vec<Range<Mfn>> = host.free_memory().collect();
    let frames = Arc::new(Frames::new(host.memory().clone(), &free)?);
    heap::give_large_blocks(Box::leak(Box::new(FromFrames(frames.clone()))));
    let virtualization = virtualization(host, &frames)?;
    let modules = host.modules().iter();
    let boot = Boot {
        command_line: host.boot().command_line.as_str(),
        modules: modules
            .map(|module| Module {
                name: module.name.as_str(),
                bytes: module.bytes,
            })
            .collect(),
    };
    Ok(Assembled {
        machine: Arc::new(BareMachine::new(host, virtualization)),
        frames,
        boot,
    })
}

/// The virtualization that the processor has, AMD's or Intel's, switched on.
///
/// # Errors
/// [`AssembleError::NoVirtualization`].
pub fn virtualization(
    host: &'static Host,
    frames: &Arc<Frames>,
) -> Result<Box<dyn Virtualization>, AssembleError> {
    match Svm::enable(host, frames) {
        Ok(svm) => Ok(Box::new(svm)),
        Err(no_svm) => match Vmx::enable(host, frames) {
            Ok(vmx) => Ok(Box::new(vmx)),
            Err(no_vmx) => Err(AssembleError::NoVirtualization(no_svm, no_vmx)),
        },
    }
}

/// Large buffers of the heap as frames of the hypervisor.
struct FromFrames(Arc<Frames>);

impl LargeBlocks for FromFrames {
    fn take(&self, frames: u64) -> Option<MachineAddr> {
        let run = self.0.allocate_run(Owner::Hypervisor, frames).ok()?;
        run.keep().address()
    }

    fn give_back(&self, block: MachineAddr, frames: u64) {
        self.0.release_all(block.frame(), frames);
    }
}
