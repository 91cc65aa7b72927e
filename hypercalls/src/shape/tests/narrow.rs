//! A guest of 32-bit code, whose memory is full of noise: what lies behind an argument changes its meaning if it is read
//! in the 64-bit layout.

use alloc::vec::Vec;

use xenvisor_abi::GuestHandle32;
use xenvisor_abi::xen;
use xenvisor_core::machine::Width;
use xenvisor_core::number::Gfn;
use xenvisor_core::policy::XenDefault;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::answer::{Answer, Served};
use crate::testing::World;

/// Where arguments and lists lie in a guest's memory.
pub(super) const ARGUMENT: u64 = 0x1000;
pub(super) const LIST: u64 = 0x2000;
pub(super) const OTHER_LIST: u64 = 0x2800;
pub(super) const ERRORS: u64 = 0x3000;
/// What is in memory where nothing was put.
pub(super) const NOISE: u8 = 0xa5;
pub(super) const NOISE_WORD: u32 = u32::from_le_bytes([NOISE; 4]);

pub(super) struct Narrow(pub(super) World);

impl Narrow {
    pub(super) fn new() -> Self {
        let world = World::new(2, 1, XenDefault::default(), Vec::new());
        world.put(1, ARGUMENT, &[NOISE; 0x3000]);
        Self(world)
    }

    pub(super) fn call(&self, number: u32, arguments: &[u64]) -> Served {
        let mut answer = self.0.call_from(1, 0, Width::Bits32, number, arguments);
        while let Ok(Answer::Again(arguments) | Answer::AgainAfter(arguments, _)) = answer {
            answer = self.0.call_from(1, 0, Width::Bits32, number, &arguments);
        }
        answer
    }

    pub(super) fn memory_op<T: IntoBytes + Immutable>(&self, command: u32, argument: &T) -> Served {
        self.0.put(1, ARGUMENT, argument);
        self.call(xen::HYPERVISOR_memory_op, &[command.into(), ARGUMENT])
    }

    pub(super) fn grant_op<T: IntoBytes + Immutable>(&self, command: u32, argument: &T) -> Served {
        self.0.put(1, ARGUMENT, argument);
        self.call(xen::HYPERVISOR_grant_table_op, &[command.into(), ARGUMENT, 1])
    }

    pub(super) fn vcpu_op<T: IntoBytes + Immutable>(&self, command: u32, argument: &T) -> Served {
        self.0.put(1, ARGUMENT, argument);
        self.call(xen::HYPERVISOR_vcpu_op, &[command.into(), 0, ARGUMENT])
    }

    pub(super) fn list(&self, at: u64, words: &[u32]) -> GuestHandle32 {
        self.0.put(1, at, words);
        GuestHandle32(u32::try_from(at).unwrap())
    }

    pub(super) fn get<T: FromBytes + IntoBytes>(&self, at: u64) -> T {
        self.0.get(1, at)
    }

    pub(super) fn is_mapped(&self, gfn: u64) -> bool {
        let stage = self.0.domains[0].memory.stage();
        stage.lock().translate(Gfn::new(gfn)).is_some()
    }

    /// The domain's kernel is 32-bit code, and says so.
    pub(super) fn latch(&self) {
        self.0.domains[0].latch_width(Width::Bits32);
    }
}
