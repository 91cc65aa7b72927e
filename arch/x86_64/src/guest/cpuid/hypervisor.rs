//! The leaves by which a guest knows Xen. Public header: `arch-x86/cpuid.h`.

use super::{Leaf, Live};

/// What the guest is told of its TSC and how it turns into time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    /// The guest's TSC frequency.
    pub khz: u32,
    /// The host's.
    pub host_khz: u32,
    /// Guest TSC minus host TSC, in ticks.
    pub offset: u64,
    /// Nanoseconds per shifted tick, times 2^32 (pvclock's multiplier).
    pub multiplier: u32,
    /// pvclock's shift.
    pub shift: i8,
    /// Whether the host's TSC runs at one rate on all processors.
    pub reliable: bool,
    /// Whether the guest can use RDTSCP.
    pub rdtscp: bool,
}

const BASE: u32 = 0x4000_0000;
/// The last leaf; the one that only PV guests read, but Xen counts it for all.
const LAST: u32 = BASE | 5;
/// Xen 4.17: the interface that this hypervisor implements.
const VERSION: u32 = 4 << 16 | 17;
/// The MSR through which a guest asks for a hypercall page.
pub const HYPERCALL_PAGE_MSR: u32 = 0x4000_0000;

/// Leaf 4: what an HVM guest can count on.
const IOMMU_MAPPINGS: u32 = 1 << 2;
const VCPU_ID_PRESENT: u32 = 1 << 3;
const DOMAIN_ID_PRESENT: u32 = 1 << 4;
const UPCALL_VECTOR: u32 = 1 << 6;

pub fn answer(leaf: u32, subleaf: u32, live: &Live, clock: &Clock) -> Leaf {
    let [domain, vcpu] = [u32::from(live.domain.raw()), live.vcpu.raw()];
    match (leaf.wrapping_sub(BASE), subleaf) {
        // "XenVMMXenVMM".
        (0, _) => Leaf {
            eax: LAST,
            ebx: 0x566e_6558,
            ecx: 0x6558_4d4d,
            edx: 0x4d4d_566e,
        },
        (1, _) => Leaf {
            eax: VERSION,
            ..Leaf::NOTHING
        },
        (2, _) => Leaf {
            eax: 1,
            ebx: HYPERCALL_PAGE_MSR,
            ..Leaf::NOTHING
        },
        (3, 0) => Leaf {
            eax: u32::from(clock.reliable) << 1 | u32::from(clock.rdtscp) << 2,
            // TSC mode 0, the default: native where that is right.
            ebx: 0,
            ecx: clock.khz,
            // How often the guest's TSC has begun anew: once, with the guest.
            edx: 1,
        },
        (3, 1) => {
            let [a, b, c, d, e, f, g, h] = clock.offset.to_le_bytes();
            Leaf {
                eax: u32::from_le_bytes([a, b, c, d]),
                ebx: u32::from_le_bytes([e, f, g, h]),
                ecx: clock.multiplier,
                edx: i32::from(clock.shift).cast_unsigned(),
            }
        }
        (3, 2) => Leaf {
            eax: clock.host_khz,
            ..Leaf::NOTHING
        },
        (4, 0) => Leaf {
            eax: IOMMU_MAPPINGS | VCPU_ID_PRESENT | DOMAIN_ID_PRESENT | UPCALL_VECTOR,
            ebx: vcpu,
            ecx: domain,
            edx: 0,
        },
        _ => Leaf::NOTHING,
    }
}
