//! What grants should do, in as few words as may be: who offers what, who uses it, and what that leaves in memory.
//!
//! Everything happens at once here: no locks, no failures, no preemption. Statuses are Xen's numbers.

mod copying;

pub use copying::End;
use xenvisor::abi::grant_table as abi;

use super::super::world::DOMAINS;

/// The references that are used. The first two are reserved; the last two lie in frames that have to be grown, in one
/// version or in both.
pub const REFERENCES: [u32; 7] = [0, 3, 8, 9, 10, 300, 600];
/// The guest frames that are used: memory at first, and nothing at first.
pub const PLACES: [u64; 7] = [1, 2, 3, 4, 40, 41, 42];
/// How many of them are memory at first.
const MEMORY: usize = 4;
/// Frames that a table may have.
pub const FRAMES: u32 = 8;

const READING: u16 = abi::EntryFlags::READING.bits();
const WRITING: u16 = abi::EntryFlags::WRITING.bits();
const READ_ONLY: u16 = abi::EntryFlags::READONLY.bits();
const SUB_PAGE: u16 = abi::EntryFlags::SUB_PAGE.bits();
const GENERAL: i16 = abi::GNTST_general_error;

type Frame = [u8; 4096];

/// What is behind a guest frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backing {
    Nothing,
    Memory { frame: usize },
    Grant { frame: usize, write: bool },
}

/// A shared entry as it is in memory.
#[derive(Clone, Copy, Default)]
pub struct Entry {
    pub words: [u64; 2],
    pub status: u16,
}

impl Entry {
    fn flags(self) -> u16 {
        self.words[0] as u16
    }

    fn grantee(self) -> u16 {
        (self.words[0] >> 16) as u16
    }
}

/// What an offer that is in use offers.
#[derive(Clone, Copy)]
enum What {
    Frame { frame: usize, from: u32, to: u32 },
    Onward { via: u16, reference: u32 },
}

#[derive(Clone, Copy)]
struct Pins {
    grantee: u16,
    readers: u32,
    writers: u32,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Map,
    Copy,
    PassOn,
}

/// A mapping.
#[derive(Clone, Copy)]
pub struct Receipt {
    pub handle: u32,
    granter: u16,
    life: u64,
    reference: u32,
    pub place: usize,
    write: bool,
}

pub struct Domain {
    life: u64,
    pub version: u32,
    pub size: u32,
    entries: [Entry; REFERENCES.len()],
    pins: [Option<Pins>; REFERENCES.len()],
    pub shown: [bool; FRAMES as usize],
    pub status_shown: bool,
    memory: [Backing; PLACES.len()],
    pub receipts: Vec<Receipt>,
}

impl Domain {
    /// Entries in a frame.
    pub const fn per_frame(&self) -> u32 {
        if self.version == 1 { 512 } else { 256 }
    }

    /// An entry, if the domain can see it.
    pub fn seen(&self, reference: u32) -> Option<Entry> {
        let shown = self.shown.get((reference / self.per_frame()) as usize)?;
        shown.then(|| self.entries[position(reference)])
    }

    pub fn is_backed(&self, place: usize) -> bool {
        self.memory[place] != Backing::Nothing
    }

    pub fn is_pinned(&self, reference: u32) -> bool {
        self.pins[position(reference)].is_some()
    }

    /// The status bits of an entry, wherever they are.
    fn set_bits(&mut self, at: usize, bits: u16) {
        if self.version == 1 {
            self.entries[at].words[0] |= u64::from(bits);
        } else {
            self.entries[at].status |= bits;
        }
    }

    fn clear_bits(&mut self, at: usize, bits: u16) {
        if self.version == 1 {
            self.entries[at].words[0] &= !u64::from(bits);
        } else {
            self.entries[at].status &= !bits;
        }
    }

    fn unpin(&mut self, reference: u32, write: bool) {
        let at = position(reference);
        let pins = self.pins[at].as_mut().unwrap();
        let uses = if write {
            &mut pins.writers
        } else {
            &mut pins.readers
        };
        *uses = uses.checked_sub(1).unwrap();
        let (readers, writers) = (pins.readers, pins.writers);
        if write && writers == 0 {
            self.clear_bits(at, WRITING);
        }
        if readers + writers == 0 {
            self.pins[at] = None;
            self.clear_bits(at, READING);
        }
    }
}

fn position(reference: u32) -> usize {
    REFERENCES.iter().position(|known| *known == reference).unwrap()
}

/// A mapping that is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    pub granter: u16,
    pub reference: u32,
    pub place: usize,
    pub flags: u32,
}

pub struct Model {
    domains: Vec<Option<Domain>>,
    frames: Vec<Frame>,
    lives: u64,
}

impl Model {
    pub fn new() -> Self {
        let mut model = Self {
            domains: Vec::new(),
            frames: Vec::new(),
            lives: 0,
        };
        for n in 1..=DOMAINS {
            model.domains.push(None);
            model.create(n);
        }
        model
    }

    pub fn create(&mut self, n: u16) {
        self.lives += 1;
        let mut memory = [Backing::Nothing; PLACES.len()];
        for backing in &mut memory[..MEMORY] {
            *backing = self.fresh();
        }
        self.domains[usize::from(n) - 1] = Some(Domain {
            life: self.lives,
            version: 1,
            size: 1,
            entries: Default::default(),
            pins: Default::default(),
            shown: Default::default(),
            status_shown: false,
            memory,
            receipts: Vec::new(),
        });
    }

    fn fresh(&mut self) -> Backing {
        self.frames.push([0; 4096]);
        Backing::Memory {
            frame: self.frames.len() - 1,
        }
    }

    pub fn destroy(&mut self, n: u16) {
        let domain = self.domains[usize::from(n) - 1].take().unwrap();
        for receipt in domain.receipts {
            self.give_back(&receipt);
        }
    }

    /// Ends the use that a receipt stands for, if the granter still is who it was.
    fn give_back(&mut self, receipt: &Receipt) {
        if let Some(granter) = self.find(receipt.granter)
            && granter.life == receipt.life
        {
            granter.unpin(receipt.reference, receipt.write);
        }
    }

    fn find(&mut self, n: u16) -> Option<&mut Domain> {
        self.domains.get_mut(usize::from(n).checked_sub(1)?)?.as_mut()
    }

    pub fn domain(&mut self, n: u16) -> &mut Domain {
        self.find(n).unwrap()
    }

    pub fn is_there(&mut self, n: u16) -> bool {
        self.find(n).is_some()
    }

    pub fn backing(&mut self, n: u16, place: usize) -> Backing {
        self.domain(n).memory[place]
    }

    pub fn content(&mut self, n: u16, place: usize) -> Option<&mut Frame> {
        match self.backing(n, place) {
            Backing::Nothing => None,
            Backing::Memory { frame } | Backing::Grant { frame, .. } => self.frames.get_mut(frame),
        }
    }

    pub fn write_entry(&mut self, n: u16, reference: u32, words: [u64; 2]) {
        self.domain(n).entries[position(reference)].words = words;
    }

    pub fn take(&mut self, n: u16, place: usize) {
        self.domain(n).memory[place] = Backing::Nothing;
    }

    pub fn populate(&mut self, n: u16, place: usize) {
        self.domain(n).memory[place] = self.fresh();
    }

    /// One of the offers that name a domain, perhaps of those that can be mapped: who makes it, and its reference.
    pub fn offered_to(&self, n: u16, which: usize, to_map: bool) -> Option<(u16, u32)> {
        let offers = (1..).zip(&self.domains).flat_map(|(granter, domain)| {
            let entries = domain
                .iter()
                .flat_map(|domain| domain.entries.iter().zip(REFERENCES));
            entries.filter_map(move |(entry, reference)| {
                let kind = entry.flags() & (abi::GTF_type_mask | if to_map { SUB_PAGE } else { 0 });
                let fits = kind == abi::GTF_permit_access || (!to_map && kind != 0);
                (fits && entry.grantee() == n).then_some((granter, reference))
            })
        });
        let offers: Vec<_> = offers.collect();
        offers.get(which % offers.len().max(1)).copied()
    }

    fn pin(
        &mut self,
        granter: u16,
        reference: u32,
        grantee: u16,
        write: bool,
        purpose: Purpose,
    ) -> Result<What, i16> {
        let domain = self.domain(granter);
        if reference >= domain.size * domain.per_frame() {
            return Err(abi::GNTST_bad_gntref);
        }
        let at = position(reference);
        let entry = domain.entries[at];
        let read_only = entry.flags() & READ_ONLY != 0;
        if let Some(pins) = domain.pins[at] {
            let onward = matches!(pins.what, What::Onward { .. });
            if pins.grantee != grantee || (onward && purpose != Purpose::Copy) {
                return Err(GENERAL);
            }
            if write && pins.writers == 0 {
                if read_only {
                    return Err(GENERAL);
                }
                domain.set_bits(at, READING | WRITING);
            }
            let pins = domain.pins[at].as_mut().unwrap();
            *(if write {
                &mut pins.writers
            } else {
                &mut pins.readers
            }) += 1;
            return Ok(pins.what);
        }
        let part = entry.flags() & SUB_PAGE != 0;
        let kind = entry.flags() & abi::GTF_type_mask;
        let fits = match (domain.version, kind) {
            (_, abi::GTF_permit_access) => !part || purpose != Purpose::Map,
            (2, abi::GTF_transitive) => purpose == Purpose::Copy,
            _ => false,
        };
        if !fits || entry.grantee() != grantee || (write && read_only) {
            return Err(GENERAL);
        }
        let [first, second] = entry.words;
        let bits = if write { READING | WRITING } else { READING };
        let what = if kind == abi::GTF_transitive {
            let via = (first >> 32) as u16;
            let reference = second as u32;
            if via == granter {
                Err(GENERAL)
            } else {
                Ok(What::Onward { via, reference })
            }
        } else {
            let frame = if domain.version == 1 { first >> 32 } else { second };
            let (from, to) = if part && domain.version == 2 {
                let from = (first >> 32) as u32 & 0xffff;
                (from, from + (first >> 48) as u32)
            } else {
                (0, 4096)
            };
            let place = PLACES.iter().position(|place| *place == frame);
            match place.map_or(Backing::Nothing, |place| domain.memory[place]) {
                Backing::Memory { frame } => Ok(What::Frame { frame, from, to }),
                Backing::Grant { .. } => Err(GENERAL),
                Backing::Nothing => Err(abi::GNTST_bad_page),
            }
        };
        domain.set_bits(at, bits);
        match what {
            Err(status) => {
                domain.clear_bits(at, bits);
                Err(status)
            }
            Ok(what) => {
                domain.pins[at] = Some(Pins {
                    grantee,
                    readers: u32::from(!write),
                    writers: u32::from(write),
                    what,
                });
                Ok(what)
            }
        }
    }

    pub fn map(&mut self, n: u16, wanted: &Mapping) -> Result<(), i16> {
        let known = |flag: abi::MapFlags| wanted.flags & flag.bits() != 0;
        if !known(abi::MapFlags::HOST_MAP) && !known(abi::MapFlags::DEVICE_MAP) {
            return Err(abi::GNTST_bad_gntref);
        }
        if known(abi::MapFlags::DEVICE_MAP)
            || known(abi::MapFlags::APPLICATION_MAP)
            || known(abi::MapFlags::CONTAINS_PTE)
        {
            return Err(GENERAL);
        }
        if !self.is_there(wanted.granter) {
            return Err(abi::GNTST_bad_domain);
        }
        let write = !known(abi::MapFlags::READONLY);
        let known = self.domain(wanted.granter).pins;
        let What::Frame { frame, .. } = self.pin(wanted.granter, wanted.reference, n, write, Purpose::Map)?
        else {
            panic!("what is passed on is not for mapping");
        };
        let meant = wanted.flags & !abi::MapFlags::READONLY.bits() == abi::MapFlags::HOST_MAP.bits();
        if !meant || matches!(self.backing(n, wanted.place), Backing::Grant { .. }) {
            self.domain(wanted.granter).unpin(wanted.reference, write);
            return Err(GENERAL);
        }
        // A domain's own frame leaves the place where it was.
        let first = known[position(wanted.reference)].is_none();
        let memory = &mut self.domain(n).memory;
        if wanted.granter == n && first {
            for backing in memory
                .iter_mut()
                .filter(|backing| **backing == Backing::Memory { frame })
            {
                *backing = Backing::Nothing;
            }
        }
        memory[wanted.place] = Backing::Grant { frame, write };
        Ok(())
    }

    /// A mapping was made, and this is its handle.
    pub fn mapped(&mut self, n: u16, wanted: &Mapping, handle: u32) {
        let life = self.domain(wanted.granter).life;
        let receipts = &mut self.domain(n).receipts;
        assert!(receipts.iter().all(|other| other.handle != handle), "given twice");
        receipts.push(Receipt {
            handle,
            granter: wanted.granter,
            life,
            reference: wanted.reference,
            place: wanted.place,
            write: wanted.flags & abi::MapFlags::READONLY.bits() == 0,
        });
    }

    pub fn unmap(&mut self, n: u16, handle: u32, place: Option<usize>, device: u64) -> i16 {
        let domain = self.domain(n);
        let Some(which) = domain
            .receipts
            .iter()
            .position(|receipt| receipt.handle == handle)
        else {
            return abi::GNTST_bad_handle;
        };
        if device != 0 {
            return GENERAL;
        }
        let Some(place) = place else {
            return abi::GNTST_okay;
        };
        if domain.receipts[which].place != place {
            return GENERAL;
        }
        let receipt = domain.receipts.swap_remove(which);
        domain.memory[place] = Backing::Nothing;
        self.give_back(&receipt);
        abi::GNTST_okay
    }

    pub fn set_version(&mut self, n: u16, version: u32) -> Result<(), i32> {
        use xenvisor::abi::errno;
        if version != 1 && version != 2 {
            return Err(errno::EINVAL);
        }
        let domain = self.domain(n);
        if version == domain.version {
            return Ok(());
        }
        let reserved = |at: usize| REFERENCES[at] < abi::GNTTAB_NR_RESERVED_ENTRIES;
        let all = 0..REFERENCES.len();
        if all.clone().any(|at| !reserved(at) && domain.pins[at].is_some()) {
            return Err(errno::EBUSY);
        }
        let mut kept = <[Entry; REFERENCES.len()]>::default();
        for at in all.filter(|at| reserved(*at)) {
            let old = domain.entries[at];
            let [first, second] = old.words;
            let header = first & 0xffff_ffff;
            let bits = u64::from(READING | WRITING);
            kept[at] = if version == 2 {
                Entry {
                    words: [header & !bits, first >> 32],
                    status: (header & bits) as u16,
                }
            } else {
                match old.flags() & abi::GTF_type_mask {
                    abi::GTF_transitive => return Err(errno::ERANGE),
                    abi::GTF_permit_access if second >> 32 != 0 => return Err(errno::ERANGE),
                    abi::GTF_permit_access => Entry {
                        words: [header | u64::from(old.status) & bits | second << 32, 0],
                        status: 0,
                    },
                    _ => Entry::default(),
                }
            };
        }
        domain.entries = kept;
        domain.version = version;
        domain.status_shown = false;
        Ok(())
    }

    pub fn swap(&mut self, n: u16, one: u32, two: u32) -> i16 {
        let domain = self.domain(n);
        let count = domain.size * domain.per_frame();
        if one >= count || two >= count {
            return abi::GNTST_bad_gntref;
        }
        if one == two {
            return abi::GNTST_okay;
        }
        if domain.is_pinned(one) || domain.is_pinned(two) {
            return abi::GNTST_eagain;
        }
        domain.entries.swap(position(one), position(two));
        abi::GNTST_okay
    }
}
