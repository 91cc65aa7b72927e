//! `memory_op`: which frames a guest has, and where. Public header `memory.h`.
//!
//! The command's bits 5:0 say what; the bits above say how far a long operation has come, so that it goes on where it
//! stopped: what is not done after a slice is the same call, further on.

mod physmap;
mod reservation;
mod status;

use xenvisor_abi::memory as abi;
use xenvisor_core::machine::Call;

use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::errno::Errno;
use crate::table::{argument, command};

/// Where the progress begins in the command.
const PROGRESS_SHIFT: u32 = 6;
/// The bits of the command proper.
const COMMAND: u32 = (1 << PROGRESS_SHIFT) - 1;

/// Serves the call.
///
/// # Errors
/// As each row says; `NO_CALL` for what guests without privilege do not ask here.
#[rustfmt::skip]
pub fn serve(cx: &Context<'_>, call: &Call) -> Served {
    let command = command(call);
    let (at, done) = (argument(call, 1), u64::from(command >> PROGRESS_SHIFT));
    match command & COMMAND {
        abi::XENMEM_increase_reservation  => reservation::increase(cx, call, at, done),
        abi::XENMEM_decrease_reservation  => reservation::decrease(cx, call, at, done),
        abi::XENMEM_populate_physmap      => reservation::populate(cx, call, at, done),
        abi::XENMEM_current_reservation   => status::current_reservation(cx, at),
        abi::XENMEM_maximum_reservation   => status::maximum_reservation(cx, at),
        abi::XENMEM_maximum_gpfn          => status::maximum_gpfn(cx, at),
        abi::XENMEM_memory_map            => status::memory_map(cx, at),
        abi::XENMEM_add_to_physmap        => physmap::add(cx, call, at, done),
        abi::XENMEM_remove_from_physmap   => physmap::remove(cx, at),
        _                                 => Err(Errno::NO_CALL),
    }
}

/// The same call, to go on after `done` of its parts.
fn again(call: &Call, done: u64) -> Answer {
    let mut arguments = call.arguments;
    arguments[0] = u64::from(command(call) & COMMAND) | done << PROGRESS_SHIFT;
    Answer::Again(arguments)
}
