//! Memory: who owns which frame ([`frames`]) and how many ([`accounts`]), the one door to what a guest calls memory
//! ([`guest`]), and what a domain's memory consists of ([`domain_memory`]).

pub mod accounts;
pub mod domain_memory;
pub mod frames;
pub mod guest;
pub mod guest_page;
pub mod leaving;
pub mod records;
pub mod room;
