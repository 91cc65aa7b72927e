//! What queues owe to their scheduler, pcpu by pcpu.

use super::*;
use crate::number::VcpuId;
use crate::sched::{Seat, VcpuKey};

/// A vcpu that wants to run.
pub(in crate::sched) fn claim(n: u16) -> Claim {
    Seat::default().claim(VcpuKey {
        domain: DomainId::new(n),
        vcpu: VcpuId::new(0),
    })
}

mod shares;
