//! What event delivery needs of the domain it delivers to, and the last step of every delivery: the upcall.
//!
//! Edges: the upcall flag in `vcpu_info` says that the guest has been told. Setting it when it was clear is the edge
//! that notifies; while it is set, the guest has yet to look, and will find whatever has been added meanwhile.

use crate::lock::Ranked;
use crate::machine::{MachineMemory, Width};
use crate::number::{DomainId, MachineAddr, VcpuId};

use super::ports::Ports;
use super::words;

/// A domain as the receiver of events. All of it is asked with the domain's ports locked: an implementation may take
/// locks of a higher rank only, and must not allocate.
pub trait Upcalls {
    /// Which domain it is.
    fn id(&self) -> DomainId;

    /// The machine's memory.
    fn memory(&self) -> &dyn MachineMemory;

    /// The layout of its shared info page (and so how many ports the 2-level way has).
    fn width(&self) -> Width;

    /// Where its shared info page is: one frame, there for as long as the domain is.
    fn shared_info(&self) -> MachineAddr;

    /// Where the `vcpu_info` of a vcpu is now; aligned to 4 bytes (32-bit layout) or 8, within one frame.
    /// `None` for a vcpu that has none yet: one beyond the 32 of the shared info page.
    fn vcpu_info(&self, vcpu: VcpuId) -> Option<MachineAddr>;

    /// The upcall flag of the vcpu has just been set: it raises the upcall and wakes the vcpu if it sleeps.
    fn notify(&self, vcpu: VcpuId);

    /// A port the vcpu polls became pending: its wait is over.
    fn end_poll(&self, vcpu: VcpuId);
}

/// A domain with its ports: one end of channels.
pub trait Endpoint: Upcalls {
    /// Its ports.
    fn ports(&self) -> &Ranked<Ports>;
}

/// Sets the upcall flag of a vcpu; if it was clear, notifies.
///
/// What the guest is to find must be in memory before, by an atomic operation. Looking and then setting is enough,
/// although the guest clears the flag at any time: under the ports' lock nobody else sets it, and a guest that clears
/// it after we have looked searches for events after that, so it finds ours.
pub(super) fn mark(upcalls: &dyn Upcalls, vcpu: VcpuId) {
    let Some(info) = upcalls.vcpu_info(vcpu) else {
        return;
    };
    if !is_marked(upcalls.memory(), info) {
        upcalls.memory().write(info, &[1]);
        upcalls.notify(vcpu);
    }
}

/// Whether the upcall flag of a `vcpu_info` is set: the guest has been told, and has not begun to look.
#[must_use]
pub fn is_marked(memory: &dyn MachineMemory, vcpu_info: MachineAddr) -> bool {
    let mut flag = [0];
    memory.read(vcpu_info, &mut flag);
    flag != [0]
}

/// Where the selector of a `vcpu_info` is, and how many bits it has.
pub(super) const fn selector(width: Width) -> (u64, u32) {
    match width {
        Width::Bits64 => (8, 64),
        Width::Bits32 => (4, 32),
    }
}

impl Ports {
    /// Moves the `vcpu_info` of a vcpu: `switch` makes [`Upcalls::vcpu_info`] give the new place, and says whether it
    /// did. No event falls between the places: all of them wait for the lock, and afterwards everything is said to be
    /// pending, which costs the guest one look in vain. The caller has copied the old contents to the new place.
    ///
    /// `false` when `switch` declined.
    pub fn move_vcpu_info(
        &mut self,
        upcalls: &dyn Upcalls,
        vcpu: VcpuId,
        switch: impl FnOnce() -> bool,
    ) -> bool {
        if !switch() {
            return false;
        }
        if let Some(info) = upcalls.vcpu_info(vcpu) {
            let (offset, bits) = selector(upcalls.width());
            for word in 0..bits / 32 {
                let at = MachineAddr::new(info.raw() + offset + u64::from(word) * 4);
                words::set_bits(upcalls.memory(), at, u32::MAX);
            }
            // Told even if the flag was set already: the flag may have been set where nobody looked.
            upcalls.memory().write(info, &[1]);
            upcalls.notify(vcpu);
        }
        true
    }
}
