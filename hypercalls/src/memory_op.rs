//! `memory_op`: a guest's memory: where its frames are, and how many. Public header `memory.h`.
//!
//! The command is in the low 6 bits; above them a call that is made again keeps how far it has come. Those that change
//! reservations never fail: their result is how many extents are done, and what stopped them is not said.

mod arguments;
mod exchange;
mod map;
mod meanings;
mod physmap;
mod reservation;
mod status;
mod tools;

use xenvisor_abi::memory as abi;
use xenvisor_core::machine::Call;

use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::errno::Errno;
use crate::table::{argument, low};

/// How far the progress is shifted up beside the command (`MEMOP_EXTENT_SHIFT`).
const PROGRESS_SHIFT: u32 = 6;
const COMMAND: u32 = (1 << PROGRESS_SHIFT) - 1;

/// Serves the call.
///
/// # Errors
/// `FAULT` where an argument cannot be read or an answer not be written, `NO_CALL` for other commands; otherwise as
/// each row says.
#[rustfmt::skip]
pub fn serve(cx: &Context<'_>, call: &Call) -> Served {
    let at = argument(call, 1);
    match low(argument(call, 0)) & COMMAND {
        abi::XENMEM_increase_reservation       => reservation::increase(cx, call, at),
        abi::XENMEM_decrease_reservation       => reservation::decrease(cx, call, at),
        abi::XENMEM_populate_physmap           => reservation::populate(cx, call, at),
        abi::XENMEM_exchange                   => exchange::exchange(cx, call, at),
        abi::XENMEM_maximum_ram_page           => status::maximum_ram_page(cx, call),
        abi::XENMEM_current_reservation        => status::current_reservation(cx, call, at),
        abi::XENMEM_maximum_reservation        => status::maximum_reservation(cx, call, at),
        abi::XENMEM_maximum_gpfn               => status::maximum_gpfn(cx, call, at),
        abi::XENMEM_get_vnumainfo              => status::vnuma(cx, call, at),
        abi::XENMEM_reserved_device_memory_map => status::reserved_devices(cx, call, at),
        abi::XENMEM_machphys_mfn_list          => status::machphys(cx, call, at),
        abi::XENMEM_machphys_compat_mfn_list   => status::machphys_compat(call),
        abi::XENMEM_get_sharing_freed_pages
        | abi::XENMEM_get_sharing_shared_pages => status::shared(call),
        abi::XENMEM_add_to_physmap             => physmap::add(cx, call, at),
        abi::XENMEM_add_to_physmap_batch       => physmap::add_batch(cx, call, at),
        abi::XENMEM_remove_from_physmap        => physmap::remove(cx, call, at),
        abi::XENMEM_memory_map                 => map::get(cx, call, at),
        abi::XENMEM_set_memory_map             => map::set(cx, call, at),
        abi::XENMEM_claim_pages                => tools::claim_pages(cx, call, at),
        abi::XENMEM_set_pod_target
        | abi::XENMEM_get_pod_target           => tools::pod_target(cx, call, at),
        abi::XENMEM_access_op                  => tools::access(cx, at),
        abi::XENMEM_acquire_resource           => tools::acquire_resource(cx, at),
        // Not for guests whose memory is translated (the machine's map, the table of its frames), and left out of the
        // build (paging, and sharing itself).
        _                                      => Err(Errno::NO_CALL),
    }
}

/// How far the call has come: extents or frames done.
///
/// Xen keeps it in an `unsigned long`: a 64-bit caller that puts more there than fits is told so by each row.
fn progress(call: &Call) -> u64 {
    argument(call, 0) >> PROGRESS_SHIFT
}

/// The same call, having come so far.
fn again(call: &Call, done: u64) -> Answer {
    let mut arguments = call.arguments;
    let command = u64::from(low(argument(call, 0)) & COMMAND);
    arguments[0] = command | done << PROGRESS_SHIFT;
    Answer::Again(arguments)
}

#[cfg(test)]
mod tests;
