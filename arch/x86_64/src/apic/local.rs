//! The local APIC of this processor: taking interrupts, acknowledging them, and the timer.
//!
//! x2APIC (registers by MSR) where the processor has it, else xAPIC (registers in memory). The timer is one
//! shot: by TSC deadline where CPUID offers that, else by count. Source: SDM vol. 3A chapter 12.

use core::sync::atomic::{AtomicU64, Ordering};

use spin::Once;
use x86::msr::{IA32_APIC_BASE, rdmsr, wrmsr};
use xenvisor_core::clock::Instant;
use xenvisor_core::number::MachineAddr;

use super::timer::{count, deadline_ticks};
use super::vectors;
use crate::host::direct_map::pointer;
use crate::host::interrupts::without_interrupts;
use crate::time::clock;

/// Registers, as offsets in the xAPIC's page; the x2APIC's MSR is 0x800 plus a sixteenth.
const ID: u32 = 0x20;
const TASK_PRIORITY: u32 = 0x80;
const END_OF_INTERRUPT: u32 = 0xb0;
const SPURIOUS: u32 = 0xf0;
const COMMAND: u32 = 0x300;
const COMMAND_HIGH: u32 = 0x310;
const LVT_TIMER: u32 = 0x320;
const LVT_LINT0: u32 = 0x350;
const LVT_LINT1: u32 = 0x360;
const LVT_ERROR: u32 = 0x370;
const INITIAL_COUNT: u32 = 0x380;
const CURRENT_COUNT: u32 = 0x390;
const DIVIDE: u32 = 0x3e0;

const X2APIC_BASE: u32 = 0x800;
const IA32_TSC_DEADLINE: u32 = 0x6e0;

const SOFTWARE_ENABLE: u32 = 1 << 8;
const MASKED: u32 = 1 << 16;
const TIMER_TSC_DEADLINE: u32 = 0b10 << 17;
const DELIVER_NMI: u32 = 0b100 << 8;
const DIVIDE_BY_16: u32 = 0b0011;
/// The interrupt command: physical destination, edge; delivery modes and the level bit that all but INIT's end has.
const DELIVER_INIT: u32 = 0b101 << 8;
const DELIVER_STARTUP: u32 = 0b110 << 8;
const ASSERT: u32 = 1 << 14;
/// xAPIC: the command before has not been sent yet.
const BUSY: u32 = 1 << 12;

const BASE_ENABLE: u64 = 1 << 11;
const BASE_X2APIC: u64 = 1 << 10;

/// How registers are reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Access {
    X2Apic,
    Memory(MachineAddr),
}

/// The local APIC of the processor that uses it.
pub(crate) struct LocalApic {
    access: Access,
    tsc_deadline: bool,
    /// Frequency of the counting timer, once known.
    timer_hz: Once<u64>,
    /// The deadline the timer is set to, in nanoseconds; `u64::MAX` for none.
    armed: AtomicU64,
}

impl LocalApic {
    /// Switches the local APIC on, with all its own sources masked. In xAPIC mode `registers` must be
    /// mapped as a device.
    pub(crate) fn enable(x2apic: bool, tsc_deadline: bool, registers: MachineAddr) -> Self {
        let apic = Self {
            access: if x2apic {
                Access::X2Apic
            } else {
                Access::Memory(registers)
            },
            tsc_deadline,
            timer_hz: Once::new(),
            armed: AtomicU64::new(u64::MAX),
        };
        // SAFETY: IA32_APIC_BASE exists on every processor with an APIC, which 64-bit ones have; the base
        // stays, and x2APIC is only asked for where CPUID offers it. Going there by way of xAPIC mode is
        // the order that the SDM allows (§12.12.5).
        unsafe {
            let base = rdmsr(IA32_APIC_BASE);
            wrmsr(IA32_APIC_BASE, base | BASE_ENABLE);
            if x2apic {
                wrmsr(IA32_APIC_BASE, base | BASE_ENABLE | BASE_X2APIC);
            }
        }
        // First, for while the APIC is disabled in software its sources stay masked whatever is written.
        apic.write(SPURIOUS, SOFTWARE_ENABLE | u32::from(vectors::SPURIOUS));
        apic.write(TASK_PRIORITY, 0);
        apic.write(LVT_LINT0, MASKED);
        apic.write(LVT_LINT1, DELIVER_NMI);
        apic.write(LVT_ERROR, vectors::ERROR.into());
        apic.write(LVT_TIMER, MASKED | u32::from(vectors::TIMER));
        apic.write(DIVIDE, DIVIDE_BY_16);
        apic
    }

    fn read(&self, register: u32) -> u32 {
        match self.access {
            // SAFETY: the registers named in this file exist as MSRs in x2APIC mode, which `enable` set.
            // All are 32 bits wide.
            Access::X2Apic => unsafe {
                u32::try_from(rdmsr(X2APIC_BASE + register / 16) & 0xffff_ffff).unwrap_or(0)
            },
            Access::Memory(base) => {
                let at = pointer(base).wrapping_add(register as usize).cast::<u32>();
                // SAFETY: the APIC's page is mapped as a device (`enable`'s caller), `register` is inside it.
                unsafe { at.read_volatile() }
            }
        }
    }

    fn write(&self, register: u32, value: u32) {
        match self.access {
            // SAFETY: as in `read`; values are the ones the SDM allows for these registers.
            Access::X2Apic => unsafe { wrmsr(X2APIC_BASE + register / 16, value.into()) },
            Access::Memory(base) => {
                let at = pointer(base).wrapping_add(register as usize).cast::<u32>();
                // SAFETY: as in `read`.
                unsafe { at.write_volatile(value) }
            }
        }
    }

    /// The local APIC of the processor that asks, switched on like this one and with as good a timer.
    pub(crate) fn another(&self, registers: MachineAddr) -> Self {
        let is_x2apic = self.access == Access::X2Apic;
        let apic = Self::enable(is_x2apic, self.tsc_deadline, registers);
        // The same kind of timer runs at the same frequency.
        let _ = apic.ready_timer(self.timer_hz.get().copied());
        apic
    }

    /// Resets the processor with this id; it waits for a start-up interrupt then.
    pub(crate) fn send_init(&self, to: u32) {
        self.command(to, DELIVER_INIT | ASSERT);
    }

    /// Starts the processor with this id, which waits for it, in real mode at a page below 1 MiB.
    pub(crate) fn send_startup(&self, to: u32, page: MachineAddr) {
        let number = u32::try_from(page.raw() >> 12).unwrap_or(0) & 0xff;
        self.command(to, DELIVER_STARTUP | ASSERT | number);
    }

    /// Interrupts the processor with this id.
    pub(crate) fn send(&self, to: u32, vector: u8) {
        self.command(to, ASSERT | u32::from(vector));
    }

    /// Interrupts the processor with this id, whatever it does.
    pub(crate) fn send_nmi(&self, to: u32) {
        self.command(to, DELIVER_NMI | ASSERT);
    }

    /// Writes the interrupt command register, with interrupts off: a handler must not come between its halves.
    fn command(&self, to: u32, command: u32) {
        without_interrupts(|| match self.access {
            Access::X2Apic => {
                // SAFETY: x2APIC mode is on, and the register is one of 64 bits there. What others wrote to memory
                // before is seen by whoever is interrupted only behind a fence (SDM vol. 3 §12.12.3).
                unsafe {
                    core::arch::asm!("mfence", "lfence", options(nostack, preserves_flags));
                    wrmsr(
                        X2APIC_BASE + COMMAND / 16,
                        u64::from(to) << 32 | u64::from(command),
                    );
                }
            }
            Access::Memory(_) => {
                while self.read(COMMAND) & BUSY != 0 {
                    core::hint::spin_loop();
                }
                self.write(COMMAND_HIGH, to << 24);
                self.write(COMMAND, command);
            }
        });
    }

    /// This processor's APIC id.
    pub(crate) fn id(&self) -> u32 {
        match self.access {
            Access::X2Apic => self.read(ID),
            Access::Memory(_) => self.read(ID) >> 24,
        }
    }

    /// The interrupt that is being served is served.
    pub(crate) fn acknowledge(&self) {
        self.write(END_OF_INTERRUPT, 0);
    }

    /// Lets the timer count down from its end, masked, so that its speed can be measured.
    pub(crate) fn start_measuring(&self) {
        self.write(INITIAL_COUNT, u32::MAX);
    }

    /// How far it has come.
    pub(crate) fn count(&self) -> u32 {
        self.read(CURRENT_COUNT)
    }

    /// Makes the timer ready: by deadline, or by a count at the frequency that was measured. False where it
    /// has neither.
    pub(crate) fn ready_timer(&self, timer_hz: Option<u64>) -> bool {
        self.write(INITIAL_COUNT, 0);
        if self.tsc_deadline {
            self.write(LVT_TIMER, TIMER_TSC_DEADLINE | u32::from(vectors::TIMER));
            // SAFETY: orders the write above (memory, in xAPIC mode) before the first to the deadline's
            // MSR, as SDM §12.5.4.1 asks.
            unsafe { core::arch::asm!("mfence", options(nostack, preserves_flags)) };
            return true;
        }
        let Some(hz) = timer_hz else { return false };
        self.timer_hz.call_once(|| hz);
        self.write(LVT_TIMER, vectors::TIMER.into());
        true
    }

    /// Has the timer interrupt at `deadline`, or early where that is further than it can count; at once if
    /// the deadline has passed. Replaces the deadline before.
    pub(crate) fn arm(&self, deadline: Instant) {
        if deadline == Instant::FAR {
            self.disarm();
            return;
        }
        if self.armed.swap(deadline.as_ns(), Ordering::Relaxed) == deadline.as_ns() {
            return;
        }
        if self.tsc_deadline {
            let Some(scale) = clock::scale() else { return };
            // SAFETY: CPUID offers this MSR.
            unsafe { wrmsr(IA32_TSC_DEADLINE, deadline_ticks(&scale, deadline)) };
        } else if let Some(&hz) = self.timer_hz.get() {
            let count = count(hz, clock::now(), deadline);
            self.write(INITIAL_COUNT, count);
            if count == u32::MAX {
                // It cannot count that far and fires early: it is not armed for the deadline.
                self.timer_fired();
            }
        }
    }

    /// Stops the timer.
    pub(crate) fn disarm(&self) {
        self.armed.store(u64::MAX, Ordering::Relaxed);
        if self.tsc_deadline {
            // SAFETY: CPUID offers this MSR; 0 means no deadline.
            unsafe { wrmsr(IA32_TSC_DEADLINE, 0) };
        } else {
            self.write(INITIAL_COUNT, 0);
        }
    }

    /// Notes that the timer has fired: it is not armed any more.
    pub(crate) fn timer_fired(&self) {
        self.armed.store(u64::MAX, Ordering::Relaxed);
    }
}
