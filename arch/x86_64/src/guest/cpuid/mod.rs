//! What CPUID tells a guest: the host's truth, cut down to what works here, with Xen's own leaves added.
//!
//! Use: at a domain's creation [`CpuidPolicy::new`] reads the host's CPUID once (through a closure, so that
//! tests bring their own processor). At an exit [`CpuidPolicy::answer`] gives the four registers for a leaf,
//! with those bits filled in that follow the vcpu's state. The same policy says which bits of CR4, EFER and
//! XCR0 the guest may set, so that what is hidden cannot be used either.
//!
//! Invariant: features are an allow-list (`features`): a bit nobody thought of stays hidden. Leaves beyond
//! the maxima read as zeros on both vendors, as on Xen. SDM vol. 2 "CPUID", APM vol. 3 appendix E,
//! public header `arch-x86/cpuid.h` (facts of the leaves at 0x40000000 are in `hypervisor`).

mod features;
mod hypervisor;
mod shown;
#[cfg(test)]
mod tests;
pub mod xstate;

pub use hypervisor::Clock;

use crate::devices::local_apic::apic_id;
use features::Allowed;
use xenvisor_core::number::{DomainId, VcpuId};
use xstate::ExtendedState;

/// The registers that CPUID fills.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Leaf {
    /// EAX.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ECX.
    pub ecx: u32,
    /// EDX.
    pub edx: u32,
}

impl Leaf {
    /// All zeros: what a leaf that does not exist reads as.
    pub const NOTHING: Self = Self {
        eax: 0,
        ebx: 0,
        ecx: 0,
        edx: 0,
    };
}

/// Who made the processor, as far as CPUID differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vendor {
    /// AMD and Hygon.
    Amd,
    /// Intel, and whoever else has VMX.
    Intel,
}

/// What the backend can do for a guest beyond the plain instruction set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offers {
    /// Components of XCR0 whose state the backend switches; 0 hides XSAVE and all that builds on it.
    pub xcr0: u64,
    /// XSAVES and XRSTORS work in the guest (with an empty XSS).
    pub xsaves: bool,
    /// SPEC_CTRL is switched between host and guest.
    pub speculation_control: bool,
    /// INVPCID does not exit (VMX has it off by default).
    pub invpcid: bool,
    /// RDTSCP and RDPID give the guest's own TSC_AUX.
    pub tsc_aux: bool,
    /// How many vcpus the domain has: what the topology leaves are made of.
    pub vcpus: u32,
}

/// The state of a vcpu that shows in CPUID.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Live {
    /// Its domain.
    pub domain: DomainId,
    /// Its number.
    pub vcpu: VcpuId,
    /// CR4.
    pub cr4: u64,
    /// XCR0.
    pub xcr0: u64,
    /// Whether EFER.LMA is set.
    pub long_mode: bool,
    /// Whether MSR 0x1b enables its local APIC.
    pub apic: bool,
}

const BASIC: usize = 0xe;
/// The last leaf of them, be there extended state or not, as Xen has it.
const LAST_BASIC: u32 = 0xd;
const CACHES: usize = 6;
const EXTENDED: usize = 0x22;
const EXTENDED_BASE: u32 = 0x8000_0000;

/// CPUID as one domain sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CpuidPolicy {
    vendor: Vendor,
    basic: [Leaf; BASIC],
    caches: [Leaf; CACHES],
    /// Leaf 7, subleaves 0 and 1.
    structured: [Leaf; 2],
    extended: [Leaf; EXTENDED],
    xstate: ExtendedState,
    clock: Clock,
}

impl CpuidPolicy {
    /// The policy for a guest on the processor that `host` describes: `host(leaf, subleaf)` is CPUID.
    #[must_use]
    pub fn new(host: &dyn Fn(u32, u32) -> Leaf, offers: &Offers, clock: Clock) -> Self {
        let top = host(0, 0);
        let last_basic = top.eax;
        let last_extended = host(EXTENDED_BASE, 0).eax;
        let vendor = vendor(top);
        let basic = |leaf: u32, subleaf| {
            if leaf <= last_basic {
                host(leaf, subleaf)
            } else {
                Leaf::NOTHING
            }
        };
        let extended = |leaf: u32| {
            let is_there = last_extended >= EXTENDED_BASE && leaf <= last_extended;
            if is_there { host(leaf, 0) } else { Leaf::NOTHING }
        };
        let raw = features::Raw {
            basic: basic(1, 0),
            structured: [
                basic(7, 0),
                if basic(7, 0).eax == 0 {
                    Leaf::NOTHING
                } else {
                    basic(7, 1)
                },
            ],
            extended: extended(EXTENDED_BASE | 1),
            power: extended(EXTENDED_BASE | 7),
            sizes: extended(EXTENDED_BASE | 8),
            hints: extended(EXTENDED_BASE | 0x21),
            xsave: basic(0xd, 1),
        };
        let xcr0 = if raw.basic.ecx & features::XSAVE == 0 {
            0
        } else {
            offers.xcr0
        };
        let xstate = ExtendedState::new(&basic, xcr0);
        let allowed = Allowed::new(&raw, vendor, offers, xstate.offered());
        let mut policy = Self {
            vendor,
            basic: [Leaf::NOTHING; BASIC],
            caches: [Leaf::NOTHING; CACHES],
            structured: allowed.structured,
            extended: [Leaf::NOTHING; EXTENDED],
            xstate: xstate.with_instructions(allowed.xsave),
            clock,
        };
        policy.fill_basic(&basic, &raw, &allowed, offers.vcpus);
        policy.fill_extended(&extended, &raw, &allowed, offers.vcpus);
        policy
    }

    fn fill_basic(
        &mut self,
        host: &dyn Fn(u32, u32) -> Leaf,
        raw: &features::Raw,
        allowed: &Allowed,
        vcpus: u32,
    ) {
        let top = host(0, 0);
        self.put(
            0,
            Leaf {
                eax: top.eax.clamp(1, LAST_BASIC),
                ..top
            },
        );
        // Family, model and stepping; the count of logical processors; feature bits.
        let ebx = (raw.basic.ebx & 0xffff) | (ids(vcpus).min(255) << 16);
        self.put(
            1,
            Leaf {
                eax: raw.basic.eax & 0x0fff_0fff,
                ebx,
                ..allowed.basic
            },
        );
        if self.vendor == Vendor::Intel {
            let caches = host(2, 0);
            self.put(
                2,
                Leaf {
                    eax: (caches.eax & !0xff) | 1,
                    ..caches
                },
            );
            for (subleaf, slot) in (0..).zip(&mut self.caches) {
                let cache = host(4, subleaf);
                if cache.eax & 0x1f == 0 {
                    break;
                }
                // Bits 31:26: ids in the package, less one. Bits 25:14: threads that share it: none.
                let cores = ids(vcpus).min(64).saturating_sub(1);
                *slot = Leaf {
                    eax: (cache.eax & 0x3fff) | (cores << 26),
                    ..cache
                };
            }
        }
    }

    fn fill_extended(
        &mut self,
        host: &dyn Fn(u32) -> Leaf,
        raw: &features::Raw,
        allowed: &Allowed,
        vcpus: u32,
    ) {
        let top = host(EXTENDED_BASE);
        let amd = self.vendor == Vendor::Amd;
        let last = EXTENDED_BASE | if amd { 0x21 } else { 0x8 };
        // Without extended leaves at all (no 64-bit processor is like that) the host's answer is not a maximum.
        if top.eax < EXTENDED_BASE {
            return;
        }
        let mut put = |number: u32, leaf| {
            if let Some(slot) = usize::try_from(number)
                .ok()
                .and_then(|at| self.extended.get_mut(at))
            {
                *slot = leaf;
            }
        };
        let name = if amd {
            Leaf { eax: 0, ..top }
        } else {
            Leaf::NOTHING
        };
        put(
            0,
            Leaf {
                eax: top.eax.min(last),
                ..name
            },
        );
        let signature = if amd { raw.extended.eax & 0x0fff_0fff } else { 0 };
        put(
            1,
            Leaf {
                eax: signature,
                ebx: raw.extended.ebx & if amd { 0xff00_ffff } else { 0 },
                ..allowed.extended
            },
        );
        for number in 2..=4 {
            put(number, host(EXTENDED_BASE | number));
        }
        let caches = host(EXTENDED_BASE | 6);
        if amd {
            put(5, host(EXTENDED_BASE | 5));
            put(6, caches);
            put(0x19, host(EXTENDED_BASE | 0x19));
            put(0x1a, host(EXTENDED_BASE | 0x1a));
            put(0x21, allowed.hints);
        } else {
            put(
                6,
                Leaf {
                    ecx: caches.ecx,
                    ..Leaf::NOTHING
                },
            );
        }
        put(7, allowed.power);
        // Bits 15:12: how many bits of the APIC id number cores; bits 7:0: cores less one.
        let cores = ids(vcpus).min(256);
        let ecx = if amd {
            (cores.trailing_zeros() << 12) | cores.saturating_sub(1)
        } else {
            0
        };
        put(
            8,
            Leaf {
                eax: raw.sizes.eax & 0xffff,
                ecx,
                edx: 0,
                ..allowed.sizes
            },
        );
    }

    fn put(&mut self, number: usize, leaf: Leaf) {
        if let Some(slot) = self.basic.get_mut(number) {
            *slot = leaf;
        }
    }

    /// The answer to CPUID with this leaf (EAX) and subleaf (ECX).
    #[must_use]
    pub fn answer(&self, leaf: u32, subleaf: u32, live: &Live) -> Leaf {
        match leaf >> 28 {
            0 if leaf <= self.last_basic() => self.basic_leaf(leaf, subleaf, live),
            4 => hypervisor::answer(leaf, subleaf, live, &self.clock),
            8 if leaf <= self.leaf_at(&self.extended, 0).eax => self.extended_leaf(leaf, live),
            _ => Leaf::NOTHING,
        }
    }

    fn basic_leaf(&self, leaf: u32, subleaf: u32, live: &Live) -> Leaf {
        let stored = self.leaf_at(&self.basic, leaf);
        let id = apic_id(live.vcpu);
        match leaf {
            1 => Leaf {
                ebx: stored.ebx | (id & 0xff) << 24,
                ecx: set(stored.ecx, features::OSXSAVE, live.cr4 & CR4_OSXSAVE != 0),
                edx: set(stored.edx, features::APIC, live.apic),
                ..stored
            },
            4 => self.leaf_at(&self.caches, subleaf),
            7 => match subleaf {
                0 => {
                    let zero = self.leaf_at(&self.structured, 0);
                    let protects = zero.ecx & features::PKU != 0 && live.cr4 & CR4_PKE != 0;
                    let more = u32::from(self.leaf_at(&self.structured, 1) != Leaf::NOTHING);
                    Leaf {
                        eax: more,
                        ecx: set(zero.ecx, features::OSPKE, protects),
                        ..zero
                    }
                }
                1 => self.leaf_at(&self.structured, 1),
                _ => Leaf::NOTHING,
            },
            // One level below the package is not told apart, yet the x2APIC id is: as Xen has it.
            0xb => Leaf {
                ecx: subleaf & 0xff,
                edx: id,
                ..Leaf::NOTHING
            },
            0xd if self.xstate.offered() != 0 => self.xstate.answer(subleaf, live.xcr0),
            _ => stored,
        }
    }

    fn extended_leaf(&self, leaf: u32, live: &Live) -> Leaf {
        let stored = self.leaf_at(&self.extended, leaf & 0xffff);
        if leaf & 0x0fff_ffff > 0xffff {
            return Leaf::NOTHING;
        }
        match leaf {
            // Intel's SYSCALL exists in 64-bit mode only, and shows only there.
            0x8000_0001 if self.vendor == Vendor::Intel && !live.long_mode => Leaf {
                edx: stored.edx & !features::SYSCALL,
                ..stored
            },
            0x8000_0001 if self.vendor == Vendor::Amd => Leaf {
                edx: set(stored.edx, features::APIC, live.apic),
                ..stored
            },
            _ => stored,
        }
    }

    fn leaf_at(&self, leaves: &[Leaf], number: u32) -> Leaf {
        usize::try_from(number)
            .ok()
            .and_then(|at| leaves.get(at))
            .copied()
            .unwrap_or(Leaf::NOTHING)
    }

    fn last_basic(&self) -> u32 {
        self.leaf_at(&self.basic, 0).eax
    }
}

const CR4_OSXSAVE: u64 = 1 << 18;
const CR4_PKE: u64 = 1 << 22;

/// How many APIC ids so many vcpus need: two each, rounded up to a power of two.
fn ids(vcpus: u32) -> u32 {
    vcpus.clamp(1, 1 << 16).saturating_mul(2).next_power_of_two()
}

/// A bit that is shown if `word` has it and the vcpu's state says so too.
const fn set(word: u32, bit: u32, on: bool) -> u32 {
    if on { word } else { word & !bit }
}

fn vendor(top: Leaf) -> Vendor {
    let name = [top.ebx, top.edx, top.ecx].map(u32::to_le_bytes);
    match name.as_flattened() {
        b"AuthenticAMD" | b"HygonGenuine" => Vendor::Amd,
        _ => Vendor::Intel,
    }
}
