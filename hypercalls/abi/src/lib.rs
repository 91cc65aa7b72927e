//! Layouts and numbers of the Xen public headers.
#![no_std]
#![forbid(unsafe_code)]
