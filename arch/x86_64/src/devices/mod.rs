//! Virtual devices: pure state machines that a backend drives with a guest's accesses and with time.
//!
//! Nothing here touches hardware or asks what time it is; time is an argument, effects are return values.
#![forbid(unsafe_code)]

pub mod local_apic;
