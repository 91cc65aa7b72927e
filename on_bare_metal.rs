//! An image on the bare machine: puts machine, services and description together, and ends the machine when all is over.

use crate::bare::host::Host;
use crate::bare::host::assemble::assemble;
use crate::bare::host::end::{End, end};
use crate::hypercalls::launch::{Ended, launch};
use crate::prelude::{Boot, BootError, System};

/// Runs what an image describes. For [`image!`](crate::image) to call.
pub fn run_image(host: &'static Host, describe: fn(&Boot) -> Result<System, BootError>) -> ! {
    end(try_run(host, describe).unwrap_or_else(|error| {
        host.console_write(alloc::format!("xenvisor: {error}\r\n").as_bytes());
        End::HostFailed
    }))
}

fn try_run(
    host: &'static Host,
    describe: fn(&Boot) -> Result<System, BootError>,
) -> Result<End, alloc::boxed::Box<dyn core::error::Error>> {
    let assembled = assemble(host)?;
    let system = describe(&assembled.boot)?;
    let command_line = assembled.boot.command_line;
    let services = crate::standard_services();
    let finished = launch(
        assembled.machine,
        assembled.frames,
        system,
        command_line,
        services,
    )?;
    Ok(match finished.ended {
        Ended::Well => End::Well,
        Ended::Badly => End::GuestCrashed,
    })
}
