//! The bare machine under the hypervisor: its memory, its traps, its clock, its console.

#[cfg(target_os = "none")]
pub(crate) mod direct_map;
#[cfg(target_os = "none")]
pub mod end;
#[cfg(target_os = "none")]
pub(crate) mod interrupts;
#[cfg(target_os = "none")]
pub(crate) mod stacks;
