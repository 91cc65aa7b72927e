//! Layouts and numbers of the Xen public headers (4.17), for a 64-bit x86 caller; `compat` modules hold the
//! layouts of a 32-bit caller where they differ.
//!
//! One file per public header, of the same name. There is no logic here: only what crosses the border between a
//! guest and its hypervisor, as numbers, flag words and structures of bytes. Every structure has its padding
//! spelled out, so that it can be written to a guest as bytes without leaking what was in the gaps.
//!
//! Constants keep the headers' own spelling (`EVTCHNOP_send`), so that one search finds both sides; only the
//! leading underscores of `__HYPERVISOR_*` and the `XEN_` of error numbers are dropped. Structures are named
//! within their module (`xen_add_to_physmap` is [`memory::AddToPhysmap`]).
//!
//! [`HEADERS`] lists every item with its C name: `cargo xtask abi` compares all of them with the C headers.
#![no_std]
#![forbid(unsafe_code)]

#[macro_use]
pub mod describe;

pub mod arch_x86;
pub mod argo;
pub mod callback;
pub mod elfnote;
pub mod errno;
pub mod event_channel;
pub mod features;
pub mod grant_table;
pub mod hvm;
pub mod io;
pub mod memory;
pub mod nmi;
pub mod physdev;
pub mod pmu;
pub mod sched;
pub mod vcpu;
pub mod version;
pub mod xen;

mod handle;
mod headers;

pub use handle::{CompatU64, GuestHandle32, GuestHandle64};
pub use headers::HEADERS;
