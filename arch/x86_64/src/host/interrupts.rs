//! Interrupts on and off.

use x86::bits64::rflags::{self, RFlags};

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
