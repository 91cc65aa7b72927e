//! An image without guests, for tests of the bare host: the command line says what to try.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
use xenvisor as _;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("this image tests the bare machine: build it for x86_64-unknown-none");
}
