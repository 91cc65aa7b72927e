//! The other processors: started one after the other by the one that boots, then at the disposal of the image.
//!
//! A processor that does not come up within a second is left out, with a word in the log; the machine works with the
//! others. SDM vol. 3 §9.4.4 (the order of INIT and start-up interrupts and the waits between them).

use heapless::Vec;
use xenvisor_core::number::{MachineAddr, PcpuId};

use super::acpi::MAX_PROCESSORS;
use super::direct_map::pointer;
use super::pcpu::{self, Pcpu};
use super::{Host, traps};
use crate::apic::local::LocalApic;
use crate::boot::start::HOST;
use crate::boot::trampoline::{HANDOVER, code};
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
        if let Some(work) = host.work.get() {
            work(pcpu.id());
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

    /// Has all processors do `work`, this one included. Once; the others wait for more in vain when theirs is done.
    pub fn run_everywhere(&self, work: &'static (dyn Fn(PcpuId) + Sync)) {
        self.work.call_once(|| work);
        for other in self.others.get().into_iter().flatten() {
            self.kick(other.pcpu.id());
        }
        work(self.this_processor());
    }

    /// Makes a processor leave its guest or its sleep, and look around.
    pub fn kick(&self, pcpu: PcpuId) {
        if pcpu == self.this_processor() {
            return pcpu::current().events().set();
        }
        let target = if pcpu == pcpu::BOOT.id() {
            Some(self.boot_apic_id)
        } else {
            self.others
                .get()
                .into_iter()
                .flatten()
                .find_map(|other| (other.pcpu.id() == pcpu).then_some(other.apic_id))
        };
        if let (Some(target), Some(apic)) = (target, pcpu::current().apic()) {
            apic.send(target, crate::apic::vectors::KICK);
        }
    }
}
