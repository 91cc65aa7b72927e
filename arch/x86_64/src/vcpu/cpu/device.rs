//! Instructions done in software: those that touch what is no memory (the local APIC's page, or nothing at all), and
//! strings from and to ports.

use xenvisor_core::machine::{Exit, GuestRam, Ipi, IpiKind, IpiTarget, Level};

use super::{CR0_PE, Cpu, RFLAGS_VM, Served};
use crate::devices::local_apic::{Effect, Trigger, Window};
use crate::emulate::bus::{Bus, GuestBus};
use crate::emulate::execute;
use crate::emulate::{CodeSize, Processor, Step, Stop};
use crate::guest::exception::Exception;
use crate::guest::page_walk::WalkError;
use crate::guest::segments::{Mode, Segments};
use crate::vcpu::engine::{Engine, Register, SegmentRegister, Services};

/// Rounds of a repeated instruction before the guest may be interrupted.
const ROUNDS: u32 = 256;

/// What an emulated instruction comes to.
type Emulated = Result<(Step, Effect), Stop>;

impl<E: Engine> Cpu<E> {
    /// Does the instruction that the nested tables stopped. The local APIC answers where its page is, and nothing does
    /// elsewhere. What is for the hypervisor comes back.
    ///
    /// # Errors
    /// The exit to serve: an interrupt to be sent, or the guest's end.
    pub(super) fn emulate(&mut self, guest: &dyn GuestRam) -> Result<(), Exit> {
        let code = match self.fetch(guest) {
            Ok(code) => code,
            Err(error) => {
                self.walk_failed(error);
                return Ok(());
            }
        };
        let emulated = self.in_software(guest, |processor, bus| {
            execute::run(code.bytes(), processor, bus, ROUNDS)
        });
        match self.conclude(emulated) {
            Served::Again => Ok(()),
            Served::Exit(exit) => Err(exit),
        }
    }

    /// Runs `act` on the guest's registers and memory.
    pub(super) fn in_software<T>(
        &mut self,
        guest: &dyn GuestRam,
        act: impl FnOnce(&mut Processor<'_>, &mut dyn Bus) -> Result<T, Stop>,
    ) -> Result<(T, Effect), Stop> {
        let segments = self.segments();
        let paging = self.paging();
        let mode = self.segment_mode();
        let code = self.code_size();
        let now = self.engine.services().now();
        let privilege = segments.privilege(self.registers.rflags);
        let mut window = Window::new(&mut self.apic, now);
        let mut bus = GuestBus {
            ram: guest,
            paging: &paging,
            privilege,
            device: &mut window,
        };
        let mut processor = Processor {
            registers: &mut self.registers,
            segments: &segments,
            code,
            mode,
        };
        let done = act(&mut processor, &mut bus)?;
        Ok((done, window.effect()))
    }

    /// What happens after an instruction was done in software.
    pub(super) fn conclude(&mut self, emulated: Emulated) -> Served {
        match emulated {
            Ok((step, effect)) => {
                match step {
                    Step::Finished { single_step } => self.finish_step(single_step),
                    Step::More { single_step: true } => self.finish_step(true),
                    Step::More { single_step: false } => {}
                }
                match effect {
                    Effect::Send(ipi) => self.send(ipi),
                    Effect::Nothing | Effect::LevelEnded(_) => Served::Again,
                }
            }
            Err(Stop::Exception(exception)) => self.refuse(exception),
            Err(Stop::Again) => Served::Again,
            Err(Stop::TableOutsideMemory(at)) => {
                self.engine.services().log(
                    Level::Error,
                    format_args!("vcpu {}: page tables at {at}, no memory", self.vcpu.raw()),
                );
                Served::Exit(self.unknown())
            }
            Err(Stop::Unemulated { bytes, length }) => {
                let bytes = bytes.get(..usize::from(length)).unwrap_or(&bytes);
                self.engine.services().log(
                    Level::Error,
                    format_args!(
                        "vcpu {}: no way to do {bytes:02x?} in software, at {:#x} for {:#x}",
                        self.vcpu.raw(),
                        self.registers.rip,
                        self.engine.words().address
                    ),
                );
                Served::Exit(self.unknown())
            }
        }
    }

    /// An interrupt that the guest sends. What its sender is meant by, too, arrives there at once; the rest is for the
    /// hypervisor to pass on.
    pub(super) fn send(&mut self, ipi: Ipi) -> Served {
        let is_own = self.apic.is_addressed(&ipi);
        let to_one = matches!(ipi.to, IpiTarget::Physical(_));
        let arrived = match ipi.kind {
            IpiKind::Fixed(vector) if is_own => {
                self.apic.accept(vector, Trigger::Edge);
                to_one
            }
            // One of those who are meant takes it, and the sender is as good as any.
            IpiKind::LowestPriority(vector) if is_own => {
                self.apic.accept(vector, Trigger::Edge);
                true
            }
            IpiKind::Nmi if is_own => {
                self.nmi = true;
                to_one
            }
            _ => false,
        };
        if arrived {
            Served::Again
        } else {
            Served::Exit(Exit::Ipi(ipi))
        }
    }

    /// A fetch for an instruction to be done here has failed: what the guest gets for it.
    fn walk_failed(&mut self, error: WalkError) {
        match error {
            WalkError::Fault(fault) => self.raise_exception(Exception::Page(fault)),
            WalkError::NonCanonical(_) => self.raise_exception(Exception::GP),
            // The processor will meet the same table by itself, and its exit says more.
            WalkError::TableOutsideMemory(_) | WalkError::Contended => {}
        }
    }

    fn segments(&self) -> Segments {
        let engine = &self.engine;
        let mut ss = engine.segment(SegmentRegister::Ss);
        // SS may be null in 64-bit mode and say nothing of the privilege level.
        ss.attributes = ss.attributes & !(3 << 5) | u32::from(engine.privilege_level() & 3) << 5;
        Segments {
            es: engine.segment(SegmentRegister::Es),
            cs: engine.segment(SegmentRegister::Cs),
            ss,
            ds: engine.segment(SegmentRegister::Ds),
            fs: engine.segment(SegmentRegister::Fs),
            gs: engine.segment(SegmentRegister::Gs),
        }
    }

    fn segment_mode(&self) -> Mode {
        if self.code_size() == CodeSize::Bits64 {
            Mode::Flat
        } else if self.engine.get(Register::Cr0) & CR0_PE == 0 || self.registers.rflags & RFLAGS_VM != 0 {
            Mode::Real
        } else {
            Mode::Protected
        }
    }
}
