//! Descriptions say what they mean, and a typo on the command line is named.

use super::*;
use crate::number::{GIB, MIB, Port};
use crate::policy::{EventSend, Verdict};
use std::string::ToString;

const KERNEL: Module = Module {
    name: "vmlinuz",
    bytes: b"kernel",
};

fn two() -> System {
    let mut system = System::default();
    system.guest(Guest::linux_pvh("linux", KERNEL));
    system.guest(Guest::pvh("other", KERNEL).memory(16 * MIB));
    system
}

#[test]
fn the_command_line_changes_what_it_names_and_nothing_else() {
    let mut system = two();
    system
        .apply(
            "guest.linux.memory=2G  guest.linux.cmdline=\"console=hvc0 quiet\" guest.other.vcpus=3 \
             guest.other.event_channels=4095 host.x=1",
        )
        .unwrap();
    let [linux, other] = system.guests() else {
        panic!("two guests")
    };
    assert_eq!(
        (
            linux.memory,
            linux.cmdline.as_str(),
            linux.vcpus,
            linux.event_channels
        ),
        (2 * GIB, "console=hvc0 quiet", 1, 1023)
    );
    assert_eq!(
        (
            other.memory,
            other.cmdline.as_str(),
            other.vcpus,
            other.event_channels
        ),
        (16 * MIB, "", 3, 4095)
    );
}

#[test]
fn each_mistake_on_the_command_line_is_named() {
    for (line, named) in [
        ("quiet", "`quiet`"),
        ("guest.linux.memroy=1G", "`guest.linux.memroy`"),
        ("guest.linus.memory=1G", "`linus`"),
        ("guest.linux.memory=lots", "`lots`"),
        ("guest.linux.memory=99999999999G", "`99999999999G`"),
        ("guest.linux.vcpus=-1", "`-1`"),
        ("guest.linux.event_channels=all", "`all`"),
        ("guest.linux.cmdline=\"console=hvc0", "console=hvc0"),
    ] {
        let message = two().apply(line).unwrap_err().to_string();
        assert!(message.contains(named), "{line}: {message}");
    }
}

#[test]
fn a_missing_module_is_named_with_those_there_are() {
    let boot = Boot {
        command_line: "",
        modules: std::vec![KERNEL],
    };
    assert_eq!(boot.module("vmlinuz"), Ok(KERNEL));
    let message = boot.module("initrd").unwrap_err().to_string();
    assert!(
        message.contains("`initrd`") && message.contains("`vmlinuz`"),
        "{message}"
    );
}

#[test]
fn a_system_without_guests_or_with_twins_is_refused() {
    assert_eq!(System::default().check(), Err(BootError::NoGuests));
    let mut twins = two();
    twins.guest(Guest::pvh("linux", KERNEL));
    assert!(matches!(twins.check(), Err(BootError::SameName { .. })));
}

#[test]
fn a_partitioned_system_allows_declared_channels_only() {
    let mut system = System::partitioned();
    let a = system.guest(Guest::pvh("a", KERNEL));
    let b = system.guest(Guest::pvh("b", KERNEL));
    let c = system.guest(Guest::pvh("c", KERNEL));
    system.channel(a, b);
    let (policy, _, _) = system.into_parts();
    let send = |from: GuestId, to: GuestId| {
        policy.event_send(&EventSend {
            caller: from.domain(),
            remote: to.domain(),
            port: Port::new(1),
        })
    };
    assert_eq!(send(b, a), Verdict::Allow);
    assert!(matches!(send(a, c), Verdict::Deny(_)));
}
