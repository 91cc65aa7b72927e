//! The hardware of a 64-bit PC, behind the contract of `xenvisor_core::machine`.
#![cfg_attr(not(test), no_std)]

pub mod devices;
pub mod guest;
pub mod second_stage;
