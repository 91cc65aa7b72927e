//! VMX switched on: the processor's side of the backend, and the engine's control structure on it.
//!
//! A control structure is the processor's while it is *current*: fields are read and written by instructions that name
//! none. Invariant: whoever touches a field has made its own structure current first.
//!
//! Locks: that of the pcpu, then that of an extended state; both are held with interrupts off, for a few instructions,
//! and never while a guest runs.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::cell::Cell;
use core::fmt;
use core::sync::atomic::Ordering;

use raw_cpuid::CpuId;
use x86::bits64::vmx as instruction;
use x86::controlregs::{Cr0, Cr4, cr0, cr0_write, cr4, cr4_write};
use x86::msr::{rdmsr, wrmsr};
use x86::vmx::vmcs::{control, guest, ro};
use xenvisor_core::clock::{Instant, TimeScale};
use xenvisor_core::domain::footprint::Cost;
use xenvisor_core::machine::{Level, MachineMemory, Registers, VcpuSetup, VirtCpu};
use xenvisor_core::memory::frames::{Frames, OutOfFrames, Owner};
use xenvisor_core::number::{DomainId, MachineAddr, Order, PcpuId};
use xenvisor_core::p2m::SecondStage;
use xenvisor_core::p2m::walker::P2m;

use super::block::{Block, NotEntered};
use super::capability::{Capabilities, NoVmx};
use super::controls::Controls;
use super::engine::VmxEngine;
use super::fields::Fields;
use super::setup::{self, Addresses};
use super::{bitmaps, host_state, instructions, reason, run_timer, world_switch};
use crate::apic::timer::deadline_ticks;
use crate::guest::cpuid::Offers;
use crate::host::Host;
use crate::host::machine::Virtualization;
use crate::host::pcpu::current;
use crate::second_stage::ept::Ept;
use crate::vcpu::cpu::Cpu;
use crate::vcpu::engine::Services;
use crate::vcpu::extended_state::{COMPONENTS, Kept};
use crate::vcpu::page::Page;
use crate::vcpu::per_pcpu::PerPcpu;
use crate::vcpu::processor::{extended_components, has_prediction_barrier, host_cpuid, microcode};
use crate::vcpu::resident::{Abilities, Extended, Resident, Shared};
use crate::vcpu::tags::{Tag, Tags};

const FEATURE_CONTROL: u32 = 0x3a;
/// FEATURE_CONTROL: nobody changes it any more; VMX works outside of SMX.
const LOCKED: u64 = 1;
const OUTSIDE_SMX: u64 = 1 << 2;
/// VPIDs are 16 bits.
const VPIDS: u32 = 0x1_0000;
/// The task priority in a virtual APIC page.
const TASK_PRIORITY: usize = 0x80;

/// VMX on this machine.
pub struct Vmx {
    host: &'static Host,
    capabilities: Capabilities,
    controls: Controls,
    abilities: Abilities,
    microcode: u64,
    io_a: MachineAddr,
    io_b: MachineAddr,
    msr_bitmap: MachineAddr,
    pcpus: PerPcpu<Pcpu>,
}

/// What one processor keeps for its guests.
struct Pcpu {
    /// The processor's own region, for as long as VMX is on.
    region: Page<[u8; 4096]>,
    tags: Tags,
    resident: Resident,
}

impl Vmx {
    /// Switches VMX on for the running processor.
    ///
    /// # Errors
    /// When there is none that can be used.
    pub fn enable(host: &'static Host, frames: &Arc<Frames>) -> Result<Arc<Self>, NoVmx> {
        crate::emulate::prepare();
        let cpuid = CpuId::new();
        if !cpuid.get_feature_info().is_some_and(|info| info.has_vmx()) {
            return Err(NoVmx::NotThere);
        }
        unlock();
        // SAFETY: `Capabilities` asks for MSRs that a processor with VMX has, each after the one that says so.
        let capabilities = Capabilities::read(|msr| unsafe { rdmsr(msr) })?;
        let capabilities = match cpuid.get_processor_capacity_feature_info() {
            Some(sizes) => {
                capabilities.with_widths(sizes.physical_address_bits(), sizes.linear_address_bits())
            }
            None => capabilities,
        };
        let controls = Controls::compute(&capabilities)?;
        controls.real_mode().map_err(NoVmx::NoRealMode)?;
        let extended = cpuid.get_extended_processor_and_feature_identifiers();
        let abilities = Abilities {
            components: extended_components() & COMPONENTS,
            has_tsc_aux: capabilities.rdtscp && extended.is_some_and(|info| info.has_rdtscp()),
            // Intel's processors load all of the state that they store.
            leaks_x87_pointers: false,
            keeps_registers: true,
            has_prediction_barrier: has_prediction_barrier(),
        };
        let pcpus = PerPcpu::new(host.processors(), || {
            let mut region = Page::<[u8; 4096]>::new(frames)?;
            put_revision(region.get_mut(), capabilities.revision);
            Ok::<_, OutOfFrames>(Pcpu {
                region,
                tags: Tags::new(VPIDS),
                resident: Resident::new(abilities),
            })
        })?;
        let memory = host.memory();
        let vmx = Self {
            host,
            controls,
            abilities,
            microcode: microcode(),
            io_a: bitmap(memory, frames, bitmaps::fill_io_a)?,
            io_b: bitmap(memory, frames, bitmaps::fill_io_b)?,
            msr_bitmap: bitmap(memory, frames, bitmaps::fill_msr)?,
            pcpus,
            capabilities,
        };
        vmx.switch_on()?;
        Ok(Arc::new(vmx))
    }

    /// Switches it on for the running processor, which is like the first.
    fn switch_on(&self) -> Result<(), NoVmx> {
        unlock();
        let pcpu = self.pcpus.here();
        // SAFETY: the processor has VMX, firmware allows it, and the region is a page of ours and this processor's with
        // its revision, which lives as long as VMX is on: for ever. The host's CR0 and CR4 have what VMX needs: it runs
        // paged in long mode, CR0.NE and CR4.VMXE are set here.
        unsafe {
            cr0_write(cr0() | Cr0::CR0_NUMERIC_ERROR);
            cr4_write(cr4() | Cr4::CR4_ENABLE_VMX);
            instruction::vmxon(pcpu.region.address().raw()).map_err(|_| NoVmx::Refused)?;
            // What the processor holds from before our time goes.
            instructions::invept(None);
            if self.capabilities.vpid {
                instructions::invvpid_all();
            }
        }
        Ok(())
    }

    /// What guests can be offered by CPUID.
    #[must_use]
    pub const fn offers(&self, vcpus: u32) -> Offers {
        Offers {
            xcr0: self.abilities.components,
            xsaves: self.capabilities.xsaves && self.abilities.components != 0,
            speculation_control: false,
            invpcid: self.capabilities.invpcid,
            tsc_aux: self.abilities.has_tsc_aux,
            vcpus,
        }
    }

    fn second_stage_pointer(&self, root: xenvisor_core::number::Mfn) -> u64 {
        let root = root.address().map_or(0, MachineAddr::raw);
        setup::ept_pointer(root, self.capabilities.accessed_and_dirty)
    }
}

/// Lets VMX be switched on where firmware has left that open.
fn unlock() {
    // SAFETY: processors with VMX have this MSR. Where firmware has left it open, it is set and locked as firmware
    // should have: that is what software that comes first is meant to do (SDM vol. 3 §24.7).
    unsafe {
        let now = rdmsr(FEATURE_CONTROL);
        if now & LOCKED == 0 {
            wrmsr(FEATURE_CONTROL, now | LOCKED | OUTSIDE_SMX);
        }
    }
}

impl Virtualization for Arc<Vmx> {
    fn enable_here(&self) {
        if self.switch_on().is_err() {
            crate::panic::fail(format_args!(
                "a processor refuses to switch VMX on that another one has"
            ));
        }
    }

    fn new_second_stage(&self, frames: &Arc<Frames>) -> Result<Box<dyn SecondStage>, OutOfFrames> {
        let format = Ept {
            large_pages: self.capabilities.ept_2m,
            huge_pages: self.capabilities.ept_1g,
        };
        let memory = Arc::clone(self.host.memory());
        Ok(Box::new(P2m::new(format, memory, Arc::clone(frames))?))
    }

    fn new_vcpu(&self, setup: &VcpuSetup<'_>) -> Result<Box<dyn VirtCpu>, OutOfFrames> {
        let mut structure = Page::<[u8; 4096]>::new(setup.frames)?;
        put_revision(structure.get_mut(), self.capabilities.revision);
        let virtual_apic = Page::<[u8; 4096]>::new(setup.frames)?;
        let ept_pointer = self.second_stage_pointer(setup.root);
        let addresses = Addresses {
            msr_bitmap: self.msr_bitmap.raw(),
            io_a: self.io_a.raw(),
            io_b: self.io_b.raw(),
            virtual_apic: virtual_apic.address().raw(),
            ept_pointer,
        };
        let mut hardware = Hardware {
            vmx: Arc::clone(self),
            domain: setup.domain,
            structure,
            virtual_apic,
            extended: Extended::new(&self.abilities).map_err(|_| OutOfFrames { order: Order::FRAME })?,
            ept_pointer,
            launched: false,
            tag: None,
            last: current().id(),
            stays: true,
            second_stage_is_stale: true,
            run_ends: Cell::new(0),
        };
        hardware.clear();
        setup::write(
            &mut hardware,
            &self.controls,
            &addresses,
            &host_state::of_running_processor(),
        );
        Ok(Box::new(Cpu::of(
            VmxEngine::new(hardware),
            setup.domain,
            setup.vcpu,
            &host_cpuid,
            &self.offers(setup.vcpus),
        )))
    }
}

/// A frame with a bitmap in it, which is kept for ever.
fn bitmap(
    memory: &Arc<dyn MachineMemory>,
    frames: &Arc<Frames>,
    fill: fn(&mut [u8; 4096]),
) -> Result<MachineAddr, OutOfFrames> {
    let block = frames.allocate_zeroed(Owner::Hypervisor, Order::FRAME)?;
    let at = block.mfn().address().ok_or(OutOfFrames { order: Order::FRAME })?;
    let mut map = Box::new([0; 4096]);
    fill(&mut map);
    memory.write(at, map.as_slice());
    block.keep();
    Ok(at)
}

/// The revision that a region begins with (SDM vol. 3 §25.2).
fn put_revision(region: &mut [u8; 4096], revision: u32) {
    for (place, byte) in region.iter_mut().zip(revision.to_le_bytes()) {
        *place = byte;
    }
}

/// One vcpu's control structure and extended state on this machine.
struct Hardware {
    vmx: Arc<Vmx>,
    domain: DomainId,
    structure: Page<[u8; 4096]>,
    virtual_apic: Page<[u8; 4096]>,
    extended: Shared,
    ept_pointer: u64,
    /// Since it was cleared last, the structure has been entered.
    launched: bool,
    tag: Option<Tag>,
    /// Where its last turn was.
    last: PcpuId,
    /// It has its turn, or is being made: its structure may stay with the processor.
    stays: bool,
    second_stage_is_stale: bool,
    /// The TSC at which the next run ends.
    run_ends: Cell<u64>,
}

impl Hardware {
    /// Makes the structure one that has not been entered, and that no processor holds anything of.
    fn clear(&mut self) {
        self.let_go();
        self.launched = false;
    }

    /// Makes the processor put all that it holds of the structure into memory.
    fn let_go(&self) {
        let at = self.structure.address().raw();
        // SAFETY: VMX is on, and the page is a structure of ours with its revision.
        // Were it refused, the next entry would be, too, and would say so.
        let _ = unsafe { instruction::vmclear(at) };
        let loaded = current().structure();
        let _ = loaded.compare_exchange(at, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Makes the structure the one that fields are read from and written to.
    fn make_current(&self) {
        let at = self.structure.address().raw();
        let loaded = current().structure();
        if loaded.load(Ordering::Relaxed) == at {
            return;
        }
        // SAFETY: VMX is on, and the page is a structure of ours with its revision, cleared before its first use.
        if unsafe { instruction::vmptrld(at) }.is_ok() {
            loaded.store(at, Ordering::Relaxed);
        }
    }
}

impl Hardware {
    /// A field was looked at. Outside of a turn, the next turn may be on another pcpu.
    fn end_of_access(&self) {
        if !self.stays && self.vmx.pcpus.is_many() {
            self.let_go();
        }
    }
}

impl Fields for Hardware {
    fn get(&self, field: u32) -> u64 {
        self.make_current();
        // SAFETY: VMX is on and the structure current.
        let value = unsafe { instructions::vmread(field) };
        self.end_of_access();
        value
    }

    fn set(&mut self, field: u32, value: u64) {
        self.make_current();
        // SAFETY: VMX is on and the structure current.
        unsafe { instructions::vmwrite(field, value) };
        self.end_of_access();
    }
}

impl Block for Hardware {
    fn enter(&mut self, registers: &mut Registers) -> Result<(), NotEntered> {
        let fresh = {
            let mut pcpu = self.vmx.pcpus.here();
            pcpu.resident.bring_in(&self.extended);
            let is_current = self.tag.is_some_and(|tag| pcpu.tags.is_current(tag));
            (self.vmx.capabilities.vpid && !is_current).then(|| pcpu.tags.fresh())
        };
        if let Some(fresh) = fresh {
            self.tag = Some(fresh.tag);
            self.set(control::VPID, u64::from(fresh.tag.number));
            if fresh.flush_all {
                // SAFETY: VMX is on; a processor with VPIDs has INVVPID.
                unsafe { instructions::invvpid_all() };
            }
        }
        if core::mem::take(&mut self.second_stage_is_stale) {
            let single = self.vmx.capabilities.invept_single;
            // SAFETY: VMX is on, and the processor has this type.
            unsafe { instructions::invept(single.then_some(self.ept_pointer)) };
        }
        if self.vmx.capabilities.preemption_timer {
            let count = run_timer::count(self.ticks(), self.run_ends.get(), self.vmx.capabilities.misc);
            self.set(guest::VMX_PREEMPTION_TIMER_VALUE, u64::from(count));
        }
        self.make_current();
        // SAFETY: VMX was enabled on this processor before the first vcpu was made; the host runs its vcpu loops with
        // interrupts off. The structure is this vcpu's and current; its host state was taken from this processor and
        // goes on at `exited`; its second stage and bitmaps were put there by `new_vcpu`, its controls are those of
        // `Controls`, so that the guest reaches its own memory and nothing else. `registers` is a reference.
        let failed = unsafe { world_switch::enter(registers, u64::from(self.launched)) };
        match failed {
            0 => {
                self.launched = true;
                if reason::is_nmi(self) {
                    // SAFETY: the host's gates are loaded.
                    unsafe { instructions::non_maskable_interrupt() };
                }
                Ok(())
            }
            1 => Err(NotEntered::Invalid),
            _ => Err(NotEntered::Valid(
                u32::try_from(self.get(ro::VM_INSTRUCTION_ERROR)).unwrap_or(u32::MAX),
            )),
        }
    }

    fn kept(&self, register: Kept) -> u64 {
        self.vmx.pcpus.here().resident.kept(&self.extended, register)
    }

    fn set_kept(&mut self, register: Kept, value: u64) {
        let mut pcpu = self.vmx.pcpus.here();
        pcpu.resident.set_kept(&self.extended, register, value);
    }

    fn virtual_task_priority(&self) -> u8 {
        self.virtual_apic.get().get(TASK_PRIORITY).copied().unwrap_or(0)
    }

    fn set_virtual_task_priority(&mut self, value: u8) {
        if let Some(place) = self.virtual_apic.get_mut().get_mut(TASK_PRIORITY) {
            *place = value;
        }
    }

    fn flush(&mut self) {
        // Without tags each entry forgets all.
        self.tag = None;
    }

    fn flush_second_stage(&mut self) {
        self.second_stage_is_stale = true;
    }

    fn capabilities(&self) -> &Capabilities {
        &self.vmx.capabilities
    }
}

impl Services for Hardware {
    fn now(&self) -> Instant {
        self.vmx.host.now()
    }

    fn ticks(&self) -> u64 {
        // SAFETY: the instruction exists on every processor with VMX, and changes nothing.
        unsafe { x86::time::rdtsc() }
    }

    fn time_scale(&self) -> TimeScale {
        self.vmx.host.time_scale()
    }

    fn wake_at(&self, until: Instant) {
        if self.vmx.capabilities.preemption_timer {
            self.run_ends.set(deadline_ticks(&self.time_scale(), until));
        } else {
            self.vmx.host.arm(until);
        }
    }

    fn cost(&self) -> Cost {
        Cost::frames(2) + Extended::cost(&self.extended)
    }

    fn takes_kick(&self) -> bool {
        current().kicked().take()
    }

    fn arrive(&mut self, pcpu: PcpuId) {
        self.stays = true;
        if self.last != pcpu {
            self.last = pcpu;
            self.tag = None;
            // Other vcpus of the domain may have left translations here that were flushed elsewhere since: they are told
            // by the second stage, not by the tag.
            self.second_stage_is_stale = true;
            setup::write_host(self, &host_state::of_running_processor());
        }
    }

    fn depart(&mut self) {
        if self.vmx.pcpus.is_many() {
            self.vmx.pcpus.here().resident.give_up(&self.extended);
            self.clear();
        }
        self.stays = false;
    }

    fn take_interrupts(&self) {
        self.vmx.host.take_interrupts();
    }

    fn machine_check(&self) {
        // SAFETY: the host's gates are loaded.
        unsafe { crate::vcpu::instructions::machine_check() };
    }

    fn reset_extended_state(&mut self) {
        self.vmx.pcpus.here().resident.reset(&self.extended);
    }

    fn xcr0(&self) -> u64 {
        self.vmx.pcpus.here().resident.xcr0(&self.extended)
    }

    fn set_xcr0(&mut self, value: u64) {
        self.vmx.pcpus.here().resident.set_xcr0(&self.extended, value);
    }

    fn tsc_aux(&self) -> u32 {
        Resident::tsc_aux(&self.extended)
    }

    fn set_tsc_aux(&mut self, value: u32) {
        self.vmx.pcpus.here().resident.set_tsc_aux(&self.extended, value);
    }

    fn prediction_barrier(&self) {
        self.vmx.pcpus.here().resident.prediction_barrier();
    }

    fn microcode(&self) -> u64 {
        self.vmx.microcode
    }

    fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        crate::log::line(level, Some(self.domain), line);
    }
}

impl Drop for Hardware {
    fn drop(&mut self) {
        self.clear();
        self.vmx.pcpus.here().resident.forget(&self.extended);
    }
}
