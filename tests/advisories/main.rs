//! What Xen's security advisories teach: for each mistake that a hypervisor for HVM and PVH guests could make as well,
//! a test that fails if it is made here. One file an area; the advisory's number is in the test's name.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly; that is what it is for"
)]

mod events;
mod grants;
mod host;
mod hypercalls;
mod memory;
mod p2m;
mod processor;
#[path = "../world/mod.rs"]
mod world;
