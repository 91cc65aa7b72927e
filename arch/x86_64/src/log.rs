//! The host's log: defmt frames on the debug port 0xE9, decoded outside of the machine.
//!
//! A frame goes out whole: it is written with interrupts off and under a lock. Where no debug port answers
//! (anything but an emulator) frames are dropped. Each line that concerns a domain begins with [`Concerning`],
//! which reads `d1: ` in the decoded text.
//!
//! It must never be used while the host reports its own end: that goes to COM1, in plain text.

use core::fmt::{self, Write};

use heapless::String;
use xenvisor_core::machine::Level;
use xenvisor_core::number::DomainId;

/// The domain a line concerns, at its beginning; nothing where it concerns the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Concerning(pub Option<DomainId>);

impl defmt::Format for Concerning {
    fn format(&self, out: defmt::Formatter<'_>) {
        if let Some(domain) = self.0 {
            defmt::write!(out, "d{=u16}: ", domain.raw());
        }
    }
}

/// Longest line from above; the rest of a longer one is cut off.
const LINE: usize = 512;

/// A line that is cut off where there is no more room.
struct Line(String<LINE>);

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            self.0.push(character).map_err(|_| fmt::Error)?;
        }
        Ok(())
    }
}

/// Logs a line that was put together above, where defmt is not known.
pub fn line(level: Level, domain: Option<DomainId>, text: fmt::Arguments<'_>) {
    let mut line = Line(String::new());
    // A line that is too long is cut, and still worth logging.
    let _ = line.write_fmt(text);
    let (domain, text) = (Concerning(domain), line.0.as_str());
    match level {
        Level::Trace => defmt::trace!("{}{=str}", domain, text),
        Level::Debug => defmt::debug!("{}{=str}", domain, text),
        Level::Info => defmt::info!("{}{=str}", domain, text),
        Level::Warn => defmt::warn!("{}{=str}", domain, text),
        Level::Error => defmt::error!("{}{=str}", domain, text),
    }
}

#[cfg(target_os = "none")]
mod port {
    //! The way out: the debug port.

    use core::cell::UnsafeCell;
    use core::sync::atomic::{AtomicBool, Ordering};

    use defmt::Encoder;
    use x86::bits64::rflags::{self, RFlags};
    use x86::io::inb;

    /// QEMU's `-debugcon` and Bochs' "port E9 hack". Both answer a read with the port's own number.
    const DEBUG_PORT: u16 = 0xe9;

    struct Port {
        held: AtomicBool,
        there: AtomicBool,
        inner: UnsafeCell<Inner>,
    }

    struct Inner {
        encoder: Encoder,
        interrupts_were_on: bool,
    }

    // SAFETY: `inner` is touched only by whoever holds `held`.
    unsafe impl Sync for Port {}

    static PORT: Port = Port {
        held: AtomicBool::new(false),
        there: AtomicBool::new(false),
        inner: UnsafeCell::new(Inner {
            encoder: Encoder::new(),
            interrupts_were_on: false,
        }),
    };

    /// Looks whether there is a debug port.
    pub(crate) fn initialise() {
        // SAFETY: nothing but a debug console is known at this port; a read changes nothing.
        let answer = unsafe { inb(DEBUG_PORT) };
        PORT.there
            .store(u16::from(answer) == DEBUG_PORT, Ordering::Release);
    }

    /// Whether there is one: only emulators have it.
    pub(crate) fn debug_port() -> bool {
        PORT.there.load(Ordering::Acquire)
    }

    fn send(bytes: &[u8]) {
        if !debug_port() {
            return;
        }
        // SAFETY: writes `bytes`, which are readable for their length, to a debug port that answered.
        unsafe {
            core::arch::asm!(
                "rep outsb",
                inout("rsi") bytes.as_ptr() => _,
                inout("rcx") bytes.len() => _,
                in("dx") DEBUG_PORT,
                options(nostack, preserves_flags, readonly)
            );
        }
    }

    /// Says how the machine ends, between zeros as frames are. Whoever held the port will not go on, so it is not waited
    /// for: what it had begun is a frame cut short.
    pub(crate) fn last_words(words: &[u8], value: u8) {
        send(&[0]);
        send(words);
        send(&[value, 0]);
    }

    /// What defmt's macros write through.
    #[defmt::global_logger]
    struct Logger;

    // SAFETY: `acquire` takes a lock with interrupts off and `release` gives both back, so one frame is
    // written at a time, and no handler on this processor can come in between.
    unsafe impl defmt::Logger for Logger {
        fn acquire() {
            let were_on = rflags::read().contains(RFlags::FLAGS_IF);
            // SAFETY: we run at privilege level 0; interrupts come back in `release`.
            unsafe { x86::irq::disable() };
            while PORT.held.swap(true, Ordering::Acquire) {
                core::hint::spin_loop();
            }
            // SAFETY: `held` is ours now.
            let inner = unsafe { &mut *PORT.inner.get() };
            inner.interrupts_were_on = were_on;
            // A zero in front as well as behind: what an emulator of its own says between two frames, where both go to
            // the same place, is part of neither.
            send(&[0]);
            inner.encoder.start_frame(send);
        }

        unsafe fn flush() {}

        unsafe fn release() {
            // SAFETY: the caller has acquired, so `held` is ours.
            let inner = unsafe { &mut *PORT.inner.get() };
            inner.encoder.end_frame(send);
            let were_on = inner.interrupts_were_on;
            PORT.held.store(false, Ordering::Release);
            if were_on {
                // SAFETY: they were on when the frame began.
                unsafe { x86::irq::enable() };
            }
        }

        unsafe fn write(bytes: &[u8]) {
            // SAFETY: the caller has acquired, so `held` is ours.
            let inner = unsafe { &mut *PORT.inner.get() };
            inner.encoder.write(bytes, send);
        }
    }

    defmt::timestamp!("{=u64:us}", crate::time::clock::microseconds());
}

#[cfg(target_os = "none")]
pub(crate) use port::{debug_port, initialise, last_words};

#[cfg(test)]
mod nowhere {
    //! Tests log into nothing.

    #[defmt::global_logger]
    struct Logger;

    // SAFETY: nothing is kept, so there is nothing to protect.
    unsafe impl defmt::Logger for Logger {
        fn acquire() {}
        unsafe fn flush() {}
        unsafe fn release() {}
        unsafe fn write(_bytes: &[u8]) {}
    }

    defmt::timestamp!("");
}
