//! Tells the linker how a guest is laid out, where one is built for the bare machine.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=guest.ld");
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        let here = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo:rustc-link-arg-bins=-T{here}/guest.ld");
    }
}
