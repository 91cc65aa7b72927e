//! What a domain's memory should be: which frame is behind each guest frame, and how many count.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use xenvisor::abi::memory as abi;
use xenvisor::model::number::Mfn;
use xenvisor::model::p2m::Kind;

use crate::world::{LIMIT, RAM_FRAMES, VCPUS};

/// Guest frames that calls use: RAM but for the first, which has the arguments; what follows it; and some far away.
pub const PLACES: &[u64] = &[
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 20, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33,
    510, 511, 512, 0x40_0000,
];
/// Guest frames that can be.
const END: u64 = 1 << 36;
/// Frames of a grant table, at most.
const TABLE: u64 = 8;

/// What is behind a guest frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// A frame of the domain.
    Ram(Mfn),
    /// A frame of the domain that has just come; which one is not known yet.
    Fresh,
    /// The shared info page.
    SharedInfo,
    /// A frame of the grant table.
    Table(u64),
}

impl What {
    pub fn kind(self) -> Kind {
        match self {
            Self::Ram(_) | Self::Fresh => Kind::Ram,
            Self::SharedInfo | Self::Table(_) => Kind::Special,
        }
    }
}

/// The memory of one domain.
#[derive(Default)]
pub struct Domain {
    map: BTreeMap<u64, What>,
    /// Holds of others on frames; they outlive the domain.
    held: BTreeMap<Mfn, u32>,
    /// Frames that the domain holds itself, where vcpus keep their books.
    own: BTreeSet<Mfn>,
    registered: BTreeSet<u32>,
    /// Frames that count and are not there.
    unplaced: u64,
    /// Those of them that somebody still holds.
    lost: BTreeSet<Mfn>,
    highest: u64,
}

impl Domain {
    /// The domain is made: RAM from frame 0 on.
    pub fn begin(&mut self) {
        self.map = (0..RAM_FRAMES).map(|at| (at, What::Fresh)).collect();
        self.highest = RAM_FRAMES - 1;
    }

    /// Which frame it is that has come.
    pub fn learn(&mut self, at: u64, mfn: Mfn) {
        self.map.insert(at, What::Ram(mfn));
    }

    /// The domain is no more. What others hold of it counts for its number.
    pub fn end(&mut self) {
        let held = std::mem::take(&mut self.held);
        let lost = std::mem::take(&mut self.lost);
        *self = Self {
            lost: lost.into_iter().filter(|mfn| held.contains_key(mfn)).collect(),
            held,
            ..Self::default()
        };
    }

    pub fn at(&self, at: u64) -> Option<What> {
        self.map.get(&at).copied()
    }

    pub fn mapped(&self) -> impl Iterator<Item = (u64, What)> {
        self.map.iter().map(|(at, what)| (*at, *what))
    }

    /// The frame of RAM there.
    pub fn ram(&self, at: u64) -> Option<Mfn> {
        match self.at(at) {
            Some(What::Ram(mfn)) => Some(mfn),
            _ => None,
        }
    }

    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// How many frames count: those with a place, those that somebody holds, and those that are not there.
    pub fn used(&self) -> u64 {
        let placed = self.map.values().filter(|what| what.kind() == Kind::Ram);
        let is_placed = |mfn: &Mfn| self.map.values().any(|what| *what == What::Ram(*mfn));
        let others = self.own.iter().filter(|mfn| !self.held.contains_key(mfn));
        let counts = |mfn: &&Mfn| !is_placed(mfn) && !self.lost.contains(mfn);
        let left = self.held.keys().chain(others).filter(counts);
        (placed.count() + left.count()) as u64 + self.unplaced
    }

    pub fn hold(&mut self, mfn: Mfn) {
        *self.held.entry(mfn).or_default() += 1;
    }

    pub fn let_go(&mut self, mfn: Mfn) {
        let count = self.held.get_mut(&mfn).unwrap();
        *count -= 1;
        if *count == 0 {
            self.held.remove(&mfn);
            if !self.own.contains(&mfn) {
                self.lost.remove(&mfn);
            }
        }
    }

    pub fn increase(&mut self, count: u64, order: u32) -> i64 {
        let mut done = 0;
        while order <= 9 && done < count && self.used() + (1 << order) <= LIMIT {
            self.unplaced += 1 << order;
            done += 1;
        }
        done.cast_signed()
    }

    pub fn decrease(&mut self, list: &[u64], order: u32) -> i64 {
        let mut done = 0;
        for first in list {
            if order > 9 {
                break;
            }
            let all = (0..1 << order).all(|further| {
                let at = first.checked_add(further);
                at.is_some_and(|at| self.map.remove(&at).is_some())
            });
            if !all {
                break;
            }
            done += 1;
        }
        done
    }

    /// Fresh frames; where they are, or `None` if it cannot be.
    pub fn populate(&mut self, first: u64, order: u32) -> Option<Range<u64>> {
        let frames = 1_u64.checked_shl(order).filter(|_| order <= 9)?;
        if self.used() + frames > LIMIT {
            return None;
        }
        let Some(end) = first.checked_add(frames).filter(|end| *end <= END) else {
            // They have been taken by the time it is seen that there is no such place.
            self.unplaced += frames;
            return None;
        };
        for at in first..end {
            if let Some(old) = self.at(at) {
                self.loses_its_place(old);
            }
        }
        self.map.extend((first..end).map(|at| (at, What::Fresh)));
        self.highest = self.highest.max(end - 1);
        Some(first..end)
    }

    /// Places what a space has at an index; the answer.
    pub fn add(&mut self, space: u32, index: u64, to: u64) -> i64 {
        let what = match space {
            abi::XENMAPSPACE_dev_mmio => return -13,
            abi::XENMAPSPACE_shared_info if index == 0 => Some(What::SharedInfo),
            abi::XENMAPSPACE_grant_table if index & 0xffff_ffff < TABLE => {
                Some(What::Table(index & 0xffff_ffff))
            }
            abi::XENMAPSPACE_gmfn => self.at(index),
            _ => None,
        };
        let Some(what) = what.filter(|_| to < END) else {
            return -22;
        };
        self.map.retain(|_, there| *there != what);
        self.map.insert(to, what);
        self.highest = self.highest.max(to);
        0
    }

    pub fn remove(&mut self, at: u64) -> i64 {
        match self.map.remove(&at) {
            Some(old) => {
                self.loses_its_place(old);
                0
            }
            None => -2,
        }
    }

    /// RAM goes on to count without a place.
    fn loses_its_place(&mut self, old: What) {
        if old.kind() == Kind::Ram {
            self.unplaced += 1;
        }
        if let What::Ram(mfn) = old
            && (self.held.contains_key(&mfn) || self.own.contains(&mfn))
        {
            self.lost.insert(mfn);
        }
    }

    /// A vcpu keeps its books in a frame from now on; the answer.
    pub fn register(&mut self, vcpu: u32, at: u64) -> i64 {
        if vcpu >= VCPUS {
            return -2;
        }
        match self.ram(at) {
            Some(mfn) if !self.registered.contains(&vcpu) => {
                self.registered.insert(vcpu);
                self.own.insert(mfn);
                0
            }
            _ => -22,
        }
    }
}
