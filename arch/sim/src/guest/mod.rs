//! What a program sees of its guest: a processor, memory, and a hypervisor to call.
//!
//! A program is an asynchronous function that gets a [`SimGuest`]. Each step it awaits is an [`action`]; between any
//! two of them its turn may end. It runs as a kernel does: linear addresses are guest-physical ones, interrupts are off
//! at first.

pub mod action;
mod calls;
mod console;
mod events;
mod grants;
mod start;

pub use console::PvConsole;
pub use events::{Delivery, Events};
pub use grants::GrantTable;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use xenvisor_core::machine::{Ipi, Width};
use xenvisor_core::number::{DomainId, VcpuId};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::kernel;
use action::{Action, Desk, Done};

/// How a program ends: done, or in trouble.
pub type Ending = Result<(), Trouble>;
/// A running program or interrupt handler.
pub type Running = Pin<Box<dyn Future<Output = Ending> + Send>>;
/// What is run: the same for a program and for an interrupt handler.
pub type Handler = Arc<dyn Fn(SimGuest) -> Running + Send + Sync>;

/// Turns an asynchronous function into what is run.
pub fn handler<F>(code: impl Fn(SimGuest) -> F + Send + Sync + 'static) -> Handler
where
    F: Future<Output = Ending> + Send + 'static,
{
    Arc::new(move |guest| Box::pin(code(guest)))
}

/// Why a program cannot go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble(pub String);

impl Trouble {
    /// This trouble.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Trouble {}

/// A hypercall that was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// What was asked for.
    pub call: &'static str,
    /// The error number, positive.
    pub number: u16,
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} gives -{}", self.call, self.number)
    }
}

impl std::error::Error for Refused {}

impl From<Refused> for Trouble {
    fn from(refused: Refused) -> Self {
        Self(refused.to_string())
    }
}

/// A guest, from within: one of its processors, in a program or an interrupt handler.
#[derive(Clone)]
pub struct SimGuest {
    desk: Desk,
    domain: DomainId,
    vcpu: VcpuId,
    /// 0 in the program, one more in each interrupt handler that interrupts another.
    level: usize,
    /// What EBX held at the start.
    start_info: u64,
}

impl SimGuest {
    pub(crate) const fn new(
        desk: Desk,
        domain: DomainId,
        vcpu: VcpuId,
        level: usize,
        start_info: u64,
    ) -> Self {
        Self {
            desk,
            domain,
            vcpu,
            level,
            start_info,
        }
    }

    /// Which domain it is. A real guest does not know; here it makes messages clearer.
    #[must_use]
    pub const fn domain(&self) -> DomainId {
        self.domain
    }

    /// Which of its vcpus.
    #[must_use]
    pub const fn vcpu(&self) -> VcpuId {
        self.vcpu
    }

    /// A page for arguments that nothing else uses.
    #[must_use]
    pub fn scratch(&self) -> u64 {
        let level = (self.level as u64).min(kernel::SCRATCH_PAGES - 1);
        let vcpu = u64::from(self.vcpu.raw()).min(kernel::SCRATCH_VCPUS - 1);
        kernel::SCRATCH + (vcpu * kernel::SCRATCH_PAGES + level) * 4096
    }

    async fn act(&self, action: Action) -> Done {
        self.desk.ask(action).await
    }

    async fn number(&self, action: Action) -> u64 {
        match self.act(action).await {
            Done::Number(number) => number,
            _ => 0,
        }
    }

    /// Reads memory. Where there is none, all bits are ones.
    pub async fn read(&self, at: u64, bytes: usize) -> Vec<u8> {
        match self.act(Action::Read { at, bytes }).await {
            Done::Bytes(bytes) => bytes,
            _ => Vec::new(),
        }
    }

    /// Writes memory. Where there is none, nothing happens.
    pub async fn write(&self, at: u64, from: &[u8]) {
        let from = from.to_vec();
        self.act(Action::Write { at, from }).await;
    }

    /// Reads a value.
    pub async fn get<T: FromBytes + IntoBytes>(&self, at: u64) -> T {
        let mut value = T::new_zeroed();
        let bytes = self.read(at, size_of::<T>()).await;
        for (to, from) in value.as_mut_bytes().iter_mut().zip(bytes) {
            *to = from;
        }
        value
    }

    /// Writes a value.
    pub async fn put<T: IntoBytes + Immutable>(&self, at: u64, value: &T) {
        self.write(at, value.as_bytes()).await;
    }

    /// Changes an aligned 64-bit word, atomically; what it was before.
    pub async fn change(&self, at: u64, to: impl Fn(u64) -> u64) -> u64 {
        loop {
            let old: u64 = self.get(at).await;
            let new = to(old);
            if old == new || self.number(Action::CompareExchange { at, old, new }).await != 0 {
                return old;
            }
        }
    }

    /// Changes an aligned 32-bit word, atomically; what it was before.
    pub async fn change_half(&self, at: u64, to: impl Fn(u32) -> u32) -> u32 {
        let shift = (at & 4) * 8;
        let half = |word: u64| -> u32 {
            let [a, b, c, d, ..] = (word >> shift).to_le_bytes();
            u32::from_le_bytes([a, b, c, d])
        };
        let mask = u64::from(u32::MAX) << shift;
        let old = self
            .change(at & !7, |word| word & !mask | u64::from(to(half(word))) << shift)
            .await;
        half(old)
    }

    /// Reads a port.
    pub async fn port_read(&self, port: u16, bytes: u8) -> u64 {
        self.number(Action::PortRead { port, bytes }).await
    }

    /// Writes a port.
    pub async fn port_write(&self, port: u16, bytes: u8, value: u32) {
        self.act(Action::PortWrite { port, bytes, value }).await;
    }

    /// The counter.
    pub async fn counter(&self) -> u64 {
        self.number(Action::Counter).await
    }

    /// Computes for about so many nanoseconds.
    pub async fn compute(&self, ns: u64) {
        self.act(Action::Compute { ns }).await;
    }

    /// Lets interrupts come, or keeps them out; how it was before.
    pub async fn set_interrupts(&self, on: bool) -> bool {
        self.number(Action::Interrupts(on)).await != 0
    }

    /// Lets interrupts come and waits for one, without a gap in between.
    pub async fn wait_for_interrupt(&self) {
        self.act(Action::WaitForInterrupt).await;
    }

    /// Waits for an interrupt. Where none can come, that is the vcpu's end.
    pub async fn halt(&self) {
        self.act(Action::Halt).await;
    }

    /// Says what is to be done when an interrupt comes. It is done with interrupts off.
    pub async fn on_interrupt(&self, vector: u8, handler: Handler) {
        self.act(Action::SetHandler { vector, handler }).await;
    }

    /// From now on, hypercalls have the layout of code of this width.
    pub async fn set_width(&self, width: Width) {
        self.act(Action::SetWidth(width)).await;
    }

    /// Sends an inter-processor interrupt.
    pub async fn send_ipi(&self, ipi: Ipi) {
        self.act(Action::SendIpi(ipi)).await;
    }

    /// Ends the guest as a triple fault does.
    pub async fn triple_fault(&self) {
        self.act(Action::TripleFault).await;
    }

    /// Puts a program into memory, for another vcpu to start at.
    pub async fn place_program(&self, at: u64, name: &str) {
        self.write(at, &kernel::code(name)).await;
    }
}
