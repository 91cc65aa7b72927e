//! Hunger: the n-th request for memory is refused, and all after it.
//!
//! Requests are those for frames and those for room on the heap, in the order in which one thread makes them. The test
//! that guards an operation: for n = 0, 1, 2, …, starve it after n requests; where it fails, nothing may differ; the
//! first n that it succeeds with ends the test.

use xenvisor_core::memory::room::starve;

/// Runs `operation` with all but the first `granted` of its requests for memory refused.
pub fn after<R>(granted: u32, operation: impl FnOnce() -> R) -> R {
    let _fed = Hungry::new(granted);
    operation()
}

/// Feeds the thread again when dropped, whatever happens.
struct Hungry;

impl Hungry {
    fn new(granted: u32) -> Self {
        starve::all_after(granted);
        Self
    }
}

impl Drop for Hungry {
    fn drop(&mut self) {
        starve::feed();
    }
}
