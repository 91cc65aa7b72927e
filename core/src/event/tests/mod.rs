//! Tests of event channels, by what they are about. [`world`] has domains to test with, [`guest`] plays their kernels.

mod bindings;
mod closing;
mod fifo;
mod guest;
mod model;
mod polling;
mod schedules;
mod scribble;
mod starvation;
mod threads;
mod two_level;
mod vcpu_info;
mod virqs;
mod world;
