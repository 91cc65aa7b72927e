//! Long talks of a guest with its hypervisor: what is asked, what is answered, and what else of it can be seen.
//!
//! A talk is made from an [`Area`] and a seed, and touches the world through a [`Speaker`] alone. So the same talk can be
//! had with Xen and with xenvisor by a guest, and with the simulated machine by a test; the transcripts are compared line
//! by line. Nothing in a transcript may depend on time, on machine addresses or on who else is there.
#![no_std]
#![forbid(unsafe_code)]

mod chance;
mod events;
mod grants;
mod memory;
mod misc;
mod talk;
mod vcpus;

use core::fmt::{self, Write};

pub use talk::{PAGES, Speaker, Talk};

/// What is talked about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Area {
    /// Event channels, told by bitmaps.
    Events,
    /// Event channels, told by queues.
    Fifo,
    /// Grant tables, one's own.
    Grants,
    /// Memory.
    Memory,
    /// Processors, scheduling, timers.
    Vcpus,
    /// Everything that is refused or only answers: other numbers, versions, parameters.
    Misc,
}

impl Area {
    /// All of them.
    pub const ALL: [Area; 6] = [
        Area::Events,
        Area::Fifo,
        Area::Grants,
        Area::Memory,
        Area::Vcpus,
        Area::Misc,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Area::Events => "events",
            Area::Fifo => "fifo",
            Area::Grants => "grants",
            Area::Memory => "memory",
            Area::Vcpus => "vcpus",
            Area::Misc => "misc",
        }
    }

    /// The area of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Area> {
        Area::ALL.into_iter().find(|area| area.name() == name)
    }
}

/// Has a talk of about `calls` calls, and writes its transcript.
///
/// # Errors
/// Those of `out`.
pub fn hold(
    area: Area,
    seed: u64,
    calls: u32,
    speaker: &mut dyn Speaker,
    out: &mut dyn Write,
) -> fmt::Result {
    let mut talk = Talk::begin(speaker, out, seed)?;
    match area {
        Area::Events => events::hold(&mut talk, calls),
        Area::Fifo => events::hold_fifo(&mut talk, calls),
        Area::Grants => grants::hold(&mut talk, calls),
        Area::Memory => memory::hold(&mut talk, calls),
        Area::Vcpus => vcpus::hold(&mut talk, calls),
        Area::Misc => misc::hold(&mut talk, calls),
    }
}
