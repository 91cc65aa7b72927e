//! AMD's secure virtual machines: guests run by VMRUN, in nested page tables.
//!
//! Decisions are pure files, tested on a workstation: what is intercepted ([`intercepts`], [`permission_map`]), why a
//! guest stopped ([`reason`]), what it is given next ([`event`]), whether the
//! processor will take a control block ([`check`]), and the [`engine`] that keeps a vcpu's state in one. What
//! touches hardware is behind the seam of [`block`].

pub mod block;
pub mod check;
pub mod engine;
pub mod event;
#[cfg(target_os = "none")]
pub mod hardware;
#[cfg(target_os = "none")]
mod instructions;
pub mod intercepts;
pub mod permission_map;
pub mod reason;
pub mod segment;
#[cfg(test)]
mod tests;
pub mod vmcb;
#[cfg(target_os = "none")]
mod world_switch;
