//! The ways in which a guest makes trouble for its neighbour, and how both know which one it is: by the processor's counter.

/// Ticks for which a way lasts.
pub const WAY_TICKS: u64 = 1 << 27;

/// How many ways there are.
pub const WAYS: usize = Way::ALL.len();

/// What a hostile guest does without end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// It works: no trouble, but it wants the processor as well.
    Work,
    /// It makes hypercalls.
    Calls,
    /// It writes where there is no memory.
    Exits,
    /// It yields.
    Yields,
    /// It changes its memory map.
    Mappings,
    /// It sets its timer to fire soon.
    Timers,
    /// It sends events to the neighbour.
    Events,
}

impl Way {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Work,
        Self::Calls,
        Self::Exits,
        Self::Yields,
        Self::Mappings,
        Self::Timers,
        Self::Events,
    ];

    /// The way at an instant of the counter.
    pub const fn at(ticks: u64) -> Self {
        Self::ALL[(ticks / WAY_TICKS) as usize % WAYS]
    }
}

/// The processor's counter.
pub fn ticks() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reading changes nothing.
    unsafe {
        core::arch::asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nostack, preserves_flags));
    }
    u64::from(low) | u64::from(high) << 32
}

/// Executes about `2 * rounds` instructions, and nothing else.
pub fn work(rounds: u32) {
    // SAFETY: counts a register down.
    unsafe {
        core::arch::asm!("2:", "dec {0:e}", "jnz 2b", inout(reg) rounds.max(1) => _, options(nomem, nostack));
    }
}

/// Takes interrupts from now on.
pub fn interrupts_on() {
    // SAFETY: the guest has an interrupt table, and its handlers keep all registers.
    unsafe { core::arch::asm!("sti", options(nostack)) }
}
