//! The virtual processor: everything about a vcpu that AMD's and Intel's processors do alike.
//!
//! [`cpu`] is the vcpu itself, all decisions and no hardware: what an exit means to a guest, what is injected next
//! ([`event`]), what it is told by CPUID and MSRs. It speaks to an [`engine`], which knows how one vendor's processors
//! keep a guest's state and why they say that it stopped ([`reason`]): `svm` and `vmx` have one each. What a guest
//! leaves in the processor, and no control structure carries, is [`extended_state`].

pub mod cpu;
pub mod engine;
pub mod event;
pub mod extended_state;
#[cfg(target_os = "none")]
pub(crate) mod instructions;
#[cfg(target_os = "none")]
pub(crate) mod page;
#[cfg(target_os = "none")]
pub(crate) mod per_pcpu;
#[cfg(target_os = "none")]
pub(crate) mod processor;
pub mod reason;
#[cfg(target_os = "none")]
pub(crate) mod resident;
pub mod tags;
