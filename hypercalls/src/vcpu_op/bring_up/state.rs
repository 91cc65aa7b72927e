//! A first state as a guest gives it, checked as the processor would: what cannot be entered is refused here.
//!
//! Public header `hvm/hvm_vcpu.h`; the rules are those it states and those of SDM vol. 3 §3.4.5 and §4.1.

use xenvisor_abi::hvm::hvm_vcpu::{X86_32, X86_64};
use xenvisor_core::machine::Registers;
use xenvisor_core::vcpu::start::{Segment, StartState};

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

const PRESENT: u16 = 1 << 7;
const CODE: u16 = 1 << 3;
const GRANULAR: u16 = 1 << 15;
const UNUSABLE: u32 = 1 << 16;

/// The upper half of CR0 must be clear, NW needs CD, paging needs protection.
fn cr0_is_fine(cr0: u64) -> bool {
    cr0 >> 32 == 0 && (cr0 & CR0_NW == 0 || cr0 & CR0_CD != 0) && (cr0 & CR0_PG == 0 || cr0 & CR0_PE != 0)
}

/// A state outside long mode.
pub(super) fn bits32(from: &X86_32) -> Option<StartState> {
    let (cr0, cr4) = (u64::from(from.cr0), u64::from(from.cr4));
    let paddings_clear = from.padding1 == 0 && from.padding2 == [0; 3];
    // Long mode can be enabled for later, but not active now.
    let efer_fine = from.efer & !EFER_KNOWN == 0
        && from.efer & EFER_LMA == 0
        && (from.efer & EFER_LME == 0 || cr0 & CR0_PG == 0);
    if !paddings_clear || !efer_fine || !cr0_is_fine(cr0) || cr4 & !CR4_KNOWN != 0 {
        return None;
    }
    let cs = segment(from.cs_base, from.cs_limit, from.cs_ar);
    let (ds, es) = (
        segment(from.ds_base, from.ds_limit, from.ds_ar),
        segment(from.es_base, from.es_limit, from.es_ar),
    );
    let ss = segment(from.ss_base, from.ss_limit, from.ss_ar);
    let tr = segment(from.tr_base, from.tr_limit, from.tr_ar);
    let level = |segment: &Segment| segment.attributes >> 5 & 3;
    let usable = |segment: &Segment| segment.attributes & UNUSABLE == 0;
    let fits = usable(&cs)
        && u32::from(CODE) & cs.attributes != 0
        && from.eip <= cs.limit
        && usable(&ss)
        && level(&ss) == level(&cs)
        && (!usable(&ds) || level(&ds) <= level(&cs) || cr0 & CR0_PE == 0)
        && (!usable(&es) || level(&es) <= level(&cs) || cr0 & CR0_PE == 0);
    if !fits || !granularity_fits(&[&cs, &ds, &es, &ss, &tr]) {
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
        cs,
        ds,
        es,
        ss,
        tr,
        fs: absent(),
        gs: absent(),
        ldt: absent(),
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
        fs: absent(),
        gs: absent(),
        ldt: absent(),
    })
}

/// A segment; one that is not present is unusable.
fn segment(base: u32, limit: u32, attributes: u16) -> Segment {
    let unusable = if attributes & PRESENT == 0 { UNUSABLE } else { 0 };
    Segment {
        selector: 0,
        attributes: u32::from(attributes) | unusable,
        limit,
        base: base.into(),
    }
}

const fn absent() -> Segment {
    Segment {
        selector: 0,
        attributes: UNUSABLE,
        limit: 0,
        base: 0,
    }
}

/// Granularity and limit agree (SDM vol. 3 §27.3.1.2): below 1 MiB any limit in bytes; above it, whole pages.
fn granularity_fits(segments: &[&Segment]) -> bool {
    segments
        .iter()
        .filter(|segment| segment.attributes & UNUSABLE == 0)
        .all(|segment| {
            let granular = segment.attributes & u32::from(GRANULAR) != 0;
            let whole_pages = segment.limit & 0xfff == 0xfff;
            let small = segment.limit >> 20 == 0;
            if granular { whole_pages } else { small }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat() -> X86_32 {
        X86_32 {
            eip: 0x10_0000,
            cr0: 1,
            cs_limit: u32::MAX,
            ds_limit: u32::MAX,
            es_limit: u32::MAX,
            ss_limit: u32::MAX,
            tr_limit: 0x67,
            cs_ar: 0xc09b,
            ds_ar: 0xc093,
            es_ar: 0xc093,
            ss_ar: 0xc093,
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
    fn a_flat_32_bit_state_is_taken_as_it_is() {
        let state = bits32(&flat()).unwrap();
        assert_eq!(
            (state.registers.rip, state.registers.rflags, state.cs.attributes),
            (0x10_0000, 2, 0xc09b)
        );
    }

    #[test]
    fn each_broken_rule_is_refused() {
        let broken: [fn(&mut X86_32); 11] = [
            |s| s.padding1 = 1,
            |s| s.padding2 = [0, 0, 1],
            |s| s.cs_limit = 0xffff,
            |s| s.ss_ar = 0xc0f3,
            |s| s.ds_ar = 0xc0f3,
            |s| s.es_ar = 0xc0f3,
            |s| s.cr4 = 1 << 13,
            |s| s.efer = EFER_LMA,
            |s| s.cs_ar = 0xc01b,
            |s| s.cs_ar = 0xc093,
            |s| s.cr0 = 1 << 31,
        ];
        for (n, breaks) in broken.iter().enumerate() {
            let mut state = flat();
            breaks(&mut state);
            assert_eq!(bits32(&state), None, "rule {n}");
        }
    }

    #[test]
    fn long_mode_needs_paging_pae_lme_and_a_canonical_start() {
        assert!(bits64(&long()).is_some());
        assert_eq!(bits64(&X86_64 { cr0: 1, ..long() }), None);
        assert_eq!(bits64(&X86_64 { cr4: 0, ..long() }), None);
        assert_eq!(bits64(&X86_64 { efer: 0, ..long() }), None);
        assert_eq!(
            bits64(&X86_64 {
                rip: 1 << 47,
                ..long()
            }),
            None
        );
    }
}
