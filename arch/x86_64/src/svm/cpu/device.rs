//! Instructions that touch what is no memory: the local APIC's page, or nothing at all.

use xenvisor_core::machine::{Exit, GuestRam};

use super::{Served, SvmCpu};

impl SvmCpu {
    /// Does the instruction that the nested tables stopped, with the local APIC where its page is.
    pub(super) fn emulate_device(&mut self, guest: &dyn GuestRam) -> Served {
        match self.emulate(guest) {
            Ok(()) => Served::Again,
            Err(exit) => Served::Exit(exit),
        }
    }

    pub(super) fn emulate(&mut self, _guest: &dyn GuestRam) -> Result<(), Exit> {
        Err(self.unknown())
    }
}
