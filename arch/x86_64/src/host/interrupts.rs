//! Interrupts: on and off, and what each of the host's own does.
//!
//! A handler acknowledges, takes what would be lost, and leaves a note in its processor's [`Events`]; deciding is left to
//! whoever runs next.

use core::sync::atomic::{AtomicBool, Ordering};

use x86::bits64::rflags::{self, RFlags};

use super::pcpu::current;
use crate::apic::vectors;
use crate::boot::start::CONSOLE;

/// Does `work` with interrupts off, then leaves them as they were.
pub(crate) fn without_interrupts<T>(work: impl FnOnce() -> T) -> T {
    let were_on = rflags::read().contains(RFlags::FLAGS_IF);
    // SAFETY: this file is only part of the bare machine, which runs at privilege level 0; that interrupts
    // are off for a while loses none.
    unsafe { x86::irq::disable() };
    let result = work();
    if were_on {
        // SAFETY: they were on when we came, so whoever runs here is prepared for them.
        unsafe { x86::irq::enable() };
    }
    result
}

/// Whether something happened since somebody last looked.
pub(crate) struct Events(AtomicBool);

impl Events {
    /// Nothing has happened.
    pub(crate) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Something happened.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether something happened; from now on, nothing has.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

/// Serves an interrupt that arrived at `vector` (32 and up).
pub(crate) fn serve(vector: u64) {
    let pcpu = current();
    let Some(apic) = pcpu.apic() else { return };
    match u8::try_from(vector) {
        // Must not be acknowledged: the APIC does not hold it as in service.
        Ok(vectors::SPURIOUS) => return,
        Ok(vectors::TIMER) => apic.timer_fired(),
        Ok(vectors::CONSOLE) => CONSOLE.receive(),
        Ok(vectors::KICK) => {}
        _ => defmt::warn!("interrupt at vector {=u64:#x}, which nobody asked for", vector),
    }
    pcpu.events().set();
    apic.acknowledge();
}
