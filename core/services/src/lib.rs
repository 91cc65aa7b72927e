//! What dom0's daemons do elsewhere.
#![no_std]
#![forbid(unsafe_code)]
