//! Intel's virtual machine extensions: guests run by VMLAUNCH and VMRESUME, in extended page tables.
//!
//! Decisions are pure files, tested on a workstation: what the processor can do ([`capability`]), how a guest is
//! confined ([`controls`], [`bitmaps`]), what a new control structure says ([`setup`]), why a guest stopped
//! ([`reason`]), how events travel ([`event`]), and whether the processor will take a control structure ([`check`]).
//! They see a control structure as its [`fields`]. Sections of the SDM are those of its editions of 2023 and 2024.

pub mod bitmaps;
pub mod block;
pub mod capability;
pub mod check;
pub mod controls;
pub mod engine;
pub mod event;
mod field_name;
pub mod fields;
#[cfg(target_os = "none")]
pub mod hardware;
#[cfg(target_os = "none")]
mod host_state;
pub mod instruction_error;
#[cfg(target_os = "none")]
mod instructions;
pub mod reason;
#[cfg(any(target_os = "none", test))]
mod run_timer;
pub mod segment;
pub mod setup;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
#[cfg(target_os = "none")]
mod world_switch;
