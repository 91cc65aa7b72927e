//! RDMSR and WRMSR: asked of the guest's MSR policy, with the registers that the engine keeps.

use xenvisor_core::clock::TimeScale;
use xenvisor_core::machine::{Exit, GuestRam};
use xenvisor_core::number::Gfn;
use xenvisor_core::vcpu::start::Segment;

use super::contract::low;
use super::exits::low_word;
use super::{Cpu, Served};
use crate::devices::local_apic::Effect;
use crate::emulate::length::Intercepted;
use crate::guest::exception::Exception;
use crate::guest::hypercall_page;
use crate::guest::msr::{Held, Read, Vcpu, Write};
use crate::vcpu::engine::{Engine, Register, SegmentRegister, Services};

impl<E: Engine> Cpu<E> {
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
                let offset = self.engine.tsc_offset();
                self.engine.set_tsc_offset(offset.wrapping_add(by));
            }
            Ok(Write::HypercallPage(gfn)) => {
                if !self.write_hypercall_page(guest, gfn) {
                    return self.refuse(Exception::GP);
                }
                served = Served::Exit(Exit::HypercallPage(self.code_width()));
            }
            Ok(Write::Apic(Effect::Send(ipi))) => served = self.send(ipi),
            Ok(Write::PredictionBarrier) => self.engine.services().prediction_barrier(),
            Err(exception) => return self.refuse(exception),
        }
        self.step_to(next);
        served
    }

    /// How the guest's time-stamp counter becomes time.
    pub(super) fn guest_scale(&self) -> TimeScale {
        let scale = self.engine.services().time_scale();
        TimeScale {
            base_ticks: scale.base_ticks.wrapping_add(self.engine.tsc_offset()),
            ..scale
        }
    }

    fn msr_view<'a>(&'a mut self, scale: &'a TimeScale) -> (&'a mut crate::guest::msr::Msrs, Vcpu<'a>) {
        let engine = &self.engine;
        let vcpu = Vcpu {
            policy: &self.policy,
            apic: &mut self.apic,
            now: engine.services().now(),
            scale,
            tsc: engine.services().ticks().wrapping_add(engine.tsc_offset()),
            cr0: engine.get(Register::Cr0),
            efer: engine.get(Register::Efer),
            microcode: engine.services().microcode(),
        };
        (&mut self.msrs, vcpu)
    }

    fn held(&self, held: Held) -> u64 {
        let engine = &self.engine;
        match held {
            Held::FsBase => engine.segment(SegmentRegister::Fs).base,
            Held::GsBase => engine.segment(SegmentRegister::Gs).base,
            Held::TscAux => u64::from(engine.services().tsc_aux()),
            // Not offered, so never asked for.
            Held::SpeculationControl => 0,
            Held::Efer => engine.get(Register::Efer),
            Held::Pat => engine.get(Register::Pat),
            Held::SysenterCs => engine.get(Register::SysenterCs),
            Held::SysenterEsp => engine.get(Register::SysenterEsp),
            Held::SysenterEip => engine.get(Register::SysenterEip),
            Held::Star => engine.get(Register::Star),
            Held::LongStar => engine.get(Register::LongStar),
            Held::CompatStar => engine.get(Register::CompatStar),
            Held::SyscallMask => engine.get(Register::SyscallMask),
            Held::KernelGsBase => engine.get(Register::KernelGsBase),
        }
    }

    fn hold(&mut self, held: Held, value: u64) {
        let engine = &mut self.engine;
        match held {
            Held::FsBase => set_base(engine, SegmentRegister::Fs, value),
            Held::GsBase => set_base(engine, SegmentRegister::Gs, value),
            Held::TscAux => engine.services_mut().set_tsc_aux(low_word(value)),
            Held::SpeculationControl => {}
            Held::Efer => {
                engine.set(Register::Efer, value);
                // No-execute may have come or gone.
                engine.flush();
            }
            Held::Pat => engine.set(Register::Pat, value),
            Held::SysenterCs => engine.set(Register::SysenterCs, value),
            Held::SysenterEsp => engine.set(Register::SysenterEsp, value),
            Held::SysenterEip => engine.set(Register::SysenterEip, value),
            Held::Star => engine.set(Register::Star, value),
            Held::LongStar => engine.set(Register::LongStar, value),
            Held::CompatStar => engine.set(Register::CompatStar, value),
            Held::SyscallMask => engine.set(Register::SyscallMask, value),
            Held::KernelGsBase => engine.set(Register::KernelGsBase, value),
        }
    }

    /// Fills the guest's hypercall page; `false` where it has no memory.
    fn write_hypercall_page(&self, guest: &dyn GuestRam, gfn: Gfn) -> bool {
        let mut page = [0; hypercall_page::BYTES];
        hypercall_page::fill(&mut page, self.policy.vendor());
        gfn.address().is_some_and(|at| guest.write(at, &page).is_ok())
    }
}

fn set_base(engine: &mut impl Engine, register: SegmentRegister, base: u64) {
    let segment = engine.segment(register);
    engine.set_segment(register, &Segment { base, ..segment });
}
