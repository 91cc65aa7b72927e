//! `arch-x86/hvm/`: how an x86 guest that runs on the processor's virtualization starts.

pub mod start_info;
