//! Virtual processors of a domain.

pub mod start;
