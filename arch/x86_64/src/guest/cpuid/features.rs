//! The feature bits that may be shown, by leaf and register: an allow-list.
//!
//! A bit is shown if the host has it and it stands here, or if the hypervisor provides it by itself (local
//! APIC, x2APIC, TSC deadline). What stands here needs nothing from the hypervisor, or has it.
//! Hidden on purpose: VMX, SVM and SMX (no nesting), MONITOR/MWAIT, performance counters, power and thermal
//! management, debug stores, SGX, TSX, MPX, processor trace, CET, AMX, five-level paging.

use super::{Leaf, Offers, Vendor};

/// The bits of a word at these positions.
const fn bits(positions: &[u32]) -> u32 {
    let mut word = 0;
    let mut rest = positions;
    while let [first, others @ ..] = rest {
        word |= 1 << *first;
        rest = others;
    }
    word
}

/// Leaf 1, ECX: XSAVE.
pub const XSAVE: u32 = 1 << 26;
/// Leaf 1, ECX: CR4.OSXSAVE is set.
pub const OSXSAVE: u32 = 1 << 27;
/// Leaf 1, EDX: local APIC.
pub const APIC: u32 = 1 << 9;
/// Leaf 7, ECX: protection keys.
pub const PKU: u32 = 1 << 3;
/// Leaf 7, ECX: CR4.PKE is set.
pub const OSPKE: u32 = 1 << 4;
/// Leaf 7, ECX: RDPID.
pub const RDPID: u32 = 1 << 22;
/// Leaf 7, EDX: SPEC_CTRL.IBRS and PRED_CMD on Intel.
pub const IBRSB: u32 = 1 << 26;
/// Leaf 0xd subleaf 1, EAX: XSAVES.
pub const XSAVES: u32 = 1 << 3;
/// Leaf 0x80000001, EDX: SYSCALL.
pub const SYSCALL: u32 = 1 << 11;
/// Leaf 0x80000001, EDX: 1 GiB pages.
pub const PAGE1GB: u32 = 1 << 26;
/// Leaf 0x80000001, EDX: RDTSCP.
pub const RDTSCP: u32 = 1 << 27;
/// Leaf 0x80000008, EBX: PRED_CMD on AMD.
pub const IBPB: u32 = 1 << 12;
/// Leaf 0x80000008, EBX: SPEC_CTRL on AMD: IBRS, STIBP, their "always on" hints, SSBD.
pub const AMD_SPECULATION: u32 = bits(&[14, 15, 16, 17, 18, 19, 24]);

/// SSE3 PCLMULQDQ SSSE3 FMA CX16 PCID SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE OSXSAVE AVX F16C RDRAND.
const BASIC_C: u32 = bits(&[0, 1, 9, 12, 13, 17, 19, 20, 22, 23, 25, 26, 27, 28, 29, 30]);
/// What the hypervisor provides: x2APIC, TSC deadline, and the bit that says there is a hypervisor.
const PROVIDED_C: u32 = bits(&[21, 24, 31]);
/// FPU VME DE PSE TSC MSR PAE MCE CX8 SEP MTRR PGE MCA CMOV PAT PSE36 CLFLUSH MMX FXSR SSE SSE2 SS.
const BASIC_D: u32 = bits(&[
    0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26, 27,
]);
/// The local APIC, and "the count of logical processors is valid".
const PROVIDED_D: u32 = bits(&[9, 28]);
/// Leaf 1 features in ECX that go with the AVX state.
const AVX_C: u32 = bits(&[12, 28, 29]);

/// FSGSBASE TSC_ADJUST BMI1 AVX2 FDP_EXCPTN SMEP BMI2 ERMS INVPCID NO_FPU_SEL AVX512{F,DQ} RDSEED ADX SMAP
/// AVX512_IFMA CLFLUSHOPT CLWB AVX512{PF,ER,CD} SHA AVX512{BW,VL}.
const STRUCTURED_B: u32 = bits(&[
    0, 1, 3, 5, 6, 7, 8, 9, 10, 13, 16, 17, 18, 19, 20, 21, 23, 24, 26, 27, 28, 29, 30, 31,
]);
const INVPCID: u32 = 1 << 10;
const AVX2: u32 = 1 << 5;
const AVX512_B: u32 = bits(&[16, 17, 21, 26, 27, 28, 30, 31]);
/// AVX512_VBMI UMIP PKU OSPKE AVX512_VBMI2 GFNI VAES VPCLMULQDQ AVX512_{VNNI,BITALG} VPOPCNTDQ RDPID CLDEMOTE
/// MOVDIRI MOVDIR64B.
const STRUCTURED_C: u32 = bits(&[1, 2, 3, 4, 6, 8, 9, 10, 11, 12, 14, 22, 25, 27, 28]);
const AVX_STRUCTURED_C: u32 = bits(&[9, 10]);
const AVX512_C: u32 = bits(&[1, 6, 11, 12, 14]);
/// FSRM VP2INTERSECT MD_CLEAR SERIALIZE AVX512_FP16.
const STRUCTURED_D: u32 = bits(&[4, 8, 10, 14, 23]);
const AVX512_D: u32 = bits(&[8, 23]);
/// IBRSB STIBP SSBD.
const SPECULATION_D: u32 = bits(&[26, 27, 31]);
/// AVX_VNNI AVX512_BF16 FZRM FSRS FSRCS.
const STRUCTURED_1A: u32 = bits(&[4, 5, 10, 11, 12]);

/// XSAVEOPT XSAVEC XGETBV(1).
const XSAVE_A: u32 = bits(&[0, 1, 2]);

/// LAHF CR8_LEGACY ABM SSE4A MISALIGNSSE PREFETCHW XOP FMA4 TBM.
const EXTENDED_C: u32 = bits(&[0, 4, 5, 6, 7, 8, 11, 16, 21]);
const AVX_EXTENDED_C: u32 = bits(&[11, 16]);
/// SYSCALL NX MMXEXT FFXSR PAGE1GB RDTSCP LM 3DNOWEXT 3DNOW.
const EXTENDED_D: u32 = bits(&[11, 20, 22, 25, 26, 27, 29, 30, 31]);
/// The bits of leaf 1's EDX that AMD repeats in leaf 0x80000001.
const COMMON_D: u32 = bits(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 23, 24]);
/// Invariant TSC.
const POWER_D: u32 = bits(&[8]);
/// CLZERO RSTR_FP_ERR_PTRS WBNOINVD IBPB.
const SIZES_B: u32 = bits(&[0, 2, 9, 12]);
/// LFENCE serialises; null selectors clear bases.
const HINTS_A: u32 = bits(&[2, 6]);

/// The host's feature leaves.
pub struct Raw {
    pub basic: Leaf,
    pub structured: [Leaf; 2],
    pub extended: Leaf,
    pub power: Leaf,
    pub sizes: Leaf,
    pub hints: Leaf,
    pub xsave: Leaf,
}

/// The feature words that are shown; what is not a feature word is left zero.
pub struct Allowed {
    pub basic: Leaf,
    pub structured: [Leaf; 2],
    pub extended: Leaf,
    pub power: Leaf,
    pub sizes: Leaf,
    pub hints: Leaf,
    pub xsave: u32,
}

impl Allowed {
    pub fn new(raw: &Raw, vendor: Vendor, offers: &Offers, xcr0: u64) -> Self {
        let amd = vendor == Vendor::Amd;
        let without = |missing: bool, mask: u32| if missing { !mask } else { u32::MAX };
        let has = |component: u32| xcr0 >> component & 1 != 0;
        let (no_xsave, no_avx, no_avx512, no_keys) = (xcr0 == 0, !has(2), !has(5), !has(9));
        let speculation = if offers.speculation_control { u32::MAX } else { 0 };

        let basic_c = raw.basic.ecx & BASIC_C & without(no_xsave, XSAVE) & without(no_avx, AVX_C);
        // Shown as the guest's CR4 has it: as if set, until the vcpu's state clears it.
        let osxsave = if basic_c & XSAVE != 0 { OSXSAVE } else { 0 };
        let basic = Leaf {
            ecx: (basic_c & !OSXSAVE) | osxsave | PROVIDED_C,
            edx: (raw.basic.edx & BASIC_D) | PROVIDED_D,
            ..Leaf::NOTHING
        };
        let [zero, one] = raw.structured;
        let structured_c = zero.ecx
            & STRUCTURED_C
            & without(no_avx, AVX_STRUCTURED_C)
            & without(no_avx512, AVX512_C)
            & without(no_keys, PKU)
            & without(!offers.tsc_aux, RDPID);
        let ospke = if structured_c & PKU != 0 { OSPKE } else { 0 };
        let structured = Leaf {
            ebx: zero.ebx
                & STRUCTURED_B
                & without(no_avx, AVX2)
                & without(no_avx512, AVX512_B)
                & without(!offers.invpcid, INVPCID),
            ecx: (structured_c & !OSPKE) | ospke,
            edx: zero.edx & (STRUCTURED_D | (SPECULATION_D & speculation)) & without(no_avx512, AVX512_D),
            ..Leaf::NOTHING
        };
        let one = one.eax & STRUCTURED_1A & without(no_avx, 1 << 4) & without(no_avx512, 1 << 5);
        let common = if amd { basic.edx & COMMON_D } else { 0 };
        Self {
            basic,
            structured: [
                structured,
                Leaf {
                    eax: one,
                    ..Leaf::NOTHING
                },
            ],
            extended: Leaf {
                ecx: raw.extended.ecx & EXTENDED_C & without(no_avx, AVX_EXTENDED_C),
                edx: (raw.extended.edx & EXTENDED_D & without(!offers.tsc_aux, RDTSCP)) | common,
                ..Leaf::NOTHING
            },
            power: Leaf {
                edx: raw.power.edx & POWER_D,
                ..Leaf::NOTHING
            },
            sizes: Leaf {
                ebx: if amd {
                    raw.sizes.ebx & (SIZES_B | (AMD_SPECULATION & speculation))
                } else {
                    0
                },
                ..Leaf::NOTHING
            },
            hints: Leaf {
                eax: if amd { raw.hints.eax & HINTS_A } else { 0 },
                ..Leaf::NOTHING
            },
            xsave: if no_xsave {
                0
            } else {
                raw.xsave.eax & (XSAVE_A | if offers.xsaves { XSAVES } else { 0 })
            },
        }
    }
}

/// The bits of CR4 that go with the features shown.
pub fn cr4_allowed(basic: Leaf, structured: Leaf) -> u64 {
    // (bit of CR4, the word its feature is in, the feature's bit)
    let table = [
        (0, basic.edx, 1),
        (1, basic.edx, 1),
        (2, basic.edx, 4),
        (3, basic.edx, 2),
        (4, basic.edx, 3),
        (5, basic.edx, 6),
        (6, basic.edx, 7),
        (7, basic.edx, 13),
        (9, basic.edx, 24),
        (10, basic.edx, 25),
        (11, structured.ecx, 2),
        (16, structured.ebx, 0),
        (17, basic.ecx, 17),
        (18, basic.ecx, 26),
        (20, structured.ebx, 7),
        (21, structured.ebx, 20),
        (22, structured.ecx, 3),
    ];
    // CR4.PCE only lets user code read counters, of which there are none; every guest sets it.
    let always = 1 << 8;
    table
        .iter()
        .filter(|(_, word, feature)| word >> feature & 1 != 0)
        .fold(always, |allowed, (bit, _, _)| allowed | 1_u64 << bit)
}

/// The bits of EFER that go with the features shown.
pub fn efer_allowed(extended: Leaf) -> u64 {
    // SYSCALL: SCE. LM: LME and LMA. NX: NXE. FFXSR: FFXSE.
    let table = [(1_u64, 11), (0x500, 29), (0x800, 20), (0x4000, 25)];
    table
        .iter()
        .filter(|(_, feature)| extended.edx >> feature & 1 != 0)
        .fold(0, |allowed, (bits, _)| allowed | bits)
}
