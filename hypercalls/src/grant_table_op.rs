//! `grant_table_op`: what a guest asks of grant tables. Public header `grant_table.h`.
//!
//! Most rows carry a status of their own (`GNTST_*`) in the argument and return 0.

use xenvisor_abi::grant_table as abi;
use xenvisor_core::grant::entry::Version;
use xenvisor_core::machine::Call;
use xenvisor_core::policy::Act;

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
    let (at, count) = (argument(call, 1), low(argument(call, 2)));
    if count.cast_signed() < 0 {
        return Err(Errno::INVALID);
    }
    match command(call) {
        abi::GNTTABOP_query_size  => query_size(cx, at, count),
        abi::GNTTABOP_set_version => set_version(cx, at),
        abi::GNTTABOP_get_version => get_version(cx, at),
        _                         => Err(Errno::NO_CALL),
    }
}

/// How large a domain's table is, and may become.
fn query_size(cx: &Context<'_>, at: u64, count: u32) -> Served {
    if count != 1 {
        return Err(Errno::INVALID);
    }
    let mut argument: abi::QuerySize = cx.read(at)?;
    let reply = cx.reserve(at)?;
    match cx.domain(argument.dom) {
        Err(_) => argument.status = abi::GNTST_bad_domain,
        Ok(target)
            if cx
                .authorise_control(target.id, Act::GrantTable, "to look at a grant table")
                .is_err() =>
        {
            argument.status = abi::GNTST_permission_denied;
        }
        Ok(target) => {
            let table = target.grants.lock();
            argument.nr_frames = table.size();
            argument.max_nr_frames = table.limit();
            argument.status = abi::GNTST_okay;
        }
    }
    reply.send(&argument);
    Ok(Answer::OK)
}

/// Chooses the version of the caller's entries. `BUSY` while offers are in use; the answer is the version in force.
fn set_version(cx: &Context<'_>, at: u64) -> Served {
    let argument: abi::SetVersion = cx.read(at)?;
    let version = match argument.version {
        1 => Version::V1,
        2 => Version::V2,
        _ => return Err(Errno::INVALID),
    };
    let reply = cx.reserve(at)?;
    let domain = cx.caller;
    let changed = domain.change(|leaving| domain.grants.lock().set_version(version, &domain.memory, leaving));
    let version = number(domain.grants.lock().version());
    reply.send(&abi::SetVersion { version });
    changed?;
    Ok(Answer::OK)
}

/// The version of a domain's entries.
fn get_version(cx: &Context<'_>, at: u64) -> Served {
    let mut argument: abi::GetVersion = cx.read(at)?;
    let target = cx.domain(argument.dom)?;
    cx.authorise_control(target.id, Act::GrantTable, "to look at a grant table")?;
    argument.version = number(target.grants.lock().version());
    cx.write(at, &argument)?;
    Ok(Answer::OK)
}

const fn number(version: Version) -> u32 {
    match version {
        Version::V1 => 1,
        Version::V2 => 2,
    }
}
