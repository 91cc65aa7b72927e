//! `grant_table_op`: what a guest offers to others, and what it does with their offers. Public header `grant_table.h`.
//!
//! Most rows carry a status of their own (`GNTST_*`) in each element of their argument and return 0. Lists are served in
//! slices: what is left is the same call with the list moved on. The place for an element's status is reserved before
//! anything is done for it.

mod copy;
mod map;
mod setup;
mod status;

use xenvisor_abi::grant_table as abi;
use xenvisor_core::machine::Call;

use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::errno::Errno;
use crate::table::{argument, command, low};

/// Serves the call.
///
/// # Errors
/// As each row says; `NO_CALL` for what real Xen offers PV guests only, `INVALID` for a negative count.
#[rustfmt::skip]
pub fn serve(cx: &Context<'_>, call: &Call) -> Served {
    let list = List { at: argument(call, 1), count: low(argument(call, 2)) };
    match command(call) {
        abi::GNTTABOP_query_size      => setup::query_size(cx, list.one()?),
        abi::GNTTABOP_setup_table     => setup::setup_table(cx, list),
        abi::GNTTABOP_set_version     => setup::set_version(cx, list.some()?),
        abi::GNTTABOP_get_version     => setup::get_version(cx, list.some()?),
        abi::GNTTABOP_swap_grant_ref  => list.serve(call, |at| setup::swap(cx, at)),
        abi::GNTTABOP_map_grant_ref   => list.serve(call, |at| map::map(cx, at)),
        abi::GNTTABOP_unmap_grant_ref => map::unmap(cx, call, list),
        abi::GNTTABOP_copy            => copy::serve(cx, call, list),
        _                             => Err(Errno::NO_CALL),
    }
}

/// Elements served before others get their turn.
const SLICE: u32 = 32;

/// The elements of a call.
#[derive(Clone, Copy)]
struct List {
    at: u64,
    count: u32,
}

impl List {
    /// Where the elements are, if there is a number of them that can be.
    fn some(self) -> Result<u64, Errno> {
        if self.count.cast_signed() < 0 {
            return Err(Errno::INVALID);
        }
        Ok(self.at)
    }

    /// Where the one element is.
    fn one(self) -> Result<u64, Errno> {
        if self.count == 1 {
            Ok(self.at)
        } else {
            Err(Errno::INVALID)
        }
    }

    /// Where an element of this size lies.
    fn element(self, index: u32, bytes: u64) -> Result<u64, Errno> {
        let offset = u64::from(index).checked_mul(bytes);
        offset
            .and_then(|offset| self.at.checked_add(offset))
            .ok_or(Errno::FAULT)
    }

    /// How many elements there are in this slice.
    fn slice(self) -> u32 {
        self.count.min(SLICE)
    }

    /// What the call comes to after a slice of elements of this size.
    fn after_slice(self, call: &Call, bytes: u64) -> Served {
        let left = self.count.saturating_sub(self.slice());
        if left == 0 {
            return Ok(Answer::OK);
        }
        let mut arguments = call.arguments;
        arguments[1] = self.element(self.slice(), bytes)?;
        arguments[2] = u64::from(left);
        Ok(Answer::Again(arguments))
    }

    /// Serves a slice, element by element; `each` returns the size of what it has served.
    fn serve(self, call: &Call, each: impl Fn(u64) -> Result<u64, Errno>) -> Served {
        self.some()?;
        let (mut at, mut bytes) = (self.at, 0);
        for _ in 0..self.slice() {
            bytes = each(at)?;
            at = at.checked_add(bytes).ok_or(Errno::FAULT)?;
        }
        self.after_slice(call, bytes)
    }
}

#[cfg(test)]
mod tests;
