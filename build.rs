//! Tells the linker how an image (an example built for the bare machine) is laid out.
//!
//! Two scripts, in this order: the image's own, then defmt's (which its crate puts on the search path).

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=arch/x86_64/link.ld");
    let bare = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none");
    if !bare {
        return;
    }
    let here = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rustc-link-arg-examples=-T{here}/arch/x86_64/link.ld");
    println!("cargo:rustc-link-arg-examples=-Tdefmt.x");
}
