//! A granter that changes its entries under the hypervisor's hands.

use std::sync::Mutex;

use super::super::pin::{Purpose, Use};
use super::*;
use crate::number::MachineAddr;

/// Memory in which a guest on another processor changes an entry whenever somebody is about to.
struct Meddled {
    inner: FlatMemory,
    entry: Mutex<Option<MachineAddr>>,
}

impl Meddled {
    fn meddle(&self) {
        if let Some(at) = *self.entry.lock().unwrap() {
            let mut word = [0; 8];
            self.inner.read(at, &mut word);
            word[5] ^= 1;
            self.inner.write(at, &word);
        }
    }
}

impl MachineMemory for Meddled {
    fn read(&self, at: MachineAddr, into: &mut [u8]) {
        self.inner.read(at, into);
    }
    fn write(&self, at: MachineAddr, from: &[u8]) {
        self.inner.write(at, from);
    }
    fn fetch_or(&self, at: MachineAddr, bits: u64) -> u64 {
        self.meddle();
        self.inner.fetch_or(at, bits)
    }
    fn fetch_and(&self, at: MachineAddr, bits: u64) -> u64 {
        self.inner.fetch_and(at, bits)
    }
    fn compare_exchange(&self, at: MachineAddr, old: u64, new: u64) -> Result<u64, u64> {
        self.meddle();
        self.inner.compare_exchange(at, old, new)
    }
    fn compare_exchange_32(&self, at: MachineAddr, old: u32, new: u32) -> Result<u32, u32> {
        self.inner.compare_exchange_32(at, old, new)
    }
    fn zero(&self, at: MachineAddr, bytes: u64) {
        self.inner.zero(at, bytes);
    }
    fn copy(&self, from: MachineAddr, to: MachineAddr, bytes: u64) {
        self.inner.copy(from, to, bytes);
    }
}

#[test]
fn a_granter_that_keeps_changing_an_entry_is_given_up_on() {
    for version in [Version::V1, Version::V2] {
        let memory = Arc::new(Meddled {
            inner: FlatMemory::new(1024 * FRAME_SIZE),
            entry: Mutex::new(None),
        });
        let world = World::on(memory.clone());
        world.a.set_version(version).unwrap();
        if version == Version::V2 {
            world.a.show(TableFrame::Status(0), STATUS).unwrap();
        }
        world.a.offer(9, B, 3, 1);
        let frame = world.a.mfn(TABLE).unwrap().address().unwrap();
        let entry = frame.raw() + 9 * u64::from(version.entry_bytes());
        let wanted = Use {
            reference: GrantRef::new(9),
            grantee: B,
            access: Access::ReadWrite,
            purpose: Purpose::Map,
        };
        *memory.entry.lock().unwrap() = Some(MachineAddr::new(entry));
        let error = world.a.table.lock().pin(&world.a.memory, wanted);
        *memory.entry.lock().unwrap() = None;
        assert_eq!(error, Err(PinError::Unstable(GrantRef::new(9))));
        assert_eq!(world.a.status(9), 0);
        assert!(!world.a.table.lock().is_pinned(GrantRef::new(9)));
    }
}
