//! A guest's handle where there is no guest: the same verbs, so that guests compile, and nobody to call them.

use core::fmt;
use core::sync::atomic::AtomicU32;

use crate::{Paging, Refused, Shutdown, Way};

/// See the crate's header.
pub struct Guest(());

/// Another domain's page, mapped here.
#[derive(Debug)]
pub struct Mapping(());

/// What another vcpu would run.
pub type Entry = extern "C" fn() -> !;

/// The end of another vcpu.
pub fn vcpu_is_done(_number: u32) -> ! {
    std::process::exit(1)
}

static NOWHERE: AtomicU32 = AtomicU32::new(0);

#[expect(missing_docs, reason = "as on the bare machine, where they are documented")]
impl Mapping {
    pub fn word(&self, _offset: usize) -> &AtomicU32 {
        &NOWHERE
    }
}

#[expect(missing_docs, reason = "as on the bare machine, where they are documented")]
impl Guest {
    pub fn bits(&self) -> u32 {
        usize::BITS
    }
    pub fn call_by(&self, _way: Way) {}
    pub fn turn_on_paging(&self, _paging: Paging) {}
    pub fn say(&mut self, _line: fmt::Arguments<'_>) {}
    pub fn log(&self, _line: fmt::Arguments<'_>) {}
    pub fn command_line(&self) -> &'static str {
        ""
    }
    pub fn word(&self, _key: &str) -> Option<&'static str> {
        None
    }
    pub fn option(&self, _key: &str) -> Option<u16> {
        None
    }
    pub fn allocate_port(&self, _remote: u16) -> Result<u32, i64> {
        Err(0)
    }
    pub fn bind_port(&self, _remote: u16, _port: u32) -> Result<u32, i64> {
        Err(0)
    }
    pub fn send(&self, _port: u32) -> Result<(), i64> {
        Err(0)
    }
    pub fn mask(&self, _port: u32, _masked: bool) {}
    pub fn take(&self, _port: u32) -> bool {
        false
    }
    pub fn wait(&self, _port: u32) {}
    pub fn listen(&self, _vector: u8) -> Result<(), i64> {
        Err(0)
    }
    pub fn listen_past_the_apic(&self, _vector: u8) -> Result<(), i64> {
        Err(0)
    }
    pub fn wait_for_upcall(&self, _port: u32) {}
    pub fn upcalls(&self) -> u32 {
        0
    }
    pub fn yield_now(&self) {}
    pub fn offer_page(&self, _reference: u32, _to: u16) -> Result<(), i64> {
        Err(0)
    }
    pub fn offered_word(&self, _offset: usize) -> &'static AtomicU32 {
        &NOWHERE
    }
    pub fn map_offer(&self, _of: u16, _reference: u32) -> Result<Mapping, Refused> {
        Err(Refused::Call(0))
    }
    pub fn unmap(&self, _mapping: Mapping) -> Result<(), Refused> {
        Err(Refused::Call(0))
    }
    pub fn copy_word(&self, _of: u16, _reference: u32, _offset: u16) -> Result<u32, Refused> {
        Err(Refused::Call(0))
    }
    pub fn map_offer_to_read(&self, _of: u16, _reference: u32) -> Result<(), Refused> {
        Err(Refused::Call(0))
    }
    pub fn frames_of(&self, _domain: u16) -> Result<i64, i64> {
        Err(0)
    }
    pub fn shut_down_another(&self, _domain: u16) -> Result<i64, i64> {
        Err(0)
    }
    pub fn write_to_host(&self, _text: &str) -> Result<i64, i64> {
        Err(0)
    }
    pub fn sleep_ns(&self, _ns: u64) {}
    pub fn now_ns(&self) -> u64 {
        0
    }
    pub fn bind_timer(&self) -> Result<u32, i64> {
        Err(0)
    }
    pub fn set_timer(&self, _at_ns: u64) {}
    pub fn move_shared_info(&self) {}
    pub fn start_vcpu(&self, _number: u32, _entry: Entry) -> Result<(), i64> {
        Err(0)
    }
    pub fn vcpu_is_up(&self, _number: u32) -> Result<bool, i64> {
        Ok(false)
    }
    pub fn triple_fault(&self) -> ! {
        std::process::exit(1)
    }
    pub fn shut_down(&mut self, _how: Shutdown) -> ! {
        std::process::exit(1)
    }
}

#[expect(missing_docs, reason = "as on the bare machine, where they are documented")]
pub mod raw {
    pub fn call(_number: u32, _arguments: [u64; 5]) -> i64 {
        0
    }
    pub fn write(_at: u64, _bytes: &[u8]) {}
    pub fn read(_at: u64, _bytes: &mut [u8]) {}
}
