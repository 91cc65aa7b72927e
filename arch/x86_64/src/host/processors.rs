//! The other processors: started one after the other by the one that boots, then at the disposal of the image.
//!
//! A processor that does not come up within a second is left out, with a word in the log; the machine works with the
//! others. SDM vol. 3 §9.4.4 (the order of INIT and start-up interrupts and the waits between them).

use core::fmt::{self, Write};
use core::sync::atomic::Ordering;

use heapless::Vec;
use xenvisor_core::number::{MachineAddr, PcpuId};

use super::acpi::MAX_PROCESSORS;
use super::direct_map::pointer;
use super::pcpu::{self, Pcpu};
use super::{Host, traps};
use crate::apic::local::LocalApic;
use crate::boot::start::HOST;
use crate::boot::trampoline::{HANDOVER, code};
use crate::console::serial::LastWords;
use crate::panic::fail;
use crate::time::clock;

/// Waits of the start-up sequence, in nanoseconds.
const AFTER_INIT_NS: u64 = 10_000_000;
const AFTER_STARTUP_NS: u64 = 200_000;
const PATIENCE_NS: u64 = 1_000_000_000;

/// Another processor: its APIC id, and what it will be.
#[derive(Clone, Copy)]
pub(crate) struct Other {
    pub(crate) apic_id: u32,
    pub(crate) pcpu: &'static Pcpu,
}

/// All but the one that boots, by number from 1 on.
pub(crate) type Others = Vec<Other, MAX_PROCESSORS>;

/// Starts them all; gives those that came up.
pub(crate) fn start_all(candidates: &Others, root: u64, page: MachineAddr, apic: &LocalApic) -> Others {
    let mut up = Others::new();
    let to = pointer(page);
    // SAFETY: the page is RAM below 1 MiB that nobody uses (`AddressSpace::low_page`), in the direct map; the code is
    // shorter than a page and lies elsewhere, in the image.
    unsafe { core::ptr::copy_nonoverlapping(code().as_ptr(), to, code().len()) };
    for other in candidates {
        HANDOVER.prepare(root, other.pcpu);
        apic.send_init(other.apic_id);
        wait(AFTER_INIT_NS, || false);
        for _ in 0..2 {
            apic.send_startup(other.apic_id, page);
            if wait(AFTER_STARTUP_NS, || other.pcpu.is_running()) {
                break;
            }
        }
        if wait(PATIENCE_NS, || other.pcpu.is_running()) {
            let _ = up.push(*other);
        } else {
            defmt::warn!(
                "processor {=u32} (APIC id {=u32}) does not start: it is left out",
                other.pcpu.id().raw(),
                other.apic_id
            );
            // It may come later, and find what the next one was to take along: nobody is started after it.
            break;
        }
    }
    up
}

/// Waits for so long, or until `done`; whether it is.
fn wait(ns: u64, done: impl Fn() -> bool) -> bool {
    let end = clock::now().after_ns(ns);
    while clock::now() < end {
        if done() {
            return true;
        }
        core::hint::spin_loop();
    }
    done()
}

/// The first Rust code of another processor, on its own stack, with interrupts off and the host's tables in force.
pub(crate) extern "C" fn start(pcpu: &'static Pcpu) -> ! {
    pcpu.take_over();
    traps::load();
    let host = HOST.wait();
    host.features.enable();
    if let Some(boots) = host.boot_apic() {
        pcpu.set_apic(boots.another(host.platform.local_apic));
    }
    pcpu.set_running();
    loop {
        let work = *host.work.lock();
        if let Some(work) = work {
            work(pcpu.id());
            host.done.fetch_add(1, Ordering::Release);
            while host.work.lock().is_some() {
                core::hint::spin_loop();
            }
            host.done.fetch_sub(1, Ordering::Release);
        }
        host.sleep(xenvisor_core::clock::Instant::FAR);
    }
}

impl Host {
    /// How many processors run host code, the one that booted included.
    #[must_use]
    pub fn processors(&self) -> usize {
        1 + self.others.get().map_or(0, |others| others.len())
    }

    /// The number of the processor that asks.
    #[must_use]
    pub fn this_processor(&self) -> PcpuId {
        pcpu::current().id()
    }

    /// Has all other processors do `others` while this one, which is the first, does `first`. Comes back when all have
    /// come to their end. One call at a time.
    pub fn run_on_all(&self, others: &(dyn Fn(PcpuId) + Sync), first: &mut dyn FnMut()) {
        let Some(list) = self.others.get().filter(|list| !list.is_empty()) else {
            return first();
        };
        // SAFETY: only the lifetime changes. The others stop using it before this function returns: each counts itself
        // as done behind its last use, and all are waited for. `first` does not unwind, as nothing does here.
        let forever = unsafe {
            core::mem::transmute::<&(dyn Fn(PcpuId) + Sync), &'static (dyn Fn(PcpuId) + Sync)>(others)
        };
        *self.work.lock() = Some(forever);
        for other in list {
            self.kick(other.pcpu.id());
        }
        first();
        let wait_for = |count: usize| {
            while self.done.load(Ordering::Acquire) != count {
                core::hint::spin_loop();
            }
        };
        wait_for(list.len());
        *self.work.lock() = None;
        wait_for(0);
    }

    /// Makes a processor leave its guest or its sleep, and look around.
    pub fn kick(&self, pcpu: PcpuId) {
        if pcpu == self.this_processor() {
            pcpu::current().kicked().set();
            return pcpu::current().events().set();
        }
        self.interrupt(pcpu);
    }

    /// Has an interrupt wait for the processor that asks, so that it leaves the guest that it is about to enter.
    pub(crate) fn interrupt_itself(&self) {
        self.interrupt(self.this_processor());
    }

    fn interrupt(&self, pcpu: PcpuId) {
        if let (Some(target), Some(apic)) = (self.apic_id(pcpu), pcpu::current().apic()) {
            apic.send(target, crate::apic::vectors::KICK);
        }
    }

    fn apic_id(&self, pcpu: PcpuId) -> Option<u32> {
        if pcpu == pcpu::BOOT.id() {
            return Some(self.boot_apic_id);
        }
        let mut others = self.others.get().into_iter().flatten();
        others.find_map(|other| (other.pcpu.id() == pcpu).then_some(other.apic_id))
    }

    /// Ends the machine because another processor is stuck. That one is made to say where it is, by an interrupt that
    /// comes through whatever it does; if it says nothing, this one ends the machine.
    pub fn fail(&self, stuck: PcpuId, reason: fmt::Arguments<'_>) -> ! {
        // Writing to the line cannot fail.
        let _ = writeln!(LastWords, "\nxenvisor: {reason}");
        if let (Some(target), Some(apic)) = (self.apic_id(stuck), pcpu::current().apic()) {
            apic.send_nmi(target);
        }
        wait(PATIENCE_NS, || false);
        fail(format_args!("{reason}, and does not even say where"))
    }
}
