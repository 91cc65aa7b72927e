//! Port accesses. Nobody here emulates a port: each access goes to the hypervisor, which completes it.
//!
//! A string instruction is done one element at a time: the guest stays on it until its count is used up, so that it can
//! be interrupted in between as on hardware. Its second half needs the guest's memory, and is done in the next run.

use xenvisor_core::machine::{Exit, GuestRam};

use super::exits::low_word;
use super::{Cpu, Served, Unfinished};
use crate::emulate::port_string::{self, Begun, Direction};
use crate::emulate::register::General;
use crate::vcpu::engine::Engine;
use crate::vcpu::reason::PortAccess;

const RAX: u8 = 0;

impl<E: Engine> Cpu<E> {
    /// A port instruction was intercepted.
    pub(super) fn port(&mut self, access: PortAccess, guest: &dyn GuestRam) -> Served {
        if access.is_string {
            return self.string_port(guest);
        }
        self.unfinished = Unfinished::Port(access);
        let PortAccess { port, bytes, .. } = access;
        Served::Exit(if access.is_read {
            Exit::PortRead { port, bytes }
        } else {
            Exit::PortWrite {
                port,
                bytes,
                value: low_word(part_of_rax(bytes).read(&self.registers)),
            }
        })
    }

    fn string_port(&mut self, guest: &dyn GuestRam) -> Served {
        let Ok(code) = self.fetch(guest) else {
            return Served::Again;
        };
        let begun = self.in_software(guest, |processor, bus| {
            port_string::begin(code.bytes(), processor, bus)
        });
        match begun {
            Ok((Begun::Element(element), _)) => {
                self.unfinished = Unfinished::StringPort(element);
                let (port, bytes) = (element.port, element.bytes);
                Served::Exit(match element.direction {
                    Direction::In => Exit::PortRead { port, bytes },
                    Direction::Out(value) => Exit::PortWrite { port, bytes, value },
                })
            }
            Ok((Begun::Finished(step), effect)) => self.conclude(Ok((step, effect))),
            Err(stop) => self.conclude(Err(stop)),
        }
    }

    /// The hypervisor has done the access; `value` is what a read gave.
    pub(super) fn finish_port(&mut self, value: u32) {
        match core::mem::replace(&mut self.unfinished, Unfinished::Nothing) {
            Unfinished::Port(access) => {
                if access.is_read {
                    part_of_rax(access.bytes).write(&mut self.registers, u64::from(value));
                }
                self.step_to(access.next_rip);
            }
            Unfinished::StringPort(element) => self.unfinished = Unfinished::StringEnd { element, value },
            other => self.unfinished = other,
        }
    }

    /// Ends an element of a string whose port access is done.
    pub(super) fn finish_string(&mut self, guest: &dyn GuestRam) -> Option<Exit> {
        let Unfinished::StringEnd { element, value } = self.unfinished else {
            return None;
        };
        self.unfinished = Unfinished::Nothing;
        let ended = self.in_software(guest, |processor, bus| element.end(value, processor, bus));
        match self.conclude(ended) {
            Served::Again => None,
            Served::Exit(exit) => Some(exit),
        }
    }
}

const fn part_of_rax(bytes: u8) -> General {
    General {
        number: RAX,
        size: bytes,
        high: false,
    }
}
