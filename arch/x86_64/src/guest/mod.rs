//! What a guest's virtual processor shows and believes, as pure functions of state that a backend hands in.
//!
//! A backend (SVM, VMX) keeps a guest's registers in its own form and asks here what they mean: where a
//! linear address leads ([`page_walk`]), what CPUID says, what an MSR access does. Nothing here touches
//! hardware, so all of it runs in the tests of a workstation.
#![forbid(unsafe_code)]

pub mod cpuid;
pub mod exception;
pub mod hypercall_page;
pub mod msr;
pub mod page_walk;
pub mod segments;
