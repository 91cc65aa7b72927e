//! `hvm/`: headers for guests that run on the processor's virtualization, and for who builds them.

pub mod hvm_op;
pub mod hvm_vcpu;
pub mod params;

/// `start_info.h` is in the headers' folder of the processor; it is what a PVH guest of any is started with.
pub use crate::arch_x86::hvm::start_info;
