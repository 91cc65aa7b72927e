//! AMD's secure virtual machines: guests run by VMRUN, in nested page tables.
//!
//! Decisions are pure files, tested on a workstation: what is intercepted ([`intercepts`], [`permission_map`]), why a
//! guest stopped ([`reason`]), what it is given next ([`event`]), which tag its translations carry ([`asid`]), whether
//! the processor will take a control block ([`check`]).

pub mod asid;
pub mod check;
pub mod event;
pub mod intercepts;
pub mod permission_map;
pub mod reason;
pub mod segment;
pub mod vmcb;
