//! `console_io`: the host's own console. Refused to guests, unless the policy opens it (public header `xen.h`).

use xenvisor_abi::xen as abi;
use xenvisor_core::machine::Call;
use xenvisor_core::policy::HostConsole;

use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::errno::Errno;
use crate::table::{argument, command, low};

/// Bytes read from the guest, and shown, in one go.
const PIECE: usize = 128;
/// More than this in one call is cut into calls: others want to run too.
const MOST: u64 = 4096;

/// Serves the call.
///
/// # Errors
/// `NOT_PERMITTED` where the policy keeps the console closed, `FAULT` for a bad buffer, `TOO_LONG` for a read of more
/// than can be counted, `NO_CALL` for other commands.
pub fn serve(cx: &Context<'_>, call: &Call) -> Served {
    let (count, buffer) = (u64::from(low(argument(call, 1))), argument(call, 2));
    cx.authorise(HostConsole {
        caller: cx.caller.id,
        writes: command(call) == abi::CONSOLEIO_write,
    })?;
    match command(call) {
        abi::CONSOLEIO_write => write(cx, count, buffer, call),
        abi::CONSOLEIO_read => read(cx, count, buffer),
        _ => Err(Errno::NO_CALL),
    }
}

fn write(cx: &Context<'_>, count: u64, buffer: u64, call: &Call) -> Served {
    let now = count.min(MOST);
    let mut piece = [0; PIECE];
    let mut done: u64 = 0;
    while done < now {
        let left = usize::try_from(now.saturating_sub(done))
            .unwrap_or(PIECE)
            .min(PIECE);
        let piece = piece.get_mut(..left).ok_or(Errno::FAULT)?;
        cx.read_bytes(buffer.checked_add(done).ok_or(Errno::FAULT)?, piece)?;
        cx.hypervisor.machine.console_write(piece);
        done = done.saturating_add(left as u64);
    }
    if done == count {
        return Ok(Answer::OK);
    }
    let mut arguments = call.arguments;
    arguments[1] = count.saturating_sub(done);
    arguments[2] = buffer.wrapping_add(done);
    Ok(Answer::Again(arguments))
}

fn read(cx: &Context<'_>, count: u64, buffer: u64) -> Served {
    // The result has to tell a count from an error: Xen counts in an `int`.
    if count > i32::MAX.unsigned_abs().into() {
        return Err(Errno::TOO_LONG);
    }
    let mut done: u64 = 0;
    while done < count.min(MOST) {
        let at = buffer.checked_add(done).ok_or(Errno::FAULT)?;
        // The place is found first, so that no byte typed is lost to a bad buffer.
        let place = cx.reserve::<u8>(at)?;
        let Some(byte) = cx.hypervisor.machine.console_read() else {
            break;
        };
        place.send(&byte);
        done = done.saturating_add(1);
    }
    Ok(Answer::Done(done))
}

#[cfg(test)]
mod tests;
