//! `arch-x86/`: what is particular to x86.

pub mod cpuid;
pub mod hvm;
pub mod pmu;
pub mod xen;
pub mod xen_x86_32;
pub mod xen_x86_64;
