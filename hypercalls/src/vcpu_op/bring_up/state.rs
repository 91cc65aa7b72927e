//! A first state as a guest gives it, checked as Xen does: what could not be entered is refused here.
//!
//! Public header `hvm/hvm_vcpu.h`. Attributes of segments come in twelve bits, without the gap that hardware leaves in
//! them. Beyond Xen's checks, what no processor could be entered with (SDM vol. 3 §27.3.1) is refused as well, where
//! Xen would let the entry fail and the domain crash.

mod segment;

use xenvisor_abi::hvm::hvm_vcpu::{X86_32, X86_64};
use xenvisor_core::machine::Registers;
use xenvisor_core::vcpu::start::{Segment, StartState};

use segment::{Part, Role};

const CR0_PE: u64 = 1;
const CR0_PG: u64 = 1 << 31;
const CR0_NW: u64 = 1 << 29;
const CR0_CD: u64 = 1 << 30;
const CR4_PAE: u64 = 1 << 5;
/// What a guest may set in CR4 at all: everything up to UMIP but not VMXE (13), SMXE (14), nor LA57 (12); then
/// FSGSBASE, PCIDE, OSXSAVE, SMEP, SMAP.
const CR4_KNOWN: u64 = 0x0037_0fff;
const EFER_SCE: u64 = 1;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
const EFER_NX: u64 = 1 << 11;
const EFER_KNOWN: u64 = EFER_SCE | EFER_LME | EFER_LMA | EFER_NX;

/// The upper half of CR0 must be clear, NW needs CD, paging needs protection.
fn cr0_is_fine(cr0: u64) -> bool {
    cr0 >> 32 == 0 && (cr0 & CR0_NW == 0 || cr0 & CR0_CD != 0) && (cr0 & CR0_PG == 0 || cr0 & CR0_PE != 0)
}

/// A state outside long mode.
pub(super) fn bits32(from: &X86_32) -> Option<StartState> {
    if from.padding1 != 0 || from.padding2 != [0; 3] {
        return None;
    }
    let part = |base, limit, attributes| Part {
        base,
        limit,
        attributes,
    };
    let cs = part(from.cs_base, from.cs_limit, from.cs_ar).check(Role::Code)?;
    let ds = part(from.ds_base, from.ds_limit, from.ds_ar).check(Role::Data)?;
    let ss = part(from.ss_base, from.ss_limit, from.ss_ar).check(Role::Stack)?;
    let es = part(from.es_base, from.es_limit, from.es_ar).check(Role::Data)?;
    let tr = part(from.tr_base, from.tr_limit, from.tr_ar).check(Role::Task)?;
    let level = cs.level();
    let fits = from.eip <= cs.reach()
        && ss.level() == level
        && (!ds.is_present() || ds.level() <= level)
        && (!es.is_present() || es.level() <= level);
    let (cr0, cr4) = (u64::from(from.cr0), u64::from(from.cr4));
    // Long mode can be enabled for later, but not active now.
    let efer_fine = from.efer & !EFER_KNOWN == 0
        && from.efer & EFER_LMA == 0
        && (from.efer & EFER_LME == 0 || cr0 & CR0_PG == 0);
    if !fits || !efer_fine || !cr0_is_fine(cr0) || cr4 & !CR4_KNOWN != 0 {
        return None;
    }
    let registers = Registers {
        rax: from.eax.into(),
        rbx: from.ebx.into(),
        rcx: from.ecx.into(),
        rdx: from.edx.into(),
        rsi: from.esi.into(),
        rdi: from.edi.into(),
        rbp: from.ebp.into(),
        rsp: from.esp.into(),
        rip: from.eip.into(),
        rflags: u64::from(from.eflags) | 2,
        ..Registers::default()
    };
    let efer = from.efer;
    Some(StartState {
        registers,
        cr0,
        cr3: from.cr3.into(),
        cr4,
        efer,
        cs: cs.register(),
        ds: ds.register(),
        es: es.register(),
        ss: ss.register(),
        tr: tr.register(),
        fs: segment::absent(),
        gs: segment::absent(),
        ldt: segment::absent(),
    })
}

/// A state in long mode, with flat segments.
pub(super) fn bits64(from: &X86_64) -> Option<StartState> {
    let long = from.cr0 & CR0_PG != 0 && from.cr4 & CR4_PAE != 0 && from.efer & EFER_LME != 0;
    let canonical = (from.rip.cast_signed() << 16 >> 16).cast_unsigned() == from.rip;
    if !long || !canonical || !cr0_is_fine(from.cr0) {
        return None;
    }
    if from.cr4 & !CR4_KNOWN != 0 || from.efer & !EFER_KNOWN != 0 {
        return None;
    }
    let registers = Registers {
        rax: from.rax,
        rbx: from.rbx,
        rcx: from.rcx,
        rdx: from.rdx,
        rsi: from.rsi,
        rdi: from.rdi,
        rbp: from.rbp,
        rsp: from.rsp,
        rip: from.rip,
        rflags: from.rflags | 2,
        ..Registers::default()
    };
    let flat = |attributes| Segment {
        selector: 0,
        attributes,
        limit: u32::MAX,
        base: 0,
    };
    Some(StartState {
        registers,
        cr0: from.cr0,
        cr3: from.cr3,
        cr4: from.cr4,
        efer: from.efer | EFER_LMA,
        cs: flat(0xa09b),
        ds: flat(0xc093),
        es: flat(0xc093),
        ss: flat(0xc093),
        tr: Segment {
            attributes: 0x8b,
            limit: 0x67,
            ..Segment::default()
        },
        fs: segment::absent(),
        gs: segment::absent(),
        ldt: segment::absent(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks one rule.
    type Break = fn(&mut X86_32);

    fn flat() -> X86_32 {
        X86_32 {
            eip: 0x10_0000,
            cr0: 1,
            cs_limit: u32::MAX,
            ds_limit: u32::MAX,
            es_limit: u32::MAX,
            ss_limit: u32::MAX,
            tr_limit: 0x67,
            cs_ar: 0xc9b,
            ds_ar: 0xc93,
            es_ar: 0xc93,
            ss_ar: 0xc93,
            tr_ar: 0x8b,
            ..X86_32::default()
        }
    }

    fn long() -> X86_64 {
        X86_64 {
            cr0: 0x8000_0001,
            cr4: CR4_PAE,
            efer: EFER_LME,
            rip: 0x1000,
            ..X86_64::default()
        }
    }

    #[test]
    fn a_flat_32_bit_state_gets_the_attributes_that_hardware_knows() {
        let state = bits32(&flat()).unwrap();
        assert_eq!(
            (state.registers.rip, state.registers.rflags, state.cs.attributes),
            (0x10_0000, 2, 0xc09b)
        );
        assert_eq!(state.tr.attributes, 0x8b);
    }

    #[test]
    fn a_segment_that_was_never_used_counts_as_used_and_an_available_task_as_busy() {
        let mut state = flat();
        (state.cs_ar, state.ds_ar, state.tr_ar) = (0xc9a, 0xc92, 0x89);
        let state = bits32(&state).unwrap();
        assert_eq!(
            (state.cs.attributes, state.ds.attributes, state.tr.attributes),
            (0xc09b, 0xc093, 0x8b)
        );
    }

    #[test]
    fn data_segments_may_be_missing() {
        let mut state = flat();
        (state.ds_ar, state.es_ar) = (0, 0);
        let state = bits32(&state).unwrap();
        assert_eq!((state.ds, state.es), (segment::absent(), segment::absent()));
    }

    #[test]
    fn each_broken_rule_is_refused() {
        #[rustfmt::skip]
        let broken: [(&str, Break); 21] = [
            ("padding",                       |s| s.padding1 = 1),
            ("more padding",                  |s| s.padding2 = [0, 0, 1]),
            ("bits 12 to 15 are blank",       |s| s.cs_ar = 0xc09b),
            ("CS is there",                   |s| s.cs_ar = 0),
            ("SS is there",                   |s| s.ss_ar = 0),
            ("TR is there",                   |s| s.tr_ar = 0),
            ("CS is code",                    |s| s.cs_ar = 0xc93),
            ("CS is no system segment",       |s| s.cs_ar = 0xc8b),
            ("CS is present",                 |s| s.cs_ar = 0xc1b),
            ("SS is writable",                |s| s.ss_ar = 0xc91),
            ("SS is data",                    |s| s.ss_ar = 0xc9b),
            ("DS is readable",                |s| s.ds_ar = 0xc99),
            ("TR is a system segment",        |s| s.tr_ar = 0x9b),
            ("TR is a 32-bit task",           |s| s.tr_ar = 0x83),
            ("EIP is within CS",              |s| { s.cs_limit = 0xffff; s.cs_ar = 0x49b; }),
            ("SS has the level of CS",        |s| s.ss_ar = 0xcf3),
            ("DS is no less privileged",      |s| s.ds_ar = 0xcf3),
            ("ES is no less privileged",      |s| s.es_ar = 0xcf3),
            ("CR4 has only what there is",    |s| s.cr4 = 1 << 13),
            ("long mode is not active",       |s| s.efer = EFER_LMA),
            ("paging needs protection",       |s| s.cr0 = 1 << 31),
        ];
        for (rule, breaks) in broken {
            let mut state = flat();
            breaks(&mut state);
            assert_eq!(bits32(&state), None, "{rule}");
        }
    }

    #[test]
    fn long_mode_needs_paging_pae_lme_and_a_canonical_start() {
        assert!(bits64(&long()).is_some());
        assert_eq!(bits64(&X86_64 { cr0: 1, ..long() }), None);
        assert_eq!(bits64(&X86_64 { cr4: 0, ..long() }), None);
        assert_eq!(bits64(&X86_64 { efer: 0, ..long() }), None);
        let rip = 1 << 47;
        assert_eq!(bits64(&X86_64 { rip, ..long() }), None);
    }
}
