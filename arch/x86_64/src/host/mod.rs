//! The bare machine under the hypervisor: its memory, its traps, its clock, its console.
//!
//! [`Host`] is the one object; it exists once per machine, from the end of booting until the machine ends.
//! The host runs with interrupts off, and takes them only while it sleeps, in the window after a guest ran
//! ([`Host::take_interrupts`]), and whenever a guest runs.

#[cfg(target_os = "none")]
pub mod acpi;
#[cfg(target_os = "none")]
pub(crate) mod address_space;
#[cfg(target_os = "none")]
pub mod assemble;
#[cfg(target_os = "none")]
mod bare;
#[cfg(target_os = "none")]
pub(crate) mod direct_map;
#[cfg(target_os = "none")]
pub mod end;
#[cfg(target_os = "none")]
pub(crate) mod fault;
#[cfg(target_os = "none")]
pub mod features;
#[cfg(target_os = "none")]
pub(crate) mod interrupts;
#[cfg(target_os = "none")]
pub mod machine;
#[cfg(target_os = "none")]
pub(crate) mod memory;
pub mod page_tables;
#[cfg(target_os = "none")]
pub(crate) mod pcpu;
#[cfg(target_os = "none")]
pub(crate) mod processors;
#[cfg(target_os = "none")]
pub(crate) mod segments;
#[cfg(target_os = "none")]
pub(crate) mod stacks;
#[cfg(target_os = "none")]
pub(crate) mod traps;

#[cfg(target_os = "none")]
pub(crate) use bare::MAX_MODULES;
#[cfg(target_os = "none")]
pub use bare::{Host, Module};
