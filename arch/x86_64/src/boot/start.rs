//! The first Rust code: from what the loader told to a [`Host`], which the image's own code then gets.
//!
//! Order matters, each step needing the ones before: a console to complain on, traps to complain with, then
//! what the loader told, memory, ACPI, interrupts and time.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::AtomicUsize;

use heapless::{String, Vec};
use spin::{Mutex, Once};
use xenvisor_core::number::{MachineAddr, PcpuId};

use super::BootInfo;
use super::bundle;
use super::gather::gather;
use super::reader::LoaderMemory;
use crate::apic::local::LocalApic;
use crate::apic::routing::isa_line;
use crate::apic::{io, vectors};
use crate::console::serial::{COM1_IRQ, Serial};
use crate::host::acpi::{self, Platform};
use crate::host::address_space::{AddressSpace, module_bytes};
use crate::host::direct_map::word;
use crate::host::features::Features;
use crate::host::memory::DirectMemory;
use crate::host::pcpu::{self, Pcpu};
use crate::host::processors::{self, Other, Others};
use crate::host::{Host, Module, traps};
use crate::panic::fail;
use crate::time::reference::Reference;
use crate::time::{clock, rtc};
use crate::{heap, log};

/// The serial line: there from the first moment on.
pub(crate) static CONSOLE: Serial = Serial::new();
/// The host, once it has booted. For interrupts, which nobody can hand an argument to.
pub(crate) static HOST: Once<Host> = Once::new();

/// A module of this name holds others.
const BUNDLE: &str = "bundle";
/// Bytes of an APIC's registers; HPETs have as many.
const REGISTERS: u64 = 1024;

unsafe extern "Rust" {
    /// The image's own code. `image!` defines it, with this signature, in each image.
    safe fn xenvisor_image_main(host: &'static Host) -> !;
}

/// Called once, by the entry code, on the main stack, with interrupts off and the boot tables in force.
pub(crate) extern "C" fn start(magic: u32, info: u32) -> ! {
    CONSOLE.initialise();
    pcpu::BOOT.take_over();
    traps::write();
    traps::load();
    log::initialise();
    heap::initialise();
    let boot = gather(&BootMemory, magic, info).unwrap_or_else(|error| fail(format_args!("{error}")));
    let (host, plan) = build(boot);
    let host = HOST.call_once(|| host);
    start_others(host, plan);
    CONSOLE.enable_receiving();
    xenvisor_image_main(host)
}

/// What is needed to start the other processors.
struct Plan {
    others: Others,
    root: u64,
    page: Option<MachineAddr>,
}

fn build(boot: BootInfo) -> (Host, Plan) {
    let features = Features::detect();
    features.enable();
    let space = AddressSpace::enter(&boot, features.huge_pages)
        .unwrap_or_else(|error| fail(format_args!("no address space: {error:?}")));
    let space = Mutex::new(space);
    let platform =
        acpi::read(boot.acpi, &space).unwrap_or_else(|error| fail(format_args!("no usable ACPI: {error:?}")));
    let mut space = space.into_inner();
    let apic = pcpu::BOOT.set_apic(interrupts(&features, &platform, &mut space));
    time(apic, &platform, &mut space);
    let scale = clock::scale().unwrap_or_else(|| fail(format_args!("the clock does not run")));
    let line = isa_line(COM1_IRQ, &platform.overrides);
    // In physical mode an I/O APIC names processors by 8 bits; the boot processor is hardly ever above.
    let routed =
        u8::try_from(apic.id()).is_ok_and(|id| io::route(&platform.io_apics, line, vectors::CONSOLE, id));
    if !routed {
        defmt::warn!("no I/O APIC takes COM1's interrupt: nothing typed will be heard");
    }
    let plan = Plan {
        others: others(&platform, apic.id(), &mut space),
        root: space.root(),
        page: AddressSpace::low_page(&boot),
    };
    let free = space
        .free_memory(&boot)
        .unwrap_or_else(|error| fail(format_args!("no free memory: {error:?}")));
    let modules = modules(&boot);
    let wall_clock_at_zero_ns = wall_clock(&platform);
    tell(&boot, &features, &platform, &free, &modules);
    let host = Host {
        modules,
        features,
        platform,
        memory: Arc::new(DirectMemory::new(free.clone())),
        free,
        others: Once::new(),
        boot_apic_id: apic.id(),
        work: Mutex::new(None),
        done: AtomicUsize::new(0),
        scale,
        wall_clock_at_zero_ns,
        boot,
    };
    (host, plan)
}

/// The processors other than this one, with stacks. What finds no room is left out.
fn others(platform: &Platform, own: u32, space: &mut AddressSpace) -> Others {
    let mut others = Others::new();
    for &apic_id in platform.processors.iter().filter(|id| **id != own) {
        let number = u32::try_from(others.len() + 1).unwrap_or(u32::MAX);
        let Ok(stacks) = space.new_stacks(number) else {
            defmt::warn!(
                "no memory for the stacks of processor {=u32}: it is left out",
                number
            );
            break;
        };
        let pcpu = Box::leak(Box::new(Pcpu::new(PcpuId::new(number), stacks)));
        // There are as many places as processors that are kept.
        let _ = others.push(Other { apic_id, pcpu });
    }
    others
}

/// Starts the other processors.
fn start_others(host: &'static Host, plan: Plan) {
    let up = match (plan.page, host.boot_apic()) {
        (Some(page), Some(apic)) => processors::start_all(&plan.others, plan.root, page, apic),
        _ => {
            if !plan.others.is_empty() {
                defmt::warn!("no page below 640 KiB is free: the other processors do not start");
            }
            Others::new()
        }
    };
    defmt::info!("{=usize} processors run", up.len() + 1);
    host.others.call_once(|| up);
}

/// Silences what firmware left on, and switches the local APIC on.
fn interrupts(features: &Features, platform: &Platform, space: &mut AddressSpace) -> LocalApic {
    let in_memory = (!features.x2apic).then_some(platform.local_apic);
    let io_apics = platform.io_apics.iter().map(|place| place.registers);
    for registers in io_apics.chain(in_memory) {
        space
            .map_device(registers, REGISTERS)
            .unwrap_or_else(|error| fail(format_args!("an APIC at {registers}: {error:?}")));
    }
    io::mask_old_controllers();
    io::mask_all(&platform.io_apics);
    LocalApic::enable(features.x2apic, features.tsc_deadline, platform.local_apic)
}

/// Starts the clock and makes the timer ready.
fn time(apic: &LocalApic, platform: &Platform, space: &mut AddressSpace) {
    let hpet = || {
        let registers = platform.hpet?;
        space.map_device(registers, REGISTERS).ok()?;
        Reference::hpet(registers)
    };
    let reference = platform.pm_timer.map(Reference::PmTimer).or_else(hpet);
    let Some(reference) = reference else {
        fail(format_args!(
            "neither a PM timer nor an HPET to measure time with"
        ));
    };
    apic.start_measuring();
    let Ok((tsc_hz, timer_hz)) = clock::calibrate(reference, || apic.count()) else {
        fail(format_args!("the TSC cannot be measured against {reference:?}"));
    };
    if !apic.ready_timer(timer_hz) {
        fail(format_args!("the local APIC's timer does not run"));
    }
    defmt::info!(
        "TSC at {=u64} Hz, APIC timer at {=u64} Hz",
        tsc_hz,
        timer_hz.unwrap_or(0)
    );
}

/// The wall clock at the clock's beginning, in nanoseconds since 1970; 0 where the chip holds no date.
fn wall_clock(platform: &Platform) -> u64 {
    const NS_PER_SECOND: u64 = 1_000_000_000;
    let seconds = rtc::read_chip(platform.century_register).unix_seconds();
    if seconds.is_none() {
        defmt::warn!("the clock chip holds no date: it is 1970");
    }
    seconds
        .unwrap_or(0)
        .saturating_mul(NS_PER_SECOND)
        .saturating_sub(clock::now().as_ns())
}

/// The modules, bundles unpacked.
fn modules(boot: &BootInfo) -> Vec<Module, { crate::host::MAX_MODULES }> {
    let mut modules = Vec::new();
    let mut keep = |name: &str, bytes| {
        let kept = String::try_from(name)
            .ok()
            .and_then(|name| modules.push(Module { name, bytes }).ok());
        if kept.is_none() {
            fail(format_args!(
                "module {name:?} has too long a name, or is one too many"
            ));
        }
    };
    for module in &boot.modules {
        let bytes = module_bytes(module.start, module.bytes);
        if module.name == BUNDLE {
            bundle::each_file(bytes, &mut keep).unwrap_or_else(|error| fail(format_args!("{error}")));
        } else {
            keep(&module.name, bytes);
        }
    }
    modules
}

/// Logs what was found.
fn tell(
    boot: &BootInfo,
    features: &Features,
    platform: &Platform,
    free: &[core::ops::Range<u64>],
    modules: &[Module],
) {
    let free_bytes: u64 = free.iter().map(|range| range.end - range.start).sum();
    defmt::info!(
        "booted by {=str}: {=u64} MiB free, {=usize} processors, SVM {=bool}, VMX {=bool}, x2APIC {=bool}",
        boot.protocol.name(),
        free_bytes >> 20,
        platform.processors.len(),
        features.svm,
        features.vmx,
        features.x2apic,
    );
    for module in modules {
        defmt::debug!(
            "module {=str}: {=usize} bytes",
            module.name.as_str(),
            module.bytes.len()
        );
    }
    for range in free {
        defmt::debug!("free memory from {=u64:#x} to {=u64:#x}", range.start, range.end);
    }
}

/// Memory as the boot page tables show it: the first 4 GiB, at its own addresses.
struct BootMemory;

impl LoaderMemory for BootMemory {
    fn read(&self, at: u64, into: &mut [u8]) -> bool {
        let end = at.checked_add(into.len() as u64);
        if at == 0 || end.is_none_or(|end| end > 1 << 32) {
            return false;
        }
        // SAFETY: the boot tables map the first 4 GiB, so the source exists; it is loader data that nobody
        // writes while we, the only running processor, copy it. `into` is ours and cannot overlap it: the
        // loader's structures are not part of the image.
        unsafe {
            core::ptr::copy_nonoverlapping(
                core::ptr::with_exposed_provenance::<u8>(word(at)),
                into.as_mut_ptr(),
                into.len(),
            );
        }
        true
    }
}
