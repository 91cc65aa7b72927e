//! AMD's secure virtual machines: guests run by VMRUN, in nested page tables.
//!
//! Decisions are pure files, tested on a workstation: what is intercepted ([`intercepts`], [`permission_map`]), why a
//! guest stopped ([`reason`]), what it is given next ([`event`]), which tag its translations carry ([`asid`]), whether
//! the processor will take a control block ([`check`]), and the vcpu that puts it all together ([`cpu`]). What touches
//! hardware is behind the seam of [`engine`].

pub mod asid;
pub mod check;
pub mod cpu;
pub mod engine;
pub mod event;
pub mod extended_state;
#[cfg(target_os = "none")]
pub mod hardware;
#[cfg(target_os = "none")]
mod instructions;
pub mod intercepts;
#[cfg(target_os = "none")]
mod page;
pub mod permission_map;
pub mod reason;
#[cfg(target_os = "none")]
mod resident;
pub mod segment;
pub mod vmcb;
#[cfg(target_os = "none")]
mod world_switch;
