//! Where a vcpu's `vcpu_info` is: in the shared info page, or where the guest has registered it.
//!
//! The place is a machine address inside a frame on which the domain holds a reference for as long as it is
//! registered, so that event delivery can write to it from anywhere without asking the second stage.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::number::MachineAddr;

/// The place of a `vcpu_info` (64 bytes; public header `xen.h`).
#[derive(Debug, Default)]
pub struct InfoPlace(AtomicU64);

impl InfoPlace {
    const REGISTERED: u64 = 1;

    /// The place; `None` where there is none yet (a vcpu beyond the 32 that the shared info page has room for).
    #[must_use]
    pub fn get(&self) -> Option<MachineAddr> {
        let word = self.0.load(Ordering::Acquire) & !Self::REGISTERED;
        (word != 0).then(|| MachineAddr::new(word))
    }

    /// Whether the guest has chosen its place: then it stays.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.0.load(Ordering::Acquire) & Self::REGISTERED != 0
    }

    /// The slot in the shared info page.
    pub fn set_default(&self, at: MachineAddr) {
        self.0.store(at.raw(), Ordering::Release);
    }

    /// Moves it to where the guest wants it, once. `false` if that was done before: then nothing has changed.
    pub fn register(&self, at: MachineAddr) -> bool {
        let old = self.0.load(Ordering::Acquire);
        old & Self::REGISTERED == 0
            && self
                .0
                .compare_exchange(
                    old,
                    at.raw() | Self::REGISTERED,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                )
                .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_registered_once() {
        let place = InfoPlace::default();
        assert_eq!(place.get(), None);
        place.set_default(MachineAddr::new(0x1000));
        assert!(place.register(MachineAddr::new(0x2040)));
        assert!(!place.register(MachineAddr::new(0x3000)));
        assert_eq!(place.get(), Some(MachineAddr::new(0x2040)));
    }
}
