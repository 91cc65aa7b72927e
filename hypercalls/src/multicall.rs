//! `multicall`: several calls in one. Public header `xen.h`, `struct multicall_entry`.
//!
//! Each entry's result is written back before the next one is looked at. The batch is cut into slices, so that a long
//! one does not keep the processor: what is left is the same call with the list moved on. An entry that is itself long
//! is cut the same way, its arguments moved on in the list; one after which the vcpu sleeps lets it sleep at once.

use xenvisor_abi::xen::MulticallEntry;
use xenvisor_core::machine::Call;

use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::errno::Errno;
use crate::shape::{bytes_of, field_at};
use crate::table::{self, argument, low};

/// Entries in one slice.
const SLICE: u64 = 64;

/// Serves the call.
///
/// # Errors
/// `FAULT` where an entry cannot be read or its result not be written.
pub fn serve(cx: &Context<'_>, call: &Call) -> Served {
    let (mut list, mut left) = (argument(call, 0), u64::from(low(argument(call, 1))));
    let mut slice = SLICE;
    while left > 0 {
        if slice == 0 {
            return Ok(Answer::Again(with(call, list, left)));
        }
        let (inner, result_at, next) = entry(cx, list)?;
        // A batch within a batch is refused: it would nest without bound.
        let served = if inner.number == u64::from(xenvisor_abi::xen::HYPERVISOR_multicall) {
            Err(Errno::INVALID)
        } else {
            table::serve(cx, &inner)
        };
        let (value, after) = match served {
            Ok(Answer::Done(value)) => (value, None),
            Err(errno) => (errno.result(), None),
            Ok(Answer::Then(value, after)) => (value, Some(after)),
            Ok(Answer::Again(arguments)) => {
                continued(cx, list, &arguments)?;
                return Ok(Answer::Again(with(call, list, left)));
            }
            Ok(Answer::AgainAfter(arguments, after)) => {
                continued(cx, list, &arguments)?;
                return Ok(Answer::AgainAfter(with(call, list, left), after));
            }
        };
        result(cx, result_at, value)?;
        list = next;
        left = left.saturating_sub(1);
        slice = slice.saturating_sub(1);
        // The rest of the batch is for when the vcpu goes on.
        match after {
            Some(after) if left == 0 => return Ok(Answer::Then(0, after)),
            Some(after) => return Ok(Answer::AgainAfter(with(call, list, left), after)),
            None => {}
        }
    }
    Ok(Answer::OK)
}

fn with(call: &Call, list: u64, left: u64) -> [u64; 6] {
    let mut arguments = call.arguments;
    arguments[0] = list;
    arguments[1] = left;
    arguments
}

/// The call an entry holds, where its result goes, and where the next entry is.
fn entry(cx: &Context<'_>, at: u64) -> Result<(Call, u64, u64), Errno> {
    let entry: MulticallEntry = cx.read_shaped(at)?;
    let call = Call {
        number: entry.op,
        arguments: entry.args,
        width: cx.width,
        privileged: true,
    };
    let behind = |bytes| at.checked_add(bytes).ok_or(Errno::FAULT);
    let next = behind(bytes_of::<MulticallEntry>(cx.width))?;
    Ok((call, behind(field_at!(cx.width, MulticallEntry, result))?, next))
}

fn result(cx: &Context<'_>, at: u64, value: u64) -> Result<(), Errno> {
    cx.words(at).put(cx, 0, value)
}

/// Writes the arguments with which an entry goes on into the entry itself.
fn continued(cx: &Context<'_>, at: u64, arguments: &[u64; 6]) -> Result<(), Errno> {
    let place = at.checked_add(field_at!(cx.width, MulticallEntry, args));
    let list = cx.words(place.ok_or(Errno::FAULT)?);
    (0..)
        .zip(arguments)
        .try_for_each(|(index, argument)| list.put(cx, index, *argument))
}

#[cfg(test)]
mod tests;
