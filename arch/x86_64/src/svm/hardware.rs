//! SVM switched on: the processor's side of the backend, and the engine that runs a control block on it.
//!
//! Locks: that of the pcpu, then that of an extended state; both are held with interrupts off, for a few instructions,
//! and never while a guest runs.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;

use raw_cpuid::CpuId;
use x86::msr::{rdmsr, wrmsr};
use xenvisor_core::clock::{Instant, TimeScale};
use xenvisor_core::domain::footprint::Cost;
use xenvisor_core::machine::{Level, MachineMemory, Registers, VcpuSetup, VirtCpu};
use xenvisor_core::memory::frames::{Frames, OutOfFrames, Owner};
use xenvisor_core::number::{DomainId, MachineAddr, Order, PcpuId};
use xenvisor_core::p2m::SecondStage;
use xenvisor_core::p2m::walker::P2m;

use super::block::{Assists, Block};
use super::check::Limits;
use super::engine::SvmEngine;
use super::event;
use super::instructions;
use super::permission_map::{MSR_MAP_BYTES, PORT_MAP_BYTES, fill_msr_map, fill_port_map};
use super::vmcb::{Clean, Vmcb};
use super::world_switch;
use crate::guest::cpuid::Offers;
use crate::host::Host;
use crate::host::machine::Virtualization;
use crate::host::pcpu::current;
use crate::second_stage::npt::Npt;
use crate::vcpu::cpu::Cpu;
use crate::vcpu::engine::Services;
use crate::vcpu::extended_state::COMPONENTS;
use crate::vcpu::page::Page;
use crate::vcpu::per_pcpu::PerPcpu;
use crate::vcpu::processor::{
    extended_components, has_prediction_barrier, host_cpuid, is_emulated, microcode,
};
use crate::vcpu::resident::{Abilities, Extended, Resident, Shared};
use crate::vcpu::tags::{Tag, Tags};

const EFER: u32 = 0xc000_0080;
const EFER_SVME: u64 = 1 << 12;
const VM_CR: u32 = 0xc001_0114;
/// VM_CR: firmware has switched SVM off.
const VM_CR_SVMDIS: u64 = 1 << 4;
const VM_HSAVE_PA: u32 = 0xc001_0117;
/// TLB_CONTROL: flush everything.
const FLUSH_ALL: u8 = 1;

/// Why there is no SVM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoSvm {
    /// The processor has none.
    NotThere,
    /// Firmware has switched it off.
    SwitchedOff,
    /// It has no nested paging.
    NoNestedPaging,
    /// No frames for its structures.
    OutOfFrames,
}

impl From<OutOfFrames> for NoSvm {
    fn from(_: OutOfFrames) -> Self {
        Self::OutOfFrames
    }
}

impl fmt::Display for NoSvm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NotThere => "the processor has no SVM",
            Self::SwitchedOff => "firmware has switched SVM off",
            Self::NoNestedPaging => "the processor's SVM has no nested paging",
            Self::OutOfFrames => "no memory for SVM's structures",
        })
    }
}

/// SVM on this machine.
pub struct Svm {
    host: &'static Host,
    limits: Limits,
    assists: Assists,
    huge_pages: bool,
    abilities: Abilities,
    microcode: u64,
    /// An interrupt in EVENTINJ may come twice, unless an exit follows at once.
    repeats_interrupts: bool,
    port_map: MachineAddr,
    msr_map: MachineAddr,
    pcpus: PerPcpu<Pcpu>,
}

/// What one processor keeps for its guests.
struct Pcpu {
    /// What VMSAVE stored of the host.
    host_block: Page<Vmcb>,
    /// Where VMRUN stores the rest of the host.
    host_save_area: Page<[u8; 4096]>,
    tags: Tags,
    resident: Resident,
}

impl Svm {
    /// Switches SVM on for the running processor.
    ///
    /// # Errors
    /// When there is none that can be used.
    pub fn enable(host: &'static Host, frames: &Arc<Frames>) -> Result<Arc<Self>, NoSvm> {
        crate::emulate::prepare();
        let memory = host.memory();
        let cpuid = CpuId::new();
        let extended = cpuid
            .get_extended_processor_and_feature_identifiers()
            .ok_or(NoSvm::NotThere)?;
        if !extended.has_svm() {
            return Err(NoSvm::NotThere);
        }
        let info = cpuid.get_svm_info().ok_or(NoSvm::NotThere)?;
        if !info.has_nested_paging() {
            return Err(NoSvm::NoNestedPaging);
        }
        // SAFETY: a processor with SVM has VM_CR.
        if unsafe { rdmsr(VM_CR) } & VM_CR_SVMDIS != 0 {
            return Err(NoSvm::SwitchedOff);
        }
        let sizes = cpuid.get_processor_capacity_feature_info();
        let has_xsave = cpuid.get_feature_info().is_some_and(|info| info.has_xsave());
        let abilities = Abilities {
            components: if has_xsave {
                extended_components() & COMPONENTS
            } else {
                0
            },
            has_tsc_aux: extended.has_rdtscp(),
            leaks_x87_pointers: !sizes
                .as_ref()
                .is_some_and(|sizes| sizes.has_restore_fp_error_ptrs()),
            keeps_registers: false,
            has_prediction_barrier: has_prediction_barrier(),
        };
        let asids = info.supported_asids();
        let pcpus = PerPcpu::new(host.processors(), || {
            Ok::<_, OutOfFrames>(Pcpu {
                host_block: Page::new(frames)?,
                host_save_area: Page::new(frames)?,
                tags: Tags::new(asids),
                resident: Resident::new(abilities),
            })
        })?;
        let svm = Self {
            host,
            limits: Limits {
                address_bits: sizes.as_ref().map_or(36, |sizes| sizes.physical_address_bits()),
                asids,
                cr4: u64::MAX,
            },
            assists: Assists {
                next_rip: info.has_nrip(),
                decode: info.has_decode_assists(),
            },
            huge_pages: extended.has_1gib_pages(),
            abilities,
            microcode: microcode(),
            repeats_interrupts: is_emulated(),
            port_map: permission_map(memory, frames, PORT_MAP_BYTES, fill_port_map)?,
            msr_map: permission_map(memory, frames, MSR_MAP_BYTES, fill_msr_map)?,
            pcpus,
        };
        svm.switch_on();
        Ok(Arc::new(svm))
    }

    /// Switches it on for the running processor, which is like the first.
    fn switch_on(&self) {
        let pcpu = self.pcpus.here();
        // SAFETY: the processor has SVM; EFER.SVME changes nothing for the host but to allow the instructions of this
        // backend. The host save area and the block are pages of ours and this processor's that live as long as this
        // object, which is for ever once `enable` has returned it; the host's segments are loaded, so what VMSAVE
        // stores is what guests must find on the way out.
        unsafe {
            wrmsr(EFER, rdmsr(EFER) | EFER_SVME);
            wrmsr(VM_HSAVE_PA, pcpu.host_save_area.address().raw());
            instructions::vmsave(pcpu.host_block.address().raw());
        }
    }

    /// What guests can be offered by CPUID.
    #[must_use]
    pub const fn offers(&self, vcpus: u32) -> Offers {
        Offers {
            xcr0: self.abilities.components,
            xsaves: false,
            speculation_control: false,
            invpcid: true,
            tsc_aux: self.abilities.has_tsc_aux,
            vcpus,
        }
    }
}

impl Virtualization for Arc<Svm> {
    fn enable_here(&self) {
        self.switch_on();
    }

    fn new_second_stage(&self, frames: &Arc<Frames>) -> Result<Box<dyn SecondStage>, OutOfFrames> {
        let format = Npt {
            huge_pages: self.huge_pages,
        };
        let memory = Arc::clone(self.host.memory());
        Ok(Box::new(P2m::new(format, memory, Arc::clone(frames))?))
    }

    fn new_vcpu(&self, setup: &VcpuSetup<'_>) -> Result<Box<dyn VirtCpu>, OutOfFrames> {
        let mut block = Page::<Vmcb>::new(setup.frames)?;
        let control = &mut block.get_mut().control;
        control.port_map = self.port_map.raw();
        control.msr_map = self.msr_map.raw();
        control.nested_paging = 1;
        control.nested_root = setup.root.address().map_or(0, MachineAddr::raw);
        let hardware = Hardware {
            svm: Arc::clone(self),
            domain: setup.domain,
            block,
            extended: Extended::new(&self.abilities).map_err(|_| OutOfFrames { order: Order::FRAME })?,
            tag: None,
            last: current().id(),
        };
        Ok(Box::new(Cpu::of(
            SvmEngine::new(hardware),
            setup.domain,
            setup.vcpu,
            &host_cpuid,
            &self.offers(setup.vcpus),
        )))
    }
}

/// Frames with a permission map in them; they are kept for ever.
fn permission_map(
    memory: &Arc<dyn MachineMemory>,
    frames: &Arc<Frames>,
    bytes: usize,
    fill: fn(&mut [u8]),
) -> Result<MachineAddr, OutOfFrames> {
    let order = Order::new(2).unwrap_or_default();
    let block = frames.allocate_zeroed(Owner::Hypervisor, order)?;
    let at = block.mfn().address().ok_or(OutOfFrames { order })?;
    let mut map = alloc::vec![0; bytes];
    fill(&mut map);
    memory.write(at, &map);
    block.keep();
    Ok(at)
}

/// One vcpu's control block and extended state on this machine.
struct Hardware {
    svm: Arc<Svm>,
    domain: DomainId,
    block: Page<Vmcb>,
    extended: Shared,
    tag: Option<Tag>,
    /// Where its last turn was.
    last: PcpuId,
}

impl Block for Hardware {
    fn block(&self) -> &Vmcb {
        self.block.get()
    }

    fn block_mut(&mut self) -> &mut Vmcb {
        self.block.get_mut()
    }

    fn enter(&mut self, registers: &mut Registers) {
        let mut pcpu = self.svm.pcpus.here();
        let block = self.block.get_mut();
        if pcpu.resident.bring_in(&self.extended) {
            block.forget();
        }
        block.control.tlb_control = 0;
        if !self.tag.is_some_and(|tag| pcpu.tags.is_current(tag)) {
            let fresh = pcpu.tags.fresh();
            self.tag = Some(fresh.tag);
            block.change(Clean::ASID).control.asid = fresh.tag.number;
            if fresh.flush_all {
                block.control.tlb_control = FLUSH_ALL;
            }
        }
        let host = pcpu.host_block.address().raw();
        drop(pcpu);
        if self.svm.repeats_interrupts && event::is_interrupt(self.block.get().control.event_injection) {
            self.svm.host.interrupt_itself();
        }
        // SAFETY: SVM was enabled on this processor before the first vcpu was made; the host runs its vcpu loops with
        // interrupts off. The guest's block is ours alone; its nested tables, port and MSR maps were put there by
        // `new_vcpu`, its intercepts by `SvmEngine`, so that the guest reaches its own memory and nothing else. The host's
        // block holds what VMSAVE stored in `enable`. `registers` is a reference.
        unsafe { world_switch::enter(registers, self.block.address().raw(), host) };
        self.block.get_mut().seen();
    }

    fn flush(&mut self) {
        self.tag = None;
    }

    fn limits(&self) -> &Limits {
        &self.svm.limits
    }

    fn assists(&self) -> Assists {
        self.svm.assists
    }
}

impl Services for Hardware {
    fn now(&self) -> Instant {
        self.svm.host.now()
    }

    fn ticks(&self) -> u64 {
        // SAFETY: the instruction exists on every processor with SVM, and changes nothing.
        unsafe { x86::time::rdtsc() }
    }

    fn time_scale(&self) -> TimeScale {
        self.svm.host.time_scale()
    }

    fn wake_at(&self, until: Instant) {
        self.svm.host.arm(until);
    }

    fn cost(&self) -> Cost {
        Cost::frames(1) + Extended::cost(&self.extended)
    }

    fn takes_kick(&self) -> bool {
        current().kicked().take()
    }

    fn arrive(&mut self, pcpu: PcpuId) {
        if self.last != pcpu {
            self.last = pcpu;
            self.tag = None;
            self.block.get_mut().forget();
        }
    }

    fn depart(&mut self) {
        if self.svm.pcpus.is_many() {
            self.svm.pcpus.here().resident.give_up(&self.extended);
        }
    }

    fn take_interrupts(&self) {
        self.svm.host.take_interrupts();
    }

    fn machine_check(&self) {
        // SAFETY: the host's gates are loaded.
        unsafe { crate::vcpu::instructions::machine_check() };
    }

    fn reset_extended_state(&mut self) {
        self.svm.pcpus.here().resident.reset(&self.extended);
    }

    fn xcr0(&self) -> u64 {
        self.svm.pcpus.here().resident.xcr0(&self.extended)
    }

    fn set_xcr0(&mut self, value: u64) {
        self.svm.pcpus.here().resident.set_xcr0(&self.extended, value);
    }

    fn tsc_aux(&self) -> u32 {
        Resident::tsc_aux(&self.extended)
    }

    fn set_tsc_aux(&mut self, value: u32) {
        self.svm.pcpus.here().resident.set_tsc_aux(&self.extended, value);
    }

    fn prediction_barrier(&self) {
        self.svm.pcpus.here().resident.prediction_barrier();
    }

    fn microcode(&self) -> u64 {
        self.svm.microcode
    }

    fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        crate::log::line(level, Some(self.domain), line);
    }
}

impl Drop for Hardware {
    fn drop(&mut self) {
        self.svm.pcpus.here().resident.forget(&self.extended);
    }
}
