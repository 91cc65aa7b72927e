//! The host's console, closed to guests.

use alloc::vec::Vec;

use xenvisor_abi::xen::{CONSOLEIO_read, CONSOLEIO_write, HYPERVISOR_console_io};
use xenvisor_core::number::DomainId;
use xenvisor_core::policy::XenDefault;

use crate::answer::{Answer, Served};
use crate::errno::Errno;
use crate::testing::{NOWHERE, World};

const AT: u64 = 0x1000;

fn call(world: &World, command: u32, count: u64, at: u64) -> Served {
    world.call(1, HYPERVISOR_console_io, &[command.into(), count, at])
}

#[test]
fn a_guest_is_refused_before_anything_else_is_looked_at() {
    let world = World::new(1, 1, XenDefault::default(), Vec::new());
    for command in [CONSOLEIO_write, CONSOLEIO_read, 2, 99] {
        assert_eq!(
            call(&world, command, 5, NOWHERE),
            Err(Errno::NOT_PERMITTED),
            "{command}"
        );
    }
}

#[test]
fn a_long_text_is_written_in_turns_and_a_bad_one_is_a_fault() {
    let world = World::new(1, 1, XenDefault::with_privileged(DomainId::new(1)), Vec::new());
    assert_eq!(call(&world, CONSOLEIO_write, 100, AT), Ok(Answer::OK));
    let rest = [CONSOLEIO_write.into(), 904, AT + 4096, 0, 0, 0];
    assert_eq!(call(&world, CONSOLEIO_write, 5000, AT), Ok(Answer::Again(rest)));
    assert_eq!(call(&world, CONSOLEIO_write, 1, NOWHERE), Err(Errno::FAULT));
    assert_eq!(call(&world, CONSOLEIO_read, 1 << 31, AT), Err(Errno::TOO_LONG));
    assert_eq!(
        call(&world, CONSOLEIO_read, 9, AT),
        Ok(Answer::Done(0)),
        "nobody types"
    );
    assert_eq!(call(&world, 2, 9, AT), Err(Errno::NO_CALL));
}
