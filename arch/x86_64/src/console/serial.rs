//! COM1, a 16550: 115200 baud, 8 data bits, no parity.
//!
//! Sending polls, with the FIFO filled 16 bytes at a time; receiving is by interrupt into a ring, so that a
//! person can type while a guest runs. Bytes that find the ring full are lost, like on any serial line.
//! Lock: its own, taken with interrupts off; only a report of the host's own end goes around it.
//!
//! Source: National Semiconductor PC16550D data sheet, 1995.

use core::fmt;
use core::hint::spin_loop;

use heapless::Deque;
use spin::Mutex;
use x86::io::{inb, outb};

use crate::host::interrupts::without_interrupts;

/// First port of COM1.
const COM1: u16 = 0x3f8;
/// The ISA interrupt COM1 raises.
pub const COM1_IRQ: u8 = 4;

/// Registers, as offsets from the first port.
const DATA: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;

const RECEIVED: u8 = 1 << 0;
const TRANSMITTER_EMPTY: u8 = 1 << 5;
const FIFO_BYTES: usize = 16;
/// How often an unready transmitter is asked before its byte is given up: a line that is not there must not
/// stop the machine.
const PATIENCE: u32 = 1_000_000;

/// Typed bytes waiting to be read.
const RING: usize = 1024;

/// The serial line.
pub struct Serial {
    received: Mutex<Deque<u8, RING>>,
    sending: Mutex<()>,
}

impl Default for Serial {
    fn default() -> Self {
        Self::new()
    }
}

impl Serial {
    /// A line on which nothing has been received.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            received: Mutex::new(Deque::new()),
            sending: Mutex::new(()),
        }
    }

    /// Sets the line up, without interrupts.
    pub(crate) fn initialise(&self) {
        const DIVISOR_LATCH: u8 = 0x80;
        const EIGHT_BITS: u8 = 0x03;
        const FIFO_ON_AND_CLEAR: u8 = 0x07;
        const READY_AND_INTERRUPTS_OUT: u8 = 0x0b;
        for (register, value) in [
            (INTERRUPT_ENABLE, 0),
            (LINE_CONTROL, DIVISOR_LATCH),
            (DATA, 1), // divisor 1: 115200 baud
            (INTERRUPT_ENABLE, 0),
            (LINE_CONTROL, EIGHT_BITS),
            (FIFO_CONTROL, FIFO_ON_AND_CLEAR),
            (MODEM_CONTROL, READY_AND_INTERRUPTS_OUT),
        ] {
            write(register, value);
        }
    }

    /// Lets received bytes interrupt. The interrupt must be routed by now.
    pub(crate) fn enable_receiving(&self) {
        write(INTERRUPT_ENABLE, 1);
        self.receive();
    }

    /// Takes what has arrived off the line. Called by the interrupt, and harmless at any time.
    pub(crate) fn receive(&self) {
        without_interrupts(|| {
            let mut ring = self.received.lock();
            // A line that is not there reads all ones for ever: no more than the ring holds per call.
            for _ in 0..RING {
                let status = read(LINE_STATUS);
                if status & RECEIVED == 0 || status == 0xff {
                    break;
                }
                // A full ring loses the byte, as the line itself would.
                let _ = ring.push_back(read(DATA));
            }
        });
    }

    /// The next byte that was typed.
    pub fn read(&self) -> Option<u8> {
        without_interrupts(|| self.received.lock().pop_front())
    }

    /// Sends bytes, as they are.
    pub fn write(&self, bytes: &[u8]) {
        without_interrupts(|| {
            let _turn = self.sending.lock();
            send(bytes);
        });
    }
}

/// Waits until the last byte has left, as long as that may take: about 1.5 ms for a full FIFO.
pub(crate) fn drain() {
    const IDLE: u8 = 1 << 6;
    let mut patience = PATIENCE;
    while read(LINE_STATUS) & IDLE == 0 && patience != 0 {
        patience -= 1;
        spin_loop();
    }
}

/// The line without its lock: for the last words of a machine that is ending anyway.
pub(crate) struct LastWords;

impl fmt::Write for LastWords {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for line in text.split_inclusive('\n') {
            match line.strip_suffix('\n') {
                Some(line) => {
                    send(line.as_bytes());
                    send(b"\r\n");
                }
                None => send(line.as_bytes()),
            }
        }
        Ok(())
    }
}

fn send(bytes: &[u8]) {
    for chunk in bytes.chunks(FIFO_BYTES) {
        let mut patience = PATIENCE;
        while read(LINE_STATUS) & TRANSMITTER_EMPTY == 0 && patience != 0 {
            patience -= 1;
            spin_loop();
        }
        for &byte in chunk {
            write(DATA, byte);
        }
    }
}

fn read(register: u16) -> u8 {
    // SAFETY: COM1's ports belong to this file alone; reading them disturbs nothing but the line itself.
    unsafe { inb(COM1 + register) }
}

fn write(register: u16, value: u8) {
    // SAFETY: COM1's ports belong to this file alone, and none of its registers reaches memory.
    unsafe { outb(COM1 + register, value) }
}
