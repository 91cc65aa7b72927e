//! What the daemons of a control domain do elsewhere, done in the hypervisor's own image: consoles.
//!
//! A service is a [`Service`](xenvisor_core::service::Service): the other end of event channels and shared rings. It
//! sees guests through the same doors as everybody, and trusts what it finds in their memory no more.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod console;
