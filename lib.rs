//! xenvisor: a Xen-compatible hypervisor as a library.
//!
//! An image is one small file: a function from what was loaded to a description of guests, and a policy.
//!
//! ```no_run
//! use xenvisor::prelude::*;
//!
//! fn describe(boot: &Boot) -> Result<System, BootError> {
//!     let mut system = System::default();
//!     system.guest(Guest::linux_pvh("linux", boot.module("vmlinuz")?).initrd(boot.module("initrd")?));
//!     Ok(system)
//! }
//!
//! xenvisor::image!(describe);
//! ```
//!
//! Built for `x86_64-unknown-none`, such a file is a kernel that QEMU, GRUB or firmware boots. Built for a workstation,
//! it is a program that runs the same description on a simulated machine.
//!
//! This crate holds no logic. The parts, from the bottom up:
//!
//! * [`abi`]: layouts and numbers of Xen's public headers;
//! * [`model`]: domains, vcpus, memory, events, grants, policies; pure, without hardware;
//! * [`services`]: what daemons do elsewhere;
//! * [`hypercalls`]: what guests can ask for, and the loop that serves them;
//! * `bare` or `sim`: the machine.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub use xenvisor_abi as abi;
pub use xenvisor_core as model;
pub use xenvisor_hypercalls as hypercalls;
pub use xenvisor_services as services;
#[cfg(not(target_os = "none"))]
pub use xenvisor_sim as sim;
#[cfg(target_os = "none")]
pub use xenvisor_x86_64 as bare;

#[cfg(target_os = "none")]
mod on_bare_metal;
#[cfg(target_os = "none")]
pub use on_bare_metal::run_image;
#[cfg(not(target_os = "none"))]
mod on_workstation;
#[cfg(not(target_os = "none"))]
pub use on_workstation::sim_image;

/// What an image needs.
pub mod prelude {
    pub use xenvisor_core::clock::Instant;
    pub use xenvisor_core::machine::Access;
    pub use xenvisor_core::number::{DomainId, GIB, MIB, PcpuId};
    pub use xenvisor_core::policy::request::*;
    pub use xenvisor_core::policy::{Policy, Silo, StaticPartition, Verdict, XenDefault};
    pub use xenvisor_core::sched::{Arrival, Claim, OutOfMemory, PcpuSet, Slice, VcpuKey};
    pub use xenvisor_core::sched::{Pinned, RoundRobin, Scheduler, Weighted};
    pub use xenvisor_core::system::{AfterEnd, Boot, BootError, Guest, GuestId, Module, System};
}

/// What serves guests from within, in the order in which they are attached.
#[must_use]
pub fn standard_services() -> alloc::vec::Vec<alloc::boxed::Box<dyn model::service::Service>> {
    alloc::vec![alloc::boxed::Box::new(services::console::Consoles::new())]
}

/// Makes an image of a function `fn(&Boot) -> Result<System, BootError>`.
#[macro_export]
macro_rules! image {
    ($describe:path) => {
        #[cfg(target_os = "none")]
        // The one symbol by which the boot code finds the image.
        #[unsafe(no_mangle)]
        extern "Rust" fn xenvisor_image_main(host: &'static $crate::bare::host::Host) -> ! {
            $crate::run_image(host, $describe)
        }

        #[cfg(not(target_os = "none"))]
        fn main() -> ::std::process::ExitCode {
            $crate::sim_image($describe)
        }
    };
}
