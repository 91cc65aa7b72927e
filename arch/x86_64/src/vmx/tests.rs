//! A vcpu on an engine that plays a script of exits. Each entry is checked as the processor would: a structure that it
//! would refuse fails the test that led there.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use x86::vmx::vmcs::{control, guest, ro};
use xenvisor_core::clock::{Instant, TimeScale};
use xenvisor_core::machine::{
    Access, Call, Exit, GuestRam, Ipi, IpiKind, IpiTarget, Level, NotRam, Outcome, Registers, VirtCpu, Width,
};
use xenvisor_core::number::{DomainId, GuestAddr, PcpuId, VcpuId, Vector};
use xenvisor_core::vcpu::start::{Segment, StartState};

use super::block::{Block, NotEntered};
use super::capability::Capabilities;
use super::check::each_wrong;
use super::controls::Controls;
use super::engine::VmxEngine;
use super::event;
use super::fields::Fields;
use super::setup::{self, Addresses, HostState};
use super::testing::{self, Structure};
use crate::guest::cpuid::{Leaf, Offers};
use crate::vcpu::cpu::Cpu;
use crate::vcpu::engine::Services;
use crate::vcpu::event::Event;
use crate::vcpu::extended_state::{INITIAL_DR6, INITIAL_XCR0, Kept};

mod events;
mod exits;
mod registers;

/// What the guest does until its next exit.
type Scene = Box<dyn FnOnce(&mut Guest, &mut Registers) + Send>;

/// A guest between an entry and an exit.
struct Guest {
    fields: Structure,
    kept: [u64; Kept::ALL.len()],
    task_priority: u8,
    /// The entry itself fails.
    fails: Option<NotEntered>,
}

impl Guest {
    fn get(&self, field: u32) -> u64 {
        self.fields.get(field)
    }

    fn set(&mut self, field: u32, value: u64) {
        self.fields.set(field, value);
    }

    /// What the entry has injected.
    fn injected(&self) -> Option<Event> {
        event::decode(self.get(control::VMENTRY_INTERRUPTION_INFO_FIELD), || {
            self.get(control::VMENTRY_EXCEPTION_ERR_CODE)
        })
    }

    fn exits(&mut self, reason: u64) {
        self.set(ro::EXIT_REASON, reason);
    }

    fn primary(&self) -> u64 {
        self.get(control::PRIMARY_PROCBASED_EXEC_CONTROLS)
    }
}

#[derive(Default)]
struct Stage {
    scenes: VecDeque<Scene>,
    now: u64,
    flushes: u32,
    /// A structure that breaks a rule is no mistake of the test: it is refused.
    refuses: bool,
    log: String,
    xcr0: u64,
    tsc_aux: u32,
}

/// A structure whose guest follows a script; when that is over, it exits for an interrupt of the machine.
struct Script {
    guest: Guest,
    stage: Arc<Mutex<Stage>>,
    capabilities: Capabilities,
}

impl Fields for Script {
    fn get(&self, field: u32) -> u64 {
        self.guest.get(field)
    }

    fn set(&mut self, field: u32, value: u64) {
        self.guest.set(field, value);
    }
}

/// Bits of the guest's state that an entry which injects an event leaves, and those that the event takes away.
const BY_NMI: u64 = 1 << 3;
const SHADOW: u64 = 3;
const VALID: u64 = 1 << 31;

impl Block for Script {
    fn enter(&mut self, registers: &mut Registers) -> Result<(), NotEntered> {
        let mut wrong = Vec::new();
        each_wrong(&self.guest.fields, &self.capabilities, &mut |rule| {
            wrong.push(rule.to_string());
        });
        let is_refused = !wrong.is_empty() && self.stage.lock().unwrap().refuses;
        if is_refused {
            return Err(NotEntered::Valid(7));
        }
        assert_eq!(wrong, Vec::<String>::new(), "the processor would refuse this");
        let threshold = self.guest.get(control::TPR_THRESHOLD);
        assert!(
            threshold <= u64::from(self.guest.task_priority >> 4),
            "the processor would refuse this threshold"
        );
        for field in [
            ro::EXIT_QUALIFICATION,
            ro::VMEXIT_INTERRUPTION_INFO,
            ro::IDT_VECTORING_INFO,
            ro::VMEXIT_INSTRUCTION_LEN,
            ro::GUEST_PHYSICAL_ADDR_FULL,
        ] {
            self.guest.set(field, 0);
        }
        let injected = self.guest.injected();
        if injected.is_some() {
            let now = self.guest.get(guest::INTERRUPTIBILITY_STATE) & !SHADOW;
            let nmi = if injected == Some(Event::Nmi) { BY_NMI } else { 0 };
            self.guest.set(guest::INTERRUPTIBILITY_STATE, now | nmi);
            self.guest.set(guest::PENDING_DBG_EXCEPTIONS, 0);
        }
        let scene = self.stage.lock().unwrap().scenes.pop_front();
        match scene {
            Some(scene) => scene(&mut self.guest, registers),
            None => self.guest.exits(1),
        }
        if let Some(failure) = self.guest.fails {
            return Err(failure);
        }
        let information = self.guest.get(control::VMENTRY_INTERRUPTION_INFO_FIELD);
        self.guest
            .set(control::VMENTRY_INTERRUPTION_INFO_FIELD, information & !VALID);
        Ok(())
    }

    fn kept(&self, register: Kept) -> u64 {
        self.guest.kept[place(register)]
    }

    fn set_kept(&mut self, register: Kept, value: u64) {
        self.guest.kept[place(register)] = value;
    }

    fn virtual_task_priority(&self) -> u8 {
        self.guest.task_priority
    }

    fn set_virtual_task_priority(&mut self, value: u8) {
        self.guest.task_priority = value;
    }

    fn flush(&mut self) {
        self.stage.lock().unwrap().flushes += 1;
    }

    fn flush_second_stage(&mut self) {}

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
}

fn place(register: Kept) -> usize {
    Kept::ALL.iter().position(|other| *other == register).unwrap()
}

impl Services for Script {
    fn now(&self) -> Instant {
        let mut stage = self.stage.lock().unwrap();
        stage.now += 1;
        Instant::from_ns(stage.now)
    }
    fn ticks(&self) -> u64 {
        self.stage.lock().unwrap().now
    }
    fn time_scale(&self) -> TimeScale {
        TimeScale::from_hz(1_000_000_000, 0, Instant::ZERO).unwrap()
    }
    fn wake_at(&self, _until: Instant) {}
    fn takes_kick(&self) -> bool {
        false
    }
    fn arrive(&mut self, _pcpu: PcpuId) {}
    fn depart(&mut self) {}
    fn take_interrupts(&self) {}
    fn machine_check(&self) {}
    fn reset_extended_state(&mut self) {
        self.set_xcr0(INITIAL_XCR0);
        self.set_kept(Kept::Dr6, INITIAL_DR6);
    }
    fn xcr0(&self) -> u64 {
        self.stage.lock().unwrap().xcr0
    }
    fn set_xcr0(&mut self, value: u64) {
        self.stage.lock().unwrap().xcr0 = value;
    }
    fn tsc_aux(&self) -> u32 {
        self.stage.lock().unwrap().tsc_aux
    }
    fn set_tsc_aux(&mut self, value: u32) {
        self.stage.lock().unwrap().tsc_aux = value;
    }
    fn prediction_barrier(&self) {}
    fn microcode(&self) -> u64 {
        0
    }
    fn log(&self, _level: Level, line: fmt::Arguments<'_>) {
        self.stage.lock().unwrap().log += &line.to_string();
    }
}

/// A guest's memory: an array from 0.
struct Ram(RefCell<Vec<u8>>);

impl Ram {
    fn new(code: &[u8]) -> Self {
        let mut bytes = vec![0; 0x10000];
        bytes[CODE..CODE + code.len()].copy_from_slice(code);
        Self(RefCell::new(bytes))
    }
}

impl GuestRam for Ram {
    fn read(&self, at: GuestAddr, into: &mut [u8]) -> Result<(), NotRam> {
        let start = usize::try_from(at.raw()).map_err(|_| NotRam(at))?;
        let end = start.checked_add(into.len()).ok_or(NotRam(at))?;
        into.copy_from_slice(self.0.borrow().get(start..end).ok_or(NotRam(at))?);
        Ok(())
    }
    fn write(&self, at: GuestAddr, from: &[u8]) -> Result<(), NotRam> {
        let start = usize::try_from(at.raw()).map_err(|_| NotRam(at))?;
        let end = start.checked_add(from.len()).ok_or(NotRam(at))?;
        let mut bytes = self.0.borrow_mut();
        bytes.get_mut(start..end).ok_or(NotRam(at))?.copy_from_slice(from);
        Ok(())
    }
    fn compare_exchange(&self, at: GuestAddr, old: u64, new: u64) -> Result<bool, NotRam> {
        let mut word = [0; 8];
        self.read(at, &mut word)?;
        let same = u64::from_le_bytes(word) == old;
        if same {
            self.write(at, &new.to_le_bytes())?;
        }
        Ok(same)
    }
}

/// A processor of Intel's without XSAVE.
fn cpuid(leaf: u32, _: u32) -> Leaf {
    match leaf {
        0 | 0x8000_0000 => Leaf {
            eax: leaf | 0x1f,
            ebx: 0x756e_6547,
            ecx: 0x6c65_746e,
            edx: 0x4965_6e69,
        },
        0x8000_0008 => Leaf {
            eax: 0x3027,
            ..Leaf::NOTHING
        },
        0x16 | 0x15 => Leaf::NOTHING,
        _ => Leaf {
            eax: 7,
            ebx: u32::MAX,
            ecx: u32::MAX,
            edx: u32::MAX,
        },
    }
}

struct World {
    cpu: Cpu<VmxEngine<Script>>,
    stage: Arc<Mutex<Stage>>,
}

const RIP: u64 = 0x1000;
const CODE: usize = 0x1000;

impl World {
    fn new() -> Self {
        let stage = Arc::new(Mutex::new(Stage::default()));
        let offers = Offers {
            xcr0: 7,
            xsaves: false,
            speculation_control: false,
            invpcid: true,
            tsc_aux: true,
            vcpus: 1,
        };
        let engine = VmxEngine::new(script(Arc::clone(&stage)));
        let mut cpu = Cpu::of(engine, DomainId::new(1), VcpuId::new(0), &cpuid, &offers);
        cpu.start(&pvh_start());
        Self { cpu, stage }
    }

    fn scene(&self, scene: impl FnOnce(&mut Guest, &mut Registers) + Send + 'static) -> &Self {
        self.stage.lock().unwrap().scenes.push_back(Box::new(scene));
        self
    }

    fn run(&mut self, code: &[u8]) -> Exit {
        self.cpu.run(&Ram::new(code), Instant::from_ns(1000))
    }

    fn rip(&mut self) -> u64 {
        self.cpu.registers().rip
    }
}

fn script(stage: Arc<Mutex<Stage>>) -> Script {
    let capabilities = testing::capabilities();
    let controls = Controls::compute(&capabilities).unwrap();
    let addresses = Addresses {
        msr_bitmap: 0x1000,
        io_a: 0x2000,
        io_b: 0x3000,
        virtual_apic: 0x4000,
        ept_pointer: setup::ept_pointer(0x5000, true),
    };
    let host = HostState {
        cr0: 0x8001_0033,
        cr4: 0x26a0,
        cs: 8,
        tr: 0x18,
        pat: 0x0007_0406_0007_0406,
        efer: 0xd01,
        ..HostState::default()
    };
    let mut fields = Structure::default();
    setup::write(&mut fields, &controls, &addresses, &host);
    fields.set(control::VPID, 1);
    fields.set(ro::EXIT_REASON, 0);
    for field in [guest::RSP, guest::RIP] {
        fields.set(field, 0);
    }
    Script {
        guest: Guest {
            fields,
            kept: [0; Kept::ALL.len()],
            task_priority: 0,
            fails: None,
        },
        stage,
        capabilities,
    }
}

/// Flat 32-bit protected mode.
fn pvh_start() -> StartState {
    let data = Segment {
        selector: 0x10,
        attributes: 0xc093,
        limit: u32::MAX,
        base: 0,
    };
    StartState {
        registers: Registers {
            rip: RIP,
            ..Registers::default()
        },
        cr0: 0x11,
        cr3: 0,
        cr4: 0,
        efer: 0,
        cs: Segment {
            selector: 8,
            attributes: 0xc09b,
            ..data
        },
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        tr: Segment {
            attributes: 0x8b,
            limit: 0x67,
            ..Segment::default()
        },
        ldt: Segment {
            attributes: 1 << 16,
            ..Segment::default()
        },
    }
}

const fn exception(vector: u8, code: Option<u32>) -> Event {
    Event::Exception { vector, code }
}
