//! Partitions: what the description declares is all that guests may do to each other.
#![cfg_attr(target_os = "none", no_std, no_main)]

use xenvisor::prelude::*;

fn describe(boot: &Boot) -> Result<System, BootError> {
    let mut system = System::partitioned();
    let small = |name, module| Ok(Guest::pvh(name, boot.module(module)?).memory(16 * MIB));
    let sensor = system.guest(small("sensor", "neighbour")?.cmdline("visitor=2"));
    let reader = system.guest(small("reader", "intruder")?.cmdline("friend=1 target=3"));
    system.guest(small("vault", "neighbour")?.cmdline("visitor=2"));
    // The reader hears the sensor and reads its pages; it writes nothing, and there is no way to the vault. (A device
    // for a guest would be `system.device(backend, frontend)`.)
    system.channel(sensor, reader);
    system.share(sensor, reader, Access::Read);
    Ok(system)
}

xenvisor::image!(describe);
