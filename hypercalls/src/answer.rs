//! What a hypercall comes to.

use crate::errno::Errno;

/// A hypercall that was served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It is done; the guest sees this result.
    Done(u64),
    /// It is done, and then something becomes of the vcpu.
    Then(u64, After),
    /// It is not done: the guest makes the call again, with these arguments.
    Again([u64; 6]),
    /// It is not done, and before it goes on with these arguments, something becomes of the vcpu.
    AgainAfter([u64; 6], After),
}

impl Answer {
    /// Done, with nothing to say.
    pub const OK: Self = Self::Done(0);
}

/// What becomes of the vcpu after a hypercall.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    /// It gives way to others.
    Yield,
    /// It sleeps until an event is pending; events are enabled.
    Block,
    /// It sleeps until one of the ports it named is pending, or its deadline has passed.
    Poll,
    /// Its domain has shut down: it does not go on.
    Ended,
}

/// How every hypercall ends.
pub type Served = Result<Answer, Errno>;
