//! What others leave for a vcpu to look at before it runs on.
//!
//! Most of it is a bit: that something *may* have changed. Interrupts between processors carry data and queue up.
//! Leave mail first, wake afterwards; the vcpu takes its mail after it has said that it sleeps. So none is lost.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::lock::{Rank, Ranked};
use crate::machine::Ipi;

bitflags::bitflags! {
    /// What a vcpu should look at.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct News: u32 {
        /// An event became pending: raise the upcall.
        const UPCALL = 1;
        /// A non-maskable interrupt.
        const NMI = 1 << 1;
        /// Inter-processor interrupts have queued up.
        const IPI = 1 << 3;
        /// Deadlines have changed or passed.
        const TIMER = 1 << 4;
        /// A port it polls became pending, or its wait is over.
        const POLL = 1 << 5;
    }
}

/// How many different inter-processor interrupts can wait for one vcpu.
const QUEUE: usize = 16;

/// The letter box of one vcpu.
pub struct Mail {
    news: AtomicU32,
    ipis: Ranked<heapless::Vec<Ipi, QUEUE>>,
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            news: AtomicU32::new(0),
            ipis: Ranked::new(Rank::Mail, heapless::Vec::new()),
        }
    }
}

impl Mail {
    /// Leaves news. The caller wakes the vcpu afterwards.
    pub fn post(&self, news: News) {
        self.news.fetch_or(news.bits(), Ordering::SeqCst);
    }

    /// Leaves an inter-processor interrupt; the same one twice is one. `false` when the box is full: then the
    /// sender tries again, so that none is lost.
    #[must_use]
    pub fn post_ipi(&self, ipi: Ipi) -> bool {
        let mut ipis = self.ipis.lock();
        if !ipis.contains(&ipi) && ipis.push(ipi).is_err() {
            return false;
        }
        drop(ipis);
        self.post(News::IPI);
        true
    }

    /// Whether there is news, without taking it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.news.load(Ordering::SeqCst) == 0
    }

    /// Takes the news.
    #[must_use]
    pub fn take(&self) -> News {
        News::from_bits_truncate(self.news.swap(0, Ordering::SeqCst))
    }

    /// Takes the inter-processor interrupts, in the order in which they were sent.
    #[must_use]
    pub fn take_ipis(&self) -> heapless::Vec<Ipi, QUEUE> {
        core::mem::take(&mut *self.ipis.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{IpiKind, IpiTarget};
    use crate::number::{VcpuId, Vector};

    fn ipi(vector: u8) -> Ipi {
        Ipi {
            from: VcpuId::new(0),
            to: IpiTarget::Physical(2),
            kind: IpiKind::Fixed(Vector::new(vector)),
        }
    }

    #[test]
    fn news_is_there_until_it_is_taken_and_then_gone() {
        let mail = Mail::default();
        mail.post(News::UPCALL);
        mail.post(News::TIMER);
        assert_eq!(mail.take(), News::UPCALL | News::TIMER);
        assert!(mail.is_empty());
    }

    #[test]
    fn a_full_box_refuses_and_loses_nothing() {
        let mail = Mail::default();
        let sent = (0..=255).filter(|n| mail.post_ipi(ipi(*n))).count();
        assert_eq!(sent, QUEUE);
        assert!(mail.post_ipi(ipi(3)), "one that waits already is welcome");
        assert_eq!(mail.take_ipis().len(), QUEUE);
    }
}
