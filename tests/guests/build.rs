//! Tells the linker how a guest is laid out, and the code whether it is built for the bare machine.
//!
//! Bare are the target without an operating system (64-bit guests), and every 32-bit x86 target: nothing of this
//! repository runs in 32-bit mode on a workstation, and Rust has no 32-bit target without an operating system.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=guest.ld");
    println!("cargo:rustc-check-cfg=cfg(bare)");
    let is = |what: &str, value: &str| env::var(what).is_ok_and(|found| found == value);
    if is("CARGO_CFG_TARGET_OS", "none") || is("CARGO_CFG_TARGET_ARCH", "x86") {
        let here = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo:rustc-cfg=bare");
        println!("cargo:rustc-link-arg-bins=-T{here}/guest.ld");
    }
}
