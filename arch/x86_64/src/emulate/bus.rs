//! What an emulated instruction reaches memory through: the guest's own tables, its RAM, and devices.
//!
//! [`GuestBus`] is the bus that backends use: it walks the guest's tables for each page touched, then asks the
//! [`Device`] whether the place is its own, then RAM, and what is neither is the device's too (an open bus
//! reads as ones). [`Bus`] is what the emulator sees, so that tests bring their own.

use crate::guest::exception::Exception;
use crate::guest::page_walk::{Access, Kind, Paging, Privilege, Translation, WalkError, translate};
use xenvisor_core::machine::GuestRam;
use xenvisor_core::number::{GuestAddr, LinearAddr};

/// Why an access did not happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BusFault {
    /// The guest gets this.
    Exception(Exception),
    /// Its tables changed all the while: run the guest's instruction again.
    Again,
    /// It keeps its tables where it has no memory: that ends it.
    TableOutsideMemory(GuestAddr),
}

impl From<WalkError> for BusFault {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Fault(fault) => Self::Exception(Exception::Page(fault)),
            WalkError::NonCanonical(_) => Self::Exception(Exception::GP),
            WalkError::Contended => Self::Again,
            WalkError::TableOutsideMemory(at) => Self::TableOutsideMemory(at),
        }
    }
}

/// Linear memory as one instruction of the guest sees it. Accesses are 1, 2, 4 or 8 bytes.
pub trait Bus {
    /// Reads. `then_writes`: the same place is written next, so rights to write are checked now.
    ///
    /// # Errors
    /// [`BusFault`]; nothing was read from a device then, unless the access crosses pages.
    fn read(&mut self, at: LinearAddr, bytes: u8, then_writes: bool) -> Result<u64, BusFault>;

    /// Writes the low `bytes` of `value`.
    ///
    /// # Errors
    /// [`BusFault`]; nothing was written then.
    fn write(&mut self, at: LinearAddr, bytes: u8, value: u64) -> Result<(), BusFault>;

    /// Checks that a write would succeed, for instructions that must not read a device in vain.
    ///
    /// # Errors
    /// What the write would meet.
    fn check_write(&mut self, at: LinearAddr, bytes: u8) -> Result<(), BusFault>;

    /// Whether the last access started something that must be seen to before the next one.
    fn must_stop(&self) -> bool {
        false
    }
}

/// What answers where there is no RAM. `bytes` is 1 to 8.
pub trait Device {
    /// Whether the place is the device's even if there is RAM.
    fn covers(&self, at: GuestAddr) -> bool;

    /// A read.
    fn read(&mut self, at: GuestAddr, bytes: u8) -> u64;

    /// A write of the low `bytes` of `value`.
    fn write(&mut self, at: GuestAddr, bytes: u8, value: u64);

    /// See [`Bus::must_stop`].
    fn must_stop(&self) -> bool {
        false
    }
}

/// A bus with nothing on it: reads give ones, writes vanish.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Nothing;

impl Device for Nothing {
    fn covers(&self, _: GuestAddr) -> bool {
        false
    }

    fn read(&mut self, _: GuestAddr, _: u8) -> u64 {
        u64::MAX
    }

    fn write(&mut self, _: GuestAddr, _: u8, _: u64) {}
}

/// The bus of one guest instruction.
pub struct GuestBus<'a> {
    /// The guest's RAM.
    pub ram: &'a dyn GuestRam,
    /// Its paging.
    pub paging: &'a Paging,
    /// On whose behalf the instruction acts.
    pub privilege: Privilege,
    /// What answers where there is no RAM.
    pub device: &'a mut dyn Device,
}

impl GuestBus<'_> {
    fn find(&self, at: LinearAddr, kind: Kind) -> Result<Translation, BusFault> {
        let access = Access {
            kind,
            privilege: self.privilege,
        };
        Ok(translate(self.ram, self.paging, at, access)?)
    }

    /// The one or two pages that hold `bytes` bytes: where each part is and how long it is.
    fn parts(&self, at: LinearAddr, bytes: u8, kind: Kind) -> Result<[Option<(GuestAddr, u8)>; 2], BusFault> {
        let first = self.find(at, kind)?;
        let here = u8::try_from(first.left().min(u64::from(bytes))).unwrap_or(bytes);
        let rest = bytes.saturating_sub(here);
        if rest == 0 {
            return Ok([Some((first.at, bytes)), None]);
        }
        let second = self.find(LinearAddr::new(at.raw().wrapping_add(u64::from(here))), kind)?;
        Ok([Some((first.at, here)), Some((second.at, rest))])
    }
}

impl Bus for GuestBus<'_> {
    fn read(&mut self, at: LinearAddr, bytes: u8, then_writes: bool) -> Result<u64, BusFault> {
        let kind = if then_writes { Kind::Write } else { Kind::Read };
        let mut all = [0; 8];
        let mut rest = all.get_mut(..usize::from(bytes)).unwrap_or_default();
        for (at, part) in self.parts(at, bytes, kind)?.into_iter().flatten() {
            let Some((here, after)) = rest.split_at_mut_checked(usize::from(part)) else {
                break;
            };
            rest = after;
            if self.device.covers(at) || self.ram.read(at, here).is_err() {
                here.copy_from_slice(
                    self.device
                        .read(at, part)
                        .to_le_bytes()
                        .get(..here.len())
                        .unwrap_or(&[]),
                );
            }
        }
        Ok(u64::from_le_bytes(all))
    }

    fn write(&mut self, at: LinearAddr, bytes: u8, value: u64) -> Result<(), BusFault> {
        let all = value.to_le_bytes();
        let mut rest = all.get(..usize::from(bytes)).unwrap_or_default();
        for (at, part) in self.parts(at, bytes, Kind::Write)?.into_iter().flatten() {
            let Some((here, after)) = rest.split_at_checked(usize::from(part)) else {
                break;
            };
            rest = after;
            if self.device.covers(at) || self.ram.write(at, here).is_err() {
                let mut wide = [0; 8];
                for (to, from) in wide.iter_mut().zip(here) {
                    *to = *from;
                }
                self.device.write(at, part, u64::from_le_bytes(wide));
            }
        }
        Ok(())
    }

    fn check_write(&mut self, at: LinearAddr, bytes: u8) -> Result<(), BusFault> {
        self.parts(at, bytes, Kind::Write).map(|_| ())
    }

    fn must_stop(&self) -> bool {
        self.device.must_stop()
    }
}

/// Instruction bytes, as many as could be fetched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fetched {
    bytes: [u8; super::LONGEST],
    length: u8,
}

impl Fetched {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or(&self.bytes)
    }
}

/// Fetches up to fifteen bytes of instruction at a linear address (CS base plus instruction pointer).
/// A second page that cannot be fetched ends the bytes early; decoding says whether they suffice.
///
/// # Errors
/// Where not even the first byte can be fetched. An instruction outside RAM reads as no bytes.
pub fn fetch(
    ram: &dyn GuestRam,
    paging: &Paging,
    privilege: Privilege,
    at: LinearAddr,
) -> Result<Fetched, WalkError> {
    let access = Access {
        kind: Kind::Execute,
        privilege,
    };
    let mut fetched = Fetched {
        bytes: [0; super::LONGEST],
        length: 0,
    };
    let mut rest = fetched.bytes.as_mut_slice();
    let mut at = at;
    while !rest.is_empty() {
        let found = match translate(ram, paging, at, access) {
            Ok(found) => found,
            Err(error) if fetched.length == 0 => return Err(error),
            Err(_) => break,
        };
        let here = usize::try_from(found.left())
            .unwrap_or(usize::MAX)
            .min(rest.len());
        let Some((part, after)) = core::mem::take(&mut rest).split_at_mut_checked(here) else {
            break;
        };
        if ram.read(found.at, part).is_err() {
            break;
        }
        rest = after;
        fetched.length = fetched.length.saturating_add(u8::try_from(here).unwrap_or(0));
        at = LinearAddr::new(at.raw().wrapping_add(found.left()));
    }
    Ok(fetched)
}
