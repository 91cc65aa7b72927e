//! What a guest's RDMSR and WRMSR do.
//!
//! Use: a backend lets the registers of [`PASS_THROUGH`] reach hardware if it switches them (its permission
//! map); every other access exits, and it asks [`Msrs::read`] or [`Msrs::write`], handing in the vcpu as a
//! [`Vcpu`]. The answer is a value, #GP, or "the register is yours": [`Held`] registers live in the backend's
//! control block, and what a write puts there has been checked already.
//!
//! Invariant: a register that nobody here knows is #GP, never silence: a guest must not believe that it has
//! set something. What reads as zero and drops writes is written down one by one, as Xen has it.

mod machine_check;
mod mtrr;
#[cfg(test)]
mod tests;

use super::cpuid::{CpuidPolicy, Vendor};
use super::exception::Exception;
use super::page_walk::is_canonical;
use crate::devices::local_apic::{Effect, LocalApic};
use machine_check::MachineCheck;
use mtrr::Mtrrs;
use xenvisor_core::clock::{Instant, TimeScale};
use xenvisor_core::number::{Gfn, LinearAddr};

/// Registers that a guest may read and write without an exit, where the backend gives it its own copy.
#[rustfmt::skip]
pub const PASS_THROUGH: [u32; 10] = [
    SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP,
    STAR, LSTAR, CSTAR, SYSCALL_MASK,
    FS_BASE, GS_BASE, KERNEL_GS_BASE,
];

const TSC: u32 = 0x10;
const PLATFORM_ID: u32 = 0x17;
const APIC_BASE: u32 = 0x1b;
const BUS_FREQUENCY: u32 = 0x2c;
const FEATURE_CONTROL: u32 = 0x3a;
const TSC_ADJUST: u32 = 0x3b;
const SPECULATION_CONTROL: u32 = 0x48;
const PREDICTION_COMMAND: u32 = 0x49;
const UPDATE_TRIGGER: u32 = 0x79;
const UPDATE_REVISION: u32 = 0x8b;
const PLATFORM_INFO: u32 = 0xce;
const FEATURES_ENABLED: u32 = 0x140;
const SYSENTER_CS: u32 = 0x174;
const SYSENTER_ESP: u32 = 0x175;
const SYSENTER_EIP: u32 = 0x176;
const PERF_STATUS: u32 = 0x198;
const PERF_CONTROL: u32 = 0x199;
const THERMAL_STATUS: u32 = 0x19c;
const MISC_ENABLE: u32 = 0x1a0;
const DEBUG_CONTROL: u32 = 0x1d9;
/// Where the last branch and the last interrupt came from and went.
const LAST_BRANCH: u32 = 0x1db;
const LAST_BRANCHES: usize = 4;
const PAT: u32 = 0x277;
const TSC_DEADLINE: u32 = 0x6e0;
const XSS: u32 = 0xda0;
const HYPERCALL_PAGE: u32 = 0x4000_0000;
const EFER: u32 = 0xc000_0080;
const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const CSTAR: u32 = 0xc000_0083;
const SYSCALL_MASK: u32 = 0xc000_0084;
const FS_BASE: u32 = 0xc000_0100;
const GS_BASE: u32 = 0xc000_0101;
const KERNEL_GS_BASE: u32 = 0xc000_0102;
const TSC_AUX: u32 = 0xc000_0103;
const TSC_RATIO: u32 = 0xc000_0104;
/// What TSC_RATIO has no room for.
const TSC_RATIO_RESERVED: u64 = 0xff << 40 | 0xffff << 48;
const HWCR: u32 = 0xc001_0015;
const NB_CFG: u32 = 0xc001_001f;
const PATCH_LOADER: u32 = 0xc001_0020;
const INT_PENDING: u32 = 0xc001_0055;
const DE_CFG: u32 = 0xc001_1029;

/// MISC_ENABLE: fast strings; no branch or event trace store.
const MISC_ENABLE_VALUE: u64 = 1 | 1 << 11 | 1 << 12;
/// PLATFORM_INFO: CPUID can be made to fault.
const CPUID_FAULTING: u64 = 1 << 31;
/// DE_CFG: LFENCE serialises.
const LFENCE_SERIALISES: u64 = 1 << 1;
const LMA: u64 = 1 << 10;
const LME: u64 = 1 << 8;
const CR0_PAGING: u64 = 1 << 31;

/// A register that the backend holds for the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Held {
    /// EFER as the guest sees it (without what the backend needs for itself, such as SVME).
    Efer,
    /// PAT.
    Pat,
    /// SYSENTER's code segment.
    SysenterCs,
    /// SYSENTER's stack pointer.
    SysenterEsp,
    /// SYSENTER's instruction pointer.
    SysenterEip,
    /// SYSCALL's segments and legacy target.
    Star,
    /// SYSCALL's target in 64-bit mode.
    LongStar,
    /// SYSCALL's target in compatibility mode.
    CompatStar,
    /// The flags that SYSCALL clears.
    SyscallMask,
    /// The base of FS.
    FsBase,
    /// The base of GS.
    GsBase,
    /// What SWAPGS swaps in.
    KernelGsBase,
    /// What RDTSCP reads besides.
    TscAux,
    /// SPEC_CTRL.
    SpeculationControl,
}

/// What a read gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Read {
    /// This.
    Value(u64),
    /// What the backend holds.
    Held(Held),
}

/// What a write comes to. The value has been found good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Write {
    /// All done.
    Done,
    /// Hold this value in that register.
    Held(Held, u64),
    /// Add this, wrapping, to the offset between the host's TSC and the guest's.
    MoveTsc(u64),
    /// Write the stubs of [`super::hypercall_page`] there; #GP if the guest has no RAM there.
    HypercallPage(Gfn),
    /// Do what the local APIC asks: send an interrupt.
    Apic(Effect),
    /// Issue an indirect branch prediction barrier (write 1 to PRED_CMD).
    PredictionBarrier,
}

/// The vcpu that makes the access.
#[derive(Debug)]
pub struct Vcpu<'a> {
    /// What it has been shown.
    pub policy: &'a CpuidPolicy,
    /// Its local APIC.
    pub apic: &'a mut LocalApic,
    /// The time.
    pub now: Instant,
    /// How its TSC turns into time.
    pub scale: &'a TimeScale,
    /// Its TSC now.
    pub tsc: u64,
    /// Its CR0.
    pub cr0: u64,
    /// Its EFER, as it sees it.
    pub efer: u64,
    /// The host's microcode revision, as MSR 0x8b has it.
    pub microcode: u64,
}

/// The registers of a vcpu that exist only in software.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Msrs {
    tsc_adjust: u64,
    features_enabled: u64,
    debug_control: u64,
    last_branches: [u64; LAST_BRANCHES],
    mtrrs: Mtrrs,
    machine_check: MachineCheck,
}

impl Msrs {
    /// As after reset.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            tsc_adjust: 0,
            features_enabled: 0,
            debug_control: 0,
            last_branches: [0; LAST_BRANCHES],
            mtrrs: Mtrrs::new(),
            machine_check: MachineCheck::new(),
        }
    }

    /// Whether CPUID outside privilege level 0 is to give #GP: the guest has asked for it.
    #[must_use]
    pub const fn cpuid_faults(&self) -> bool {
        self.features_enabled & 1 != 0
    }

    /// Reads a register.
    ///
    /// # Errors
    /// #GP for a register that the guest does not have or that cannot be read.
    pub fn read(&self, msr: u32, vcpu: &Vcpu<'_>) -> Result<Read, Exception> {
        let policy = vcpu.policy;
        let intel = policy.vendor() == Vendor::Intel;
        let amd = policy.vendor() == Vendor::Amd;
        if let Some(held) = held(msr, policy) {
            return Ok(Read::Held(held));
        }
        if let Some(value) = self.mtrrs.read(msr) {
            return Ok(Read::Value(value));
        }
        if let Some(answer) = self.machine_check.read(msr, policy.vendor()) {
            return answer.map(Read::Value);
        }
        Ok(Read::Value(match msr {
            TSC => vcpu.tsc,
            APIC_BASE => vcpu.apic.base_msr(),
            TSC_DEADLINE => vcpu.apic.tsc_deadline(vcpu.now),
            0x800..=0x8ff => vcpu.apic.read_msr(msr, vcpu.now)?,
            // Xen gives it to every HVM guest, whether CPUID shows it or not.
            TSC_ADJUST => self.tsc_adjust,
            XSS if policy.has_xsaves() => 0,
            HYPERCALL_PAGE => 0,
            UPDATE_REVISION => vcpu.microcode,
            PLATFORM_INFO => CPUID_FAULTING,
            FEATURES_ENABLED => self.features_enabled,
            DEBUG_CONTROL => self.debug_control,
            // Nothing is recorded; what a guest of AMD's puts there stays.
            _ if let Some(place) = last_branch(msr) => self.last_branches.get(place).copied().unwrap_or(0),
            // A guest that came from an Intel host may look there.
            BUS_FREQUENCY if amd => 0,
            TSC_RATIO if amd => 0,
            // Locked, with nothing enabled: no VMX, no SMX.
            FEATURE_CONTROL if intel => 1,
            PLATFORM_ID if intel => 0,
            MISC_ENABLE if intel => MISC_ENABLE_VALUE,
            HWCR if amd => 0,
            DE_CFG if amd => LFENCE_SERIALISES,
            _ if reads_zero(msr, policy.vendor()) => 0,
            _ => return Err(Exception::GP),
        }))
    }

    /// Writes a register.
    ///
    /// # Errors
    /// #GP for a register that the guest does not have or cannot write, and for values that it does not take.
    /// Then nothing has changed.
    pub fn write(&mut self, msr: u32, value: u64, vcpu: &mut Vcpu<'_>) -> Result<Write, Exception> {
        let policy = vcpu.policy;
        let intel = policy.vendor() == Vendor::Intel;
        let amd = policy.vendor() == Vendor::Amd;
        if let Some(held) = held(msr, policy) {
            return Ok(Write::Held(held, checked(held, value, vcpu)?));
        }
        if let Some(answer) = self.mtrrs.write(msr, value, policy.address_bits()) {
            return answer.map(|()| Write::Done);
        }
        if let Some(answer) = self.machine_check.write(msr, value, policy.vendor()) {
            return answer.map(|()| Write::Done);
        }
        match msr {
            TSC => {
                let by = value.wrapping_sub(vcpu.tsc);
                self.tsc_adjust = self.tsc_adjust.wrapping_add(by);
                return Ok(Write::MoveTsc(by));
            }
            TSC_ADJUST => {
                let by = value.wrapping_sub(self.tsc_adjust);
                self.tsc_adjust = value;
                return Ok(Write::MoveTsc(by));
            }
            APIC_BASE => vcpu.apic.set_base_msr(value)?,
            TSC_DEADLINE => vcpu.apic.set_tsc_deadline(value, vcpu.scale),
            0x800..=0x8ff => {
                return Ok(match vcpu.apic.write_msr(msr, value, vcpu.now)? {
                    Effect::Nothing => Write::Done,
                    effect => Write::Apic(effect),
                });
            }
            HYPERCALL_PAGE if value & 0xfff == 0 => return Ok(Write::HypercallPage(Gfn::new(value >> 12))),
            PREDICTION_COMMAND if policy.has_prediction_barrier() && value & !1 == 0 => {
                return Ok(if value == 0 {
                    Write::Done
                } else {
                    Write::PredictionBarrier
                });
            }
            XSS if policy.has_xsaves() && value == 0 => {}
            FEATURES_ENABLED if value & !1 == 0 => self.features_enabled = value,
            // It is software's alone: nothing of it reaches the processor.
            DEBUG_CONTROL if amd || value & !0x3f == 0 => self.debug_control = value,
            _ if amd && let Some(place) = last_branch(msr) => {
                if let Some(slot) = self.last_branches.get_mut(place) {
                    *slot = value;
                }
            }
            TSC_RATIO if amd && value & TSC_RATIO_RESERVED == 0 => {}
            // Loading microcode is the host's business; a guest that tries is not told so.
            UPDATE_REVISION if intel && value == 0 => {}
            UPDATE_TRIGGER if intel => {}
            MISC_ENABLE if intel && value == MISC_ENABLE_VALUE => {}
            HWCR | DE_CFG | PATCH_LOADER if amd => {}
            _ if reads_zero(msr, policy.vendor()) => {}
            _ => return Err(Exception::GP),
        }
        Ok(Write::Done)
    }
}

impl Default for Msrs {
    fn default() -> Self {
        Self::new()
    }
}

/// The registers that backends hold, as far as the guest has them.
#[rustfmt::skip]
fn held(msr: u32, policy: &CpuidPolicy) -> Option<Held> {
    Some(match msr {
        EFER           => Held::Efer,
        PAT            => Held::Pat,
        SYSENTER_CS    => Held::SysenterCs,
        SYSENTER_ESP   => Held::SysenterEsp,
        SYSENTER_EIP   => Held::SysenterEip,
        STAR           => Held::Star,
        LSTAR          => Held::LongStar,
        CSTAR          => Held::CompatStar,
        SYSCALL_MASK   => Held::SyscallMask,
        FS_BASE        => Held::FsBase,
        GS_BASE        => Held::GsBase,
        KERNEL_GS_BASE => Held::KernelGsBase,
        TSC_AUX             if policy.has_tsc_aux()             => Held::TscAux,
        SPECULATION_CONTROL if policy.has_speculation_control() => Held::SpeculationControl,
        _ => return None,
    })
}

/// The value that goes into a held register, or #GP where hardware would refuse it.
fn checked(held: Held, value: u64, vcpu: &Vcpu<'_>) -> Result<u64, Exception> {
    let valid = match held {
        Held::Efer => return efer(value, vcpu),
        Held::Pat => mtrr::is_pat(value),
        Held::SysenterCs | Held::Star => true,
        Held::SysenterEsp | Held::SysenterEip | Held::LongStar | Held::CompatStar => {
            is_canonical(LinearAddr::new(value))
        }
        Held::FsBase | Held::GsBase | Held::KernelGsBase => is_canonical(LinearAddr::new(value)),
        Held::SyscallMask | Held::TscAux => value >> 32 == 0,
        // IBRS, STIBP, SSBD.
        Held::SpeculationControl => value & !7 == 0,
    };
    if valid { Ok(value) } else { Err(Exception::GP) }
}

/// EFER after a write: LMA is the processor's own, and LME does not change while paging is on.
fn efer(value: u64, vcpu: &Vcpu<'_>) -> Result<u64, Exception> {
    let changes_mode = (value ^ vcpu.efer) & LME != 0;
    let paging = vcpu.cr0 & CR0_PAGING != 0;
    if value & !vcpu.policy.efer_allowed() != 0 || (changes_mode && paging) {
        return Err(Exception::GP);
    }
    Ok((value & !LMA) | (vcpu.efer & LMA))
}

/// Which of the registers of the last branches it is.
fn last_branch(msr: u32) -> Option<usize> {
    let place = usize::try_from(msr.checked_sub(LAST_BRANCH)?).ok()?;
    (place < LAST_BRANCHES).then_some(place)
}

/// Registers that read as zero and drop what is written: performance counters that are off, states of power
/// and heat, and what old kernels for AMD's K8 read without being ready for #GP.
fn reads_zero(msr: u32, vendor: Vendor) -> bool {
    match vendor {
        Vendor::Intel => matches!(
            msr,
            PERF_STATUS | PERF_CONTROL | THERMAL_STATUS
                | 0xc1..=0xc8 // counters
                | 0x186..=0x18d // what they count
                | 0x309..=0x30b | 0x38d..=0x390 // fixed counters and global control
        ),
        Vendor::Amd => matches!(
            msr,
            INT_PENDING | NB_CFG
                | 0xc001_0010 | 0xc001_001a | 0xc001_001d // what memory there is, and where
                | 0xc001_1023 | 0xc001_102a | 0xc001_102c // switches of the caches
                | 0xc001_0000..=0xc001_0007 // what counters count, and the counters
                | 0xc001_0200..=0xc001_020b // the same, extended
        ),
    }
}
