//! Something that every pcpu has one of, and only it uses.
//!
//! Each is behind a lock, which nobody else ever holds: it costs an uncontended exchange, and spares a proof.

use alloc::vec::Vec;

use spin::{Mutex, MutexGuard};
use xenvisor_core::number::PcpuId;

use crate::host::pcpu::current;

/// One `T` for each pcpu.
pub(crate) struct PerPcpu<T> {
    first: Mutex<T>,
    others: Vec<Mutex<T>>,
}

impl<T> PerPcpu<T> {
    /// One for each of `count` pcpus, as `make` makes it.
    ///
    /// # Errors
    /// The first one of `make`.
    pub(crate) fn new<E>(count: usize, mut make: impl FnMut() -> Result<T, E>) -> Result<Self, E> {
        let first = Mutex::new(make()?);
        let others = (1..count)
            .map(|_| make().map(Mutex::new))
            .collect::<Result<_, E>>()?;
        Ok(Self { first, others })
    }

    /// The running pcpu's.
    pub(crate) fn here(&self) -> MutexGuard<'_, T> {
        self.of(current().id()).lock()
    }

    /// Whether there is more than one.
    pub(crate) const fn is_many(&self) -> bool {
        !self.others.is_empty()
    }

    fn of(&self, pcpu: PcpuId) -> &Mutex<T> {
        let other = usize::try_from(pcpu.raw())
            .ok()
            .and_then(|number| number.checked_sub(1))
            .and_then(|index| self.others.get(index));
        // A pcpu that is not counted does not run; the first's is as good as any.
        other.unwrap_or(&self.first)
    }
}
