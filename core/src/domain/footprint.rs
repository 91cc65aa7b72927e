//! What a domain costs the machine beyond the RAM it was described with, object by object.
//!
//! Everything that exists because the domain does is in one of the parts; what is shared by many (a slot in a list, a
//! place in a queue) is not, and amounts to a few hundred bytes. Tests compare the sum with what the machine has less
//! than before.

use core::fmt;
use core::ops::Add;

use super::{Domain, settings::MapEntry};
use crate::number::FRAME_SIZE;

/// Frames, and bytes of the heap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Whole frames of the machine.
    pub frames: u64,
    /// Bytes of the heap.
    pub heap: u64,
}

impl Cost {
    /// Nothing but frames.
    #[must_use]
    pub const fn frames(frames: u64) -> Self {
        Self { frames, heap: 0 }
    }

    /// Nothing but bytes of the heap.
    #[must_use]
    pub const fn heap(bytes: usize) -> Self {
        Self {
            frames: 0,
            heap: bytes as u64,
        }
    }

    /// Both, in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.frames.saturating_mul(FRAME_SIZE).saturating_add(self.heap)
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            frames: self.frames.saturating_add(other.frames),
            heap: self.heap.saturating_add(other.heap),
        }
    }
}

/// The kinds of objects that a domain is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The domain itself: its name, its settings, its locks.
    Domain,
    /// The tables of its second stage.
    SecondStage,
    /// Frames that it sees beside its RAM: ACPI tables, rings.
    SpecialPages,
    /// The page that it shares with the hypervisor.
    SharedInfo,
    /// Event channels.
    Ports,
    /// What it offers to others.
    Grants,
    /// Its receipts for what others offer.
    Handles,
    /// Its vcpus: mail, timers, run states.
    Vcpus,
    /// Behind each vcpu the hardware's: control structure, local APIC, extended registers.
    Processors,
}

impl Part {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::Domain,
        Self::SecondStage,
        Self::SpecialPages,
        Self::SharedInfo,
        Self::Ports,
        Self::Grants,
        Self::Handles,
        Self::Vcpus,
        Self::Processors,
    ];

    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Domain => "domain",
            Self::SecondStage => "second stage",
            Self::SpecialPages => "special pages",
            Self::SharedInfo => "shared info",
            Self::Ports => "event channels",
            Self::Grants => "grant table",
            Self::Handles => "grant receipts",
            Self::Vcpus => "vcpus",
            Self::Processors => "processors",
        }
    }
}

/// The cost of each part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Footprint([Cost; Part::ALL.len()]);

impl Footprint {
    /// That of a domain now.
    #[must_use]
    pub fn of(domain: &Domain) -> Self {
        let mut costs = [Cost::default(); Part::ALL.len()];
        for (part, cost) in Part::ALL.into_iter().zip(&mut costs) {
            *cost = cost_of(domain, part);
        }
        Self(costs)
    }

    /// That of one part.
    #[must_use]
    pub fn part(&self, part: Part) -> Cost {
        self.0.get(part as usize).copied().unwrap_or_default()
    }

    /// All together.
    #[must_use]
    pub fn total(&self) -> Cost {
        self.0.into_iter().fold(Cost::default(), Cost::add)
    }
}

impl fmt::Display for Footprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:<16}{:>8}{:>8}{:>8}", "part", "frames", "heap", "KiB")?;
        let row = |out: &mut fmt::Formatter<'_>, name: &str, cost: Cost| {
            let tenths = cost.bytes().saturating_mul(10) / 1024;
            let (whole, tenth) = (tenths / 10, tenths % 10);
            writeln!(
                out,
                "{name:<16}{:>8}{:>8}{whole:>6}.{tenth}",
                cost.frames, cost.heap
            )
        };
        for part in Part::ALL {
            row(out, part.words(), self.part(part))?;
        }
        row(out, "together", self.total())
    }
}

fn cost_of(domain: &Domain, part: Part) -> Cost {
    match part {
        Part::Domain => {
            let settings = domain.settings.lock();
            let map = settings
                .memory_map
                .capacity()
                .saturating_mul(size_of::<MapEntry>());
            let texts = domain
                .name
                .capacity()
                .saturating_add(settings.debug_line.capacity());
            // An `Arc` has two counters.
            let own = size_of::<Domain>().saturating_add(2 * size_of::<usize>());
            Cost::heap(own.saturating_add(map).saturating_add(texts))
        }
        Part::SecondStage => {
            let stage = domain.memory.stage().lock();
            Cost::frames(stage.table_frames()) + Cost::heap(size_of_val(&**stage))
        }
        Part::SpecialPages => {
            let settings = domain.settings.lock();
            let special = settings.memory_map.iter().filter(|entry| !entry.is_ram());
            Cost::frames(special.map(|entry| entry.bytes.div_ceil(FRAME_SIZE)).sum())
        }
        Part::SharedInfo => Cost::frames(1),
        Part::Ports => Cost::heap(domain.ports.lock().heap_bytes()),
        Part::Grants => domain.grants.lock().cost(),
        Part::Handles => Cost::frames(domain.handles.lock().table_frames()),
        Part::Vcpus => Cost::heap(
            domain
                .vcpus
                .capacity()
                .saturating_mul(size_of::<crate::vcpu::Vcpu>()),
        ),
        Part::Processors => {
            let each = domain.vcpus.iter().map(|vcpu| vcpu.processor_cost);
            each.fold(Cost::default(), Cost::add)
        }
    }
}
