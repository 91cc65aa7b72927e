//! A domain that is paused: it runs no guest code, whatever wakes its vcpus, until it has been unpaused as often as paused.
//!
//! Nothing is lost meanwhile: events become pending, timers fire when it goes on. Its clock does not stand still. Of its
//! account the time is offline, as under Xen, where a vcpu that wants to run may not.

use core::sync::atomic::Ordering;

use super::Domain;
use crate::vcpu::Activity;

impl Domain {
    /// Keeps the domain from running guest code from now on. A vcpu that is in the guest at this moment leaves it soon:
    /// [`Domain::is_off_all_pcpus`].
    pub fn pause(&self) {
        self.pauses.fetch_add(1, Ordering::SeqCst);
        for vcpu in &self.vcpus {
            if let Activity::Running(pcpu) = vcpu.activity.get() {
                self.machine.kick(pcpu);
            }
        }
    }

    /// Takes back one [`Domain::pause`]; `false` if there was none. With the last one, its vcpus run on.
    pub fn unpause(&self) -> bool {
        let less = |pauses: u32| pauses.checked_sub(1);
        let before = self.pauses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        if before == Ok(1) {
            // First it is unpaused, then they are woken: one that goes to sleep for the pause does the reverse.
            self.vcpus.iter().for_each(|vcpu| self.queues.wake(vcpu));
        }
        before.is_ok()
    }

    /// Whether it is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.pauses.load(Ordering::SeqCst) > 0
    }

    /// Whether none of its vcpus is on a pcpu: of one that is paused, all of its state is at rest.
    #[must_use]
    pub fn is_off_all_pcpus(&self) -> bool {
        self.vcpus.iter().all(|vcpu| vcpu.cpu.try_lock().is_some())
    }
}
