//! A segment register as a guest gives it for a first state: its rules, and how hardware sees it.
//!
//! Public header `hvm/hvm_vcpu.h`: type in bits 0–3, S 4, DPL 5–6, P 7, AVL 8, L 9, D/B 10, G 11, the rest blank.

use xenvisor_core::vcpu::start::Segment;

const USED: u16 = 1;
const WRITABLE_OR_READABLE: u16 = 1 << 1;
const BUSY: u16 = 1 << 1;
const CODE: u16 = 1 << 3;
const NO_SYSTEM: u16 = 1 << 4;
const PRESENT: u16 = 1 << 7;
const GRANULAR: u16 = 1 << 11;
const TYPE: u16 = 0xf;
const BLANK: u16 = 0xf000;
/// A busy 32-bit task, without the rest.
const BUSY_TASK: u16 = 0xb;
/// Not in use, as hardware says it (SDM vol. 3 §25.4.1), and the granularity where hardware has it.
const UNUSABLE: u32 = 1 << 16;
const HARDWARE_GRANULAR: u32 = 1 << 15;

/// What a segment is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// CS.
    Code,
    /// SS.
    Stack,
    /// DS or ES; these may be missing.
    Data,
    /// TR.
    Task,
}

/// A segment as a guest gives it.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) base: u32,
    pub(super) limit: u32,
    pub(super) attributes: u16,
}

impl Part {
    /// The segment with the bits set that the processor sets when it loads one, if it suits its role.
    pub(super) fn check(self, role: Role) -> Option<Self> {
        if self.attributes & BLANK != 0 {
            return None;
        }
        if self.attributes == 0 {
            return (role == Role::Data).then_some(self);
        }
        let loaded = match role {
            _ if !self.is_present() => 0,
            Role::Task => BUSY,
            Role::Code | Role::Stack | Role::Data => USED,
        };
        let attributes = self.attributes | loaded;
        let has = |bits| attributes & bits == bits;
        let suits = match role {
            Role::Task => !has(NO_SYSTEM) && attributes & TYPE == BUSY_TASK,
            Role::Code => has(NO_SYSTEM | CODE),
            Role::Stack => has(NO_SYSTEM | WRITABLE_OR_READABLE) && !has(CODE),
            Role::Data => has(NO_SYSTEM) && (!has(CODE) || has(WRITABLE_OR_READABLE)),
        };
        (suits && has(PRESENT)).then_some(Self { attributes, ..self })
    }

    /// Whether it is there.
    pub(super) const fn is_present(self) -> bool {
        self.attributes & PRESENT != 0
    }

    /// Its privilege level.
    pub(super) const fn level(self) -> u16 {
        self.attributes >> 5 & 3
    }

    /// The last address in it, as Xen reads a limit with granularity here: in pages.
    pub(super) const fn reach(self) -> u32 {
        if self.attributes & GRANULAR != 0 {
            self.limit << 12 | 0xfff
        } else {
            self.limit
        }
    }

    /// As hardware has it. The granularity follows the limit, which is in bytes: VMX wants them to agree.
    pub(super) fn register(self) -> Segment {
        if !self.is_present() {
            return absent();
        }
        let attributes = u32::from(self.attributes & 0xff) | u32::from(self.attributes & 0x700) << 4;
        let granular = if self.limit >> 20 == 0 {
            0
        } else {
            HARDWARE_GRANULAR
        };
        Segment {
            selector: 0,
            attributes: attributes | granular,
            limit: if granular == 0 {
                self.limit
            } else {
                self.limit | 0xfff
            },
            base: self.base.into(),
        }
    }
}

/// No segment.
pub(super) const fn absent() -> Segment {
    Segment {
        selector: 0,
        attributes: UNUSABLE,
        limit: 0,
        base: 0,
    }
}
