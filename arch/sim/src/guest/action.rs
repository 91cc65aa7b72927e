//! What guest code does, one step at a time: the instructions of the simulated processor.
//!
//! A program asks for an action and waits for its end. Between any two actions others may run, time passes, and an
//! interrupt may come.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use xenvisor_core::machine::{Ipi, Width};

use super::Handler;

/// One step.
pub enum Action {
    /// Reads memory.
    Read {
        /// The guest-physical address.
        at: u64,
        /// How many bytes.
        bytes: usize,
    },
    /// Writes memory.
    Write {
        /// The guest-physical address.
        at: u64,
        /// What.
        from: Vec<u8>,
    },
    /// Replaces an aligned 64-bit word if it is `old`, atomically. Answers whether it did.
    CompareExchange {
        /// The guest-physical address.
        at: u64,
        /// What it should be.
        old: u64,
        /// What it becomes.
        new: u64,
    },
    /// A hypercall. Answers with its result.
    Hypercall {
        /// Its number.
        number: u64,
        /// Its arguments.
        arguments: [u64; 6],
    },
    /// Reads a port.
    PortRead {
        /// The port.
        port: u16,
        /// 1, 2 or 4.
        bytes: u8,
    },
    /// Writes a port.
    PortWrite {
        /// The port.
        port: u16,
        /// 1, 2 or 4.
        bytes: u8,
        /// What.
        value: u32,
    },
    /// Reads the counter (RDTSC).
    Counter,
    /// Computes for about so long.
    Compute {
        /// Nanoseconds.
        ns: u64,
    },
    /// Lets interrupts come (STI), or keeps them out (CLI). Answers how it was.
    Interrupts(bool),
    /// Lets interrupts come and waits for one, without a gap in between (STI; HLT).
    WaitForInterrupt,
    /// Waits for an interrupt, as things are (HLT).
    Halt,
    /// Says what is to be done when an interrupt comes.
    SetHandler {
        /// Its vector.
        vector: u8,
        /// What is to be done.
        handler: Handler,
    },
    /// From now on, hypercalls have this layout.
    SetWidth(Width),
    /// Sends an inter-processor interrupt.
    SendIpi(Ipi),
    /// Ends the guest as a triple fault does.
    TripleFault,
}

/// How an action ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Done {
    /// It is done.
    Plainly,
    /// It is done, with a number.
    Number(u64),
    /// It is done, with bytes.
    Bytes(Vec<u8>),
}

/// Between a program and its processor: what is asked for, and how it ended.
#[derive(Clone, Default)]
pub struct Desk(Arc<Mutex<Papers>>);

#[derive(Default)]
struct Papers {
    asked: Option<Action>,
    done: Option<Done>,
}

impl Desk {
    fn papers(&self) -> MutexGuard<'_, Papers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is asked for.
    #[must_use]
    pub fn take(&self) -> Option<Action> {
        self.papers().asked.take()
    }

    /// Says how it ended.
    pub fn end(&self, done: Done) {
        self.papers().done = Some(done);
    }

    /// Asks for an action, and waits for its end.
    pub fn ask(&self, action: Action) -> impl Future<Output = Done> + Send {
        Asked {
            desk: self.clone(),
            action: Some(action),
        }
    }
}

struct Asked {
    desk: Desk,
    action: Option<Action>,
}

impl Future for Asked {
    type Output = Done;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Done> {
        let action = self.action.take();
        let mut papers = self.desk.papers();
        if let Some(action) = action {
            papers.asked = Some(action);
            return Poll::Pending;
        }
        papers.done.take().map_or(Poll::Pending, Poll::Ready)
    }
}
