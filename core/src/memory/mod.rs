//! Memory: who owns which frame ([`frames`]), and the one door to what a guest calls memory ([`guest`]).

pub mod frames;
pub mod guest;
pub mod guest_page;
pub mod room;
