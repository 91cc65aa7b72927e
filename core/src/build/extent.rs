//! A span of guest-physical addresses: where something lies, or may lie.
//!
//! Invariant: `start <= end`, so that neither length nor overlap can wrap. It holds addresses only; whether
//! there is memory behind them is the business of the [layout](super::layout).

use core::fmt;

use crate::number::{FRAME_SIZE, GuestAddr};

/// Guest-physical addresses from `start` up to, not including, `end`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent {
    start: GuestAddr,
    end: GuestAddr,
}

impl Extent {
    /// The span of `length` bytes from `start` on; `None` where it would pass the end of the address space.
    #[must_use]
    pub fn new(start: GuestAddr, length: u64) -> Option<Self> {
        Some(Self {
            start,
            end: start.checked_add(length)?,
        })
    }

    /// The span between two addresses; `None` where they stand the wrong way round.
    #[must_use]
    pub fn between(start: GuestAddr, end: GuestAddr) -> Option<Self> {
        (start <= end).then_some(Self { start, end })
    }

    /// No address at all.
    pub const EMPTY: Self = Self {
        start: GuestAddr::new(0),
        end: GuestAddr::new(0),
    };

    /// The first address.
    #[must_use]
    pub const fn start(self) -> GuestAddr {
        self.start
    }

    /// The first address past it.
    #[must_use]
    pub const fn end(self) -> GuestAddr {
        self.end
    }

    /// How many bytes it holds.
    #[must_use]
    pub const fn length(self) -> u64 {
        self.end.raw().saturating_sub(self.start.raw())
    }

    /// Whether it holds no byte at all.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.length() == 0
    }

    /// How many frames it spans, if it starts and ends on frame boundaries.
    #[must_use]
    pub fn frames(self) -> Option<u64> {
        (self.start.offset() == 0 && self.end.offset() == 0).then_some(self.length() / FRAME_SIZE)
    }

    /// Whether `other` lies wholly inside.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// Whether the byte at `at` is one of these.
    #[must_use]
    pub fn holds(self, at: GuestAddr) -> bool {
        self.start <= at && at < self.end
    }

    /// Whether the two share a byte. An empty span shares none.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        !self.is_empty() && !other.is_empty() && self.start < other.end && other.start < self.end
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:#x}..{:#x}", self.start.raw(), self.end.raw())
    }
}

impl fmt::Debug for Extent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}
