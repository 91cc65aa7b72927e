//! RDMSR and WRMSR: asked of the guest's MSR policy, with the registers that the control block holds.

use xenvisor_core::clock::TimeScale;
use xenvisor_core::machine::{Exit, GuestRam};
use xenvisor_core::number::Gfn;

use super::contract::low;
use super::exits::low_word;
use super::{Served, SvmCpu};
use crate::devices::local_apic::Effect;
use crate::emulate::length::Intercepted;
use crate::guest::exception::Exception;
use crate::guest::hypercall_page;
use crate::guest::msr::{Held, Read, Vcpu, Write};
use crate::svm::vmcb::Clean;

const EFER_SVME: u64 = 1 << 12;

impl SvmCpu {
    pub(super) fn read_msr(&mut self, guest: &dyn GuestRam) -> Served {
        if !self.is_privileged() {
            return self.refuse(Exception::GP);
        }
        let Some(next) = self.next_rip(guest, Intercepted::ReadMsr) else {
            return Served::Again;
        };
        let msr = low_word(self.registers.rcx);
        let scale = self.guest_scale();
        let (msrs, vcpu) = self.msr_view(&scale);
        let value = match msrs.read(msr, &vcpu) {
            Ok(Read::Value(value)) => value,
            Ok(Read::Held(held)) => self.held(held),
            Err(exception) => return self.refuse(exception),
        };
        self.registers.rax = low(value);
        self.registers.rdx = value >> 32;
        self.step_to(next);
        Served::Again
    }

    pub(super) fn write_msr(&mut self, guest: &dyn GuestRam) -> Served {
        if !self.is_privileged() {
            return self.refuse(Exception::GP);
        }
        let Some(next) = self.next_rip(guest, Intercepted::WriteMsr) else {
            return Served::Again;
        };
        let msr = low_word(self.registers.rcx);
        let value = low(self.registers.rdx) << 32 | low(self.registers.rax);
        let scale = self.guest_scale();
        let (msrs, mut vcpu) = self.msr_view(&scale);
        let mut served = Served::Again;
        match msrs.write(msr, value, &mut vcpu) {
            Ok(Write::Done | Write::Apic(Effect::Nothing | Effect::LevelEnded(_))) => {}
            Ok(Write::Held(held, value)) => self.hold(held, value),
            Ok(Write::MoveTsc(by)) => {
                let control = &mut self.engine.block_mut().change(Clean::INTERCEPTS).control;
                control.tsc_offset = control.tsc_offset.wrapping_add(by);
            }
            Ok(Write::HypercallPage(gfn)) => {
                if !self.write_hypercall_page(guest, gfn) {
                    return self.refuse(Exception::GP);
                }
                served = Served::Exit(Exit::HypercallPage(self.code_width()));
            }
            Ok(Write::Apic(Effect::Send(ipi))) => served = self.send(ipi),
            Ok(Write::PredictionBarrier) => self.engine.prediction_barrier(),
            Err(exception) => return self.refuse(exception),
        }
        self.step_to(next);
        served
    }

    /// How the guest's time-stamp counter becomes time.
    pub(super) fn guest_scale(&self) -> TimeScale {
        let scale = self.engine.time_scale();
        TimeScale {
            base_ticks: scale
                .base_ticks
                .wrapping_add(self.engine.block().control.tsc_offset),
            ..scale
        }
    }

    fn msr_view<'a>(&'a mut self, scale: &'a TimeScale) -> (&'a mut crate::guest::msr::Msrs, Vcpu<'a>) {
        let block = self.engine.block();
        let vcpu = Vcpu {
            policy: &self.policy,
            apic: &mut self.apic,
            now: self.engine.now(),
            scale,
            tsc: self.engine.ticks().wrapping_add(block.control.tsc_offset),
            cr0: block.save.cr0,
            efer: block.save.efer & !EFER_SVME,
            microcode: self.engine.microcode(),
        };
        (&mut self.msrs, vcpu)
    }

    fn held(&self, held: Held) -> u64 {
        let save = &self.engine.block().save;
        match held {
            Held::Efer => save.efer & !EFER_SVME,
            Held::Pat => save.pat,
            Held::SysenterCs => save.sysenter_cs,
            Held::SysenterEsp => save.sysenter_esp,
            Held::SysenterEip => save.sysenter_eip,
            Held::Star => save.star,
            Held::LongStar => save.lstar,
            Held::CompatStar => save.cstar,
            Held::SyscallMask => save.sfmask,
            Held::FsBase => save.fs.base,
            Held::GsBase => save.gs.base,
            Held::KernelGsBase => save.kernel_gs_base,
            Held::TscAux => u64::from(self.engine.tsc_aux()),
            // Not offered, so never asked for.
            Held::SpeculationControl => 0,
        }
    }

    fn hold(&mut self, held: Held, value: u64) {
        let block = self.engine.block_mut();
        let save = &mut block.save;
        match held {
            Held::Efer => {
                block.change(Clean::CONTROL_REGISTERS).save.efer = value | EFER_SVME;
                // No-execute may have come or gone.
                self.engine.flush();
            }
            Held::Pat => block.change(Clean::NESTED_PAGING).save.pat = value,
            Held::SysenterCs => save.sysenter_cs = value,
            Held::SysenterEsp => save.sysenter_esp = value,
            Held::SysenterEip => save.sysenter_eip = value,
            Held::Star => save.star = value,
            Held::LongStar => save.lstar = value,
            Held::CompatStar => save.cstar = value,
            Held::SyscallMask => save.sfmask = value,
            Held::FsBase => save.fs.base = value,
            Held::GsBase => save.gs.base = value,
            Held::KernelGsBase => save.kernel_gs_base = value,
            Held::TscAux => self.engine.set_tsc_aux(low_word(value)),
            Held::SpeculationControl => {}
        }
    }

    /// Fills the guest's hypercall page; `false` where it has no memory.
    fn write_hypercall_page(&self, guest: &dyn GuestRam, gfn: Gfn) -> bool {
        let mut page = [0; hypercall_page::BYTES];
        hypercall_page::fill(&mut page, self.policy.vendor());
        gfn.address().is_some_and(|at| guest.write(at, &page).is_ok())
    }
}
