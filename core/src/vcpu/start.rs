//! The state a vcpu starts in: registers, modes and segments, as data.

use crate::machine::Registers;

/// Everything that decides how a vcpu begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StartState {
    /// The general registers, instruction pointer and flags.
    pub registers: Registers,
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// EFER.
    pub efer: u64,
    /// The code segment.
    pub cs: Segment,
    /// The data segment.
    pub ds: Segment,
    /// The extra segment.
    pub es: Segment,
    /// FS.
    pub fs: Segment,
    /// GS.
    pub gs: Segment,
    /// The stack segment.
    pub ss: Segment,
    /// The task register.
    pub tr: Segment,
    /// The local descriptor table.
    pub ldt: Segment,
}

/// A segment register with its hidden part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Segment {
    /// The selector.
    pub selector: u16,
    /// Attributes as VMX writes them: type and S in bits 0–4, DPL 5–6, P 7, AVL 12, L 13, D/B 14, G 15,
    /// unusable 16 (SDM vol. 3 §25.4.1).
    pub attributes: u32,
    /// The limit in bytes, inclusive.
    pub limit: u32,
    /// The base, linear.
    pub base: u64,
}
