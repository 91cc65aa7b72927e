//! The guest's Xen console: a ring, and an event that says that there is something in it.

use core::fmt;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, Ordering};

use xenvisor_abi::event_channel::{EVTCHNOP_send, Send};
use xenvisor_abi::hvm::params::{HVM_PARAM_CONSOLE_EVTCHN, HVM_PARAM_CONSOLE_PFN};
use xenvisor_abi::io::console::Interface;
use xenvisor_abi::xen::{HYPERVISOR_event_channel_op, HYPERVISOR_sched_op};

use crate::guest::param;
use crate::hypercall;

const OUTPUT: u32 = 2048;

/// The guest's side of its console.
pub(crate) struct Console {
    page: usize,
    port: u32,
}

impl Console {
    /// `None` where the guest has no console.
    pub(crate) fn open() -> Option<Self> {
        let page = param(HVM_PARAM_CONSOLE_PFN).ok()?;
        let port = param(HVM_PARAM_CONSOLE_EVTCHN).ok()?;
        (page != 0).then_some(Self {
            page: (page << 12) as usize,
            port: port as u32,
        })
    }

    fn index(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: the console page is mapped to itself for as long as the guest runs, and its indices are aligned.
        unsafe { AtomicU32::from_ptr(core::ptr::with_exposed_provenance_mut(self.page + offset)) }
    }

    fn left(&self) -> u32 {
        let (consumer, producer) = (offset_of!(Interface, out_cons), offset_of!(Interface, out_prod));
        let written = self.index(producer).load(Ordering::Acquire);
        written.wrapping_sub(self.index(consumer).load(Ordering::Acquire))
    }

    /// Waits until everything was taken.
    pub(crate) fn flush(&mut self) {
        while self.left() > 0 {
            self.signal();
            hypercall::call(
                HYPERVISOR_sched_op,
                [xenvisor_abi::sched::SCHEDOP_yield.into(), 0, 0, 0, 0],
            );
        }
    }

    fn signal(&self) {
        hypercall::with(
            HYPERVISOR_event_channel_op,
            EVTCHNOP_send,
            &mut Send { port: self.port },
        );
    }
}

/// A line that is being written; what does not fit is cut.
pub(crate) struct Line {
    bytes: [u8; Self::LONGEST],
    used: usize,
}

impl Line {
    const LONGEST: usize = 512;
    const END: &str = "\r\n";

    /// An empty one.
    pub(crate) const fn new() -> Self {
        Self {
            bytes: [0; Self::LONGEST],
            used: 0,
        }
    }

    /// The whole, with its end.
    pub(crate) fn end(&mut self) -> &str {
        let end = self.used + Self::END.len();
        self.bytes[self.used..end].copy_from_slice(Self::END.as_bytes());
        core::str::from_utf8(&self.bytes[..end]).unwrap_or(Self::END)
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = Self::LONGEST - Self::END.len() - self.used;
        let taken = text.floor_char_boundary(room);
        self.bytes[self.used..self.used + taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.used += taken;
        if taken < text.len() {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let producer = offset_of!(Interface, out_prod);
        for byte in text.bytes() {
            if self.left() >= OUTPUT {
                self.flush();
            }
            let at = self.index(producer).load(Ordering::Relaxed);
            let place = self.page + offset_of!(Interface, output) + (at % OUTPUT) as usize;
            // SAFETY: a byte of the ring in the console page, which the other side only reads.
            unsafe { core::ptr::with_exposed_provenance_mut::<u8>(place).write_volatile(byte) };
            self.index(producer).store(at.wrapping_add(1), Ordering::Release);
        }
        self.signal();
        Ok(())
    }
}
