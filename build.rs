//! Tells the linker how an image (an example built for the bare machine) is laid out.
fn main() {}
