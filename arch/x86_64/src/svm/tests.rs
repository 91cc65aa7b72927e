//! A vcpu on an engine that plays a script of exits: what comes out, and what the guest finds afterwards.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use xenvisor_core::clock::{Instant, TimeScale};
use xenvisor_core::machine::{
    Access, Call, Exit, GuestRam, Ipi, IpiKind, IpiTarget, Level, NotRam, Outcome, Registers, VirtCpu, Width,
};
use xenvisor_core::number::{DomainId, GuestAddr, PcpuId, VcpuId, Vector};
use xenvisor_core::vcpu::start::{Segment, StartState};
use zerocopy::FromZeros;

use super::block::{Assists, Block};
use super::check::{Limits, Wrong, each_wrong};
use super::engine::SvmEngine;
use super::event::{decode, encode};
use super::intercepts::first;
use super::vmcb::Vmcb;
use crate::guest::cpuid::{Leaf, Offers};
use crate::vcpu::cpu::Cpu;
use crate::vcpu::engine::Services;
use crate::vcpu::event::Event;
use crate::vcpu::extended_state::INITIAL_XCR0;

mod events;
mod exits;
mod registers;

/// What the guest does until its next exit.
type Scene = Box<dyn FnOnce(&mut Vmcb, &mut Registers) + Send>;

#[derive(Default)]
struct Stage {
    scenes: VecDeque<Scene>,
    now: u64,
    /// The next exit is for an interrupt of the machine that comes before a virtual one.
    comes_before: bool,
    flushes: u32,
    woken_at: Option<Instant>,
    log: String,
    xcr0: u64,
    tsc_aux: u32,
}

/// An engine whose guest follows a script; when that is over, it exits for an interrupt of the machine.
struct Script {
    block: Box<Vmcb>,
    stage: Arc<Mutex<Stage>>,
    assists: Assists,
}

const V_IRQ: u64 = 1 << 8;
const V_IGNORE_TPR: u64 = 1 << 20;

const LIMITS: Limits = Limits {
    address_bits: 40,
    asids: 16,
    cr4: u64::MAX,
};

impl Block for Script {
    fn block(&self) -> &Vmcb {
        &self.block
    }
    fn block_mut(&mut self) -> &mut Vmcb {
        &mut self.block
    }
    fn enter(&mut self, registers: &mut Registers) {
        let mut wrong = Vec::new();
        self.block.control.asid = 1;
        each_wrong(&self.block, &LIMITS, |rule| wrong.push(rule));
        assert_eq!(wrong, Vec::<Wrong>::new(), "the processor would refuse this");
        self.block.control.exit_info_1 = 0;
        self.block.control.exit_info_2 = 0;
        self.block.control.exit_interrupt_info = 0;
        let scene = self.stage.lock().unwrap().scenes.pop_front();
        match scene {
            Some(scene) => scene(&mut self.block, registers),
            None => self.block.control.exit_code = 0x60,
        }
        // A virtual interrupt is taken before anything else happens, but for interrupts of the machine.
        if offered(&self.block).is_some() && !std::mem::take(&mut self.stage.lock().unwrap().comes_before) {
            assert_ne!(self.block.control.virtual_interrupt & V_IGNORE_TPR, 0);
            self.block.control.virtual_interrupt &= !V_IRQ;
        }
        self.block.seen();
    }
    fn flush(&mut self) {
        self.stage.lock().unwrap().flushes += 1;
    }
    fn limits(&self) -> &Limits {
        &LIMITS
    }
    fn assists(&self) -> Assists {
        self.assists
    }
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
    fn wake_at(&self, until: Instant) {
        self.stage.lock().unwrap().woken_at = Some(until);
    }
    fn takes_kick(&self) -> bool {
        false
    }
    fn arrive(&mut self, _pcpu: PcpuId) {}
    fn depart(&mut self) {}
    fn take_interrupts(&self) {}
    fn machine_check(&self) {}
    fn reset_extended_state(&mut self) {
        self.set_xcr0(INITIAL_XCR0);
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
    fn new(code_at: usize, code: &[u8]) -> Self {
        let mut bytes = vec![0; 0x10000];
        bytes[code_at..code_at + code.len()].copy_from_slice(code);
        Self(RefCell::new(bytes))
    }
}

impl GuestRam for Ram {
    fn read(&self, at: GuestAddr, into: &mut [u8]) -> Result<(), NotRam> {
        let start = usize::try_from(at.raw()).unwrap();
        let bytes = self.0.borrow();
        into.copy_from_slice(bytes.get(start..start + into.len()).ok_or(NotRam(at))?);
        Ok(())
    }
    fn write(&self, at: GuestAddr, from: &[u8]) -> Result<(), NotRam> {
        let start = usize::try_from(at.raw()).unwrap();
        let mut bytes = self.0.borrow_mut();
        bytes
            .get_mut(start..start + from.len())
            .ok_or(NotRam(at))?
            .copy_from_slice(from);
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

/// A QEMU-like processor of AMD's: no XSAVE unless `xsave`.
fn cpuid(leaf: u32, _: u32) -> Leaf {
    match leaf {
        0 | 0x8000_0000 => Leaf {
            eax: leaf | 0x1f,
            ebx: 0x6874_7541,
            ecx: 0x444d_4163,
            edx: 0x6974_6e65,
        },
        0x8000_0008 => Leaf {
            eax: 0x3028,
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
    cpu: Cpu<SvmEngine<Script>>,
    stage: Arc<Mutex<Stage>>,
}

const RIP: u64 = 0x1000;
const CODE: usize = 0x1000;
const NONE: Assists = Assists {
    next_rip: false,
    decode: false,
};

impl World {
    fn new() -> Self {
        Self::with(NONE)
    }

    fn with(assists: Assists) -> Self {
        let stage = Arc::new(Mutex::new(Stage::default()));
        let mut block = Box::new(Vmcb::new_zeroed());
        block.control.nested_paging = 1;
        block.control.nested_root = 0x1000;
        let engine = Script {
            block,
            stage: Arc::clone(&stage),
            assists,
        };
        let offers = Offers {
            xcr0: 7,
            xsaves: false,
            speculation_control: false,
            invpcid: true,
            tsc_aux: true,
            vcpus: 1,
        };
        let mut cpu = Cpu::of(
            SvmEngine::new(engine),
            DomainId::new(1),
            VcpuId::new(0),
            &cpuid,
            &offers,
        );
        cpu.start(&pvh_start());
        Self { cpu, stage }
    }

    fn scene(&self, scene: impl FnOnce(&mut Vmcb, &mut Registers) + Send + 'static) -> &Self {
        self.stage.lock().unwrap().scenes.push_back(Box::new(scene));
        self
    }

    /// The next exit has this code.
    fn exits(&self, code: u64) -> &Self {
        self.scene(move |block, _| block.control.exit_code = code)
    }

    fn run(&mut self, code: &[u8]) -> Exit {
        self.cpu.run(&Ram::new(CODE, code), Instant::from_ns(1000))
    }

    fn rip(&mut self) -> u64 {
        self.cpu.registers().rip
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

fn go_long(block: &mut Vmcb) {
    block.save.efer |= 0x500;
    block.save.cr0 |= 1 << 31;
    block.save.cr4 |= 1 << 5;
    block.save.cs.attributes = 0xa9b;
}

/// What the guest gets at this entry, by either way: in EVENTINJ, or as a virtual interrupt that is not intercepted.
fn injected(block: &Vmcb) -> Option<Event> {
    decode(block.control.event_injection).or_else(|| offered(block))
}

fn offered(block: &Vmcb) -> Option<Event> {
    let word = block.control.virtual_interrupt;
    let is_window = block.control.intercept_first & first::INTERRUPT_WINDOW != 0;
    let [_, _, _, _, vector, ..] = word.to_le_bytes();
    (word & V_IRQ != 0 && !is_window).then(|| Event::Interrupt(Vector::new(vector)))
}
