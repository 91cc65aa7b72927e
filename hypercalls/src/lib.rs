//! The verbs a guest can utter.
#![no_std]
#![forbid(unsafe_code)]
