//! A domain as the receiver of events.

use super::Domain;
use crate::event::{Endpoint, Ports, Upcalls, Virq, is_marked, raise_virq};
use crate::lock::Ranked;
use crate::machine::{MachineMemory, Width};
use crate::number::{DomainId, MachineAddr, VcpuId};
use crate::vcpu::Vcpu;
use crate::vcpu::mail::News;

impl Upcalls for Domain {
    fn id(&self) -> DomainId {
        self.id
    }

    fn memory(&self) -> &dyn MachineMemory {
        self.machine.memory().as_ref()
    }

    fn width(&self) -> Width {
        if self.is_wide() {
            Width::Bits64
        } else {
            Width::Bits32
        }
    }

    fn shared_info(&self) -> MachineAddr {
        // Frames the allocator hands out have addresses; one without would read as zeros.
        self.shared_info
            .mfn()
            .address()
            .unwrap_or(MachineAddr::new(u64::MAX))
    }

    fn vcpu_info(&self, vcpu: VcpuId) -> Option<MachineAddr> {
        self.vcpu(vcpu)?.info.get()
    }

    fn notify(&self, vcpu: VcpuId) {
        if let Some(vcpu) = self.vcpu(vcpu) {
            self.tell(vcpu, News::UPCALL);
        }
    }

    fn end_poll(&self, vcpu: VcpuId) {
        if let Some(vcpu) = self.vcpu(vcpu) {
            self.tell(vcpu, News::POLL);
        }
    }
}

impl Endpoint for Domain {
    fn ports(&self) -> &Ranked<Ports> {
        &self.ports
    }
}

impl Domain {
    /// Raises a virtual interrupt on a vcpu, if the guest has bound it.
    pub fn raise_virq(&self, vcpu: &Vcpu, virq: Virq) {
        raise_virq(self, virq, vcpu.key.vcpu);
    }

    /// Whether the guest has been told of events on the vcpu, and has not begun to look.
    #[must_use]
    pub fn upcall_pending(&self, vcpu: &Vcpu) -> bool {
        vcpu.info
            .get()
            .is_some_and(|info| is_marked(self.machine.memory().as_ref(), info))
    }
}
