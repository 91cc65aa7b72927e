//! The conformance walk of exits: a guest raises each one, and sees the same on every processor.
//!
//! Its transcript is `exits.txt`, byte for byte, in QEMU on an AMD processor and in Bochs on an Intel processor. What
//! QEMU's processor gets wrong by itself is in `exits_strict.txt` instead, and said where a processor is right.

use xtask::machine::{Emulator, Ending, Running};

use crate::world::{Machine, emulator, guest};

/// What the guest says everywhere, but for the lines of [`CPUID`].
const EVERYWHERE: &str = include_str!("exits.txt");
/// What it says besides where a processor checks what the manuals tell it to.
const STRICTLY: &str = include_str!("exits_strict.txt");

/// A leaf of CPUID: of each register the bits that are the same on every processor, and what they are.
struct Leaf {
    number: u32,
    same: [(u32, u32); 4],
}

const ALL: u32 = u32::MAX;
const NONE: (u32, u32) = (0, 0);
const ZERO: (u32, u32) = (ALL, 0);

const fn leaf(number: u32, same: [(u32, u32); 4]) -> Leaf {
    Leaf { number, same }
}

/// What CPUID says. The bits that are not here differ, for the reason that stands beside them.
const CPUID: [Leaf; 26] = [
    // The vendor's name.
    leaf(0, [(ALL, 0xd), NONE, NONE, NONE]),
    // Family and model; features of the instruction set. The same: what the hypervisor provides (x2APIC, TSC deadline,
    // hypervisor, APIC, a valid count) and what it hides (MONITOR, DS_CPL, VMX, SMX, power and heat).
    leaf(
        1,
        [
            NONE,
            (ALL, 0x2_0800),
            (1 << 31 | 1 << 24 | 1 << 21 | 0x1fc, 1 << 31 | 1 << 24 | 1 << 21),
            (1 << 28 | 1 << 9 | 1 << 22 | 1 << 29, 1 << 28 | 1 << 9),
        ],
    ),
    leaf(5, [ZERO; 4]),
    leaf(6, [ZERO; 4]),
    // Features of the instruction set. The same: no TSX, no MPX, no processor trace, no SGX, no performance monitoring.
    leaf(
        7,
        [
            ZERO,
            (1 << 2 | 1 << 4 | 1 << 11 | 1 << 12 | 1 << 14 | 1 << 25, 0),
            NONE,
            NONE,
        ],
    ),
    leaf(0xa, [ZERO; 4]),
    leaf(0xb, [ZERO; 4]),
    leaf(0xf, [ZERO; 4]),
    leaf(0x10, [ZERO; 4]),
    leaf(0x12, [ZERO; 4]),
    leaf(0x14, [ZERO; 4]),
    leaf(0x0fff_ffff, [ZERO; 4]),
    leaf(
        0x4000_0000,
        [
            (ALL, 0x4000_0005),
            (ALL, 0x566e_6558),
            (ALL, 0x6558_4d4d),
            (ALL, 0x4d4d_566e),
        ],
    ),
    leaf(0x4000_0001, [(ALL, 0x4_0011), ZERO, ZERO, ZERO]),
    leaf(0x4000_0002, [(ALL, 1), (ALL, 0x4000_0000), ZERO, ZERO]),
    // Whether there is RDTSCP, and the counter's frequency.
    leaf(0x4000_0003, [(ALL ^ 4, 2), ZERO, NONE, (ALL, 1)]),
    leaf(0x4000_0004, [(ALL, 0x5c), ZERO, (ALL, 1), ZERO]),
    leaf(0x4000_0005, [ZERO; 4]),
    leaf(0x4000_0006, [ZERO; 4]),
    leaf(0x4000_0100, [ZERO; 4]),
    // The last leaf, and AMD's name once more.
    leaf(0x8000_0000, [NONE; 4]),
    // Features of the instruction set. The same: no SVM, but long mode.
    leaf(0x8000_0001, [NONE, ZERO, (1 << 2, 0), (1 << 29, 1 << 29)]),
    // Whether the counter stands still when the processor sleeps.
    leaf(0x8000_0007, [ZERO, ZERO, ZERO, (ALL ^ 0x100, 0)]),
    leaf(0x8000_000a, [ZERO; 4]),
    leaf(0x8fff_ffff, [ZERO; 4]),
    leaf(0xffff_ffff, [ZERO; 4]),
];

fn start(words: &str, ending: Ending) -> Running {
    let guest = guest("exits");
    Machine::with("one_guest")
        .module("guest", &guest)
        .line(&format!("guest.guest.memory=64M guest.guest.cmdline={words}"))
        .ends(ending)
}

/// What is wrong with a line of CPUID's; nothing if it is none of them.
fn wrong_leaf(line: &str, seen: &mut Vec<u32>) -> Option<String> {
    let (number, registers) = line.strip_prefix("cpuid 0x")?.split_once(": ")?;
    let number = u32::from_str_radix(number.split_once('/')?.0, 16).ok()?;
    let Some(leaf) = CPUID.iter().find(|leaf| leaf.number == number) else {
        return Some(format!("a leaf that the test does not know: {line}"));
    };
    seen.push(number);
    let registers: Vec<u32> = registers
        .split(' ')
        .filter_map(|word| u32::from_str_radix(word.trim_start_matches("0x"), 16).ok())
        .collect();
    let right = registers.len() == 4
        && registers
            .iter()
            .zip(leaf.same)
            .all(|(register, (mask, value))| register & mask == value & mask);
    (!right).then(|| line.to_owned())
}

/// The lines that are not as they should be.
fn differences(said: &str, expected: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let mut found = Vec::new();
    let mut expected = expected.lines();
    for line in said.lines().map(str::trim_end) {
        if line.starts_with("cpuid 0x") {
            found.extend(wrong_leaf(line, &mut seen));
            continue;
        }
        let should = expected.next();
        if should != Some(line) {
            found.push(format!("expected {should:?}, found {line:?}"));
        }
    }
    found.extend(expected.map(|line| format!("expected {line:?}, found nothing")));
    let missing = CPUID.iter().filter(|leaf| !seen.contains(&leaf.number));
    found.extend(missing.map(|leaf| format!("no leaf {:#x}", leaf.number)));
    // What follows the first few differences is seldom of use.
    found.truncate(20);
    found
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn a_guest_that_raises_every_exit_sees_the_same_on_every_processor() {
    let is_strict = emulator() == Emulator::Bochs;
    let (words, more) = if is_strict {
        ("strict=yes", STRICTLY)
    } else {
        ("", "")
    };
    let said = start(words, Ending::GuestsEnded).console().text();
    let found = differences(&said, &format!("{EVERYWHERE}{more}all exits raised\n"));
    assert!(found.is_empty(), "{found:#?}");
    assert!(EVERYWHERE.lines().count() > 900);
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn what_no_guest_survives_ends_the_guest_and_not_the_host() {
    for (how, ending, reason) in [
        ("triple_fault", Ending::GuestCrashed, "ended in a triple fault"),
        ("fetch", Ending::GuestCrashed, "at 0xe0000000 is not served"),
        ("walk", Ending::GuestCrashed, "is not served"),
        ("delivery", Ending::GuestCrashed, "is not served"),
        ("halt", Ending::GuestsEnded, "has ended: PowerOff"),
    ] {
        let running = start(&format!("end={how}"), ending);
        let log = running.log().text();
        assert!(log.contains(reason), "{how}: no {reason:?} in:\n{log}");
    }
}
