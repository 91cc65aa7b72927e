//! Has a long talk with its hypervisor and says the transcript: `area=events seed=1 calls=1000` on the command line.
#![cfg_attr(bare, no_std, no_main)]

use core::fmt;

use xenvisor_conversation::{Area, Speaker, hold};
use xenvisor_guests::prelude::*;
use xenvisor_guests::raw;

/// The transcript is kept until the talk is over, because saying it makes hypercalls too; behind the talk's own pages.
const TRANSCRIPT: u64 = 40 << 20;
/// Bytes there are for it.
const ROOM: u64 = 20 << 20;

struct Voice;

impl Speaker for Voice {
    fn call(&mut self, number: u32, arguments: [u64; 5]) -> i64 {
        raw::call(number, arguments)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        raw::write(at, bytes);
    }

    fn read(&mut self, at: u64, bytes: &mut [u8]) {
        raw::read(at, bytes);
    }
}

/// Writes the transcript down.
struct Pen(u64);

impl fmt::Write for Pen {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0 + text.len() as u64 > ROOM {
            return Err(fmt::Error);
        }
        raw::write(TRANSCRIPT + self.0, text.as_bytes());
        self.0 += text.len() as u64;
        Ok(())
    }
}

fn conversation(guest: &mut Guest) -> Shutdown {
    let words = || guest.command_line().split_ascii_whitespace();
    let word = |key: &str| words().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let number = |key: &str, otherwise| word(key).and_then(|word| word.parse().ok()).unwrap_or(otherwise);
    let (seed, calls) = (number("seed", 1), number("calls", 100));
    let Some(area) = word("area").and_then(Area::named) else {
        guest.say(format_args!("no such area: say area=events on the command line"));
        return Shutdown::Crash;
    };
    let mut pen = Pen(0);
    let calls = u32::try_from(calls).unwrap_or(u32::MAX);
    if hold(area, seed, calls, &mut Voice, &mut pen).is_err() {
        guest.say(format_args!("the transcript is too long"));
        return Shutdown::Crash;
    }
    let mut line = [0; 1024];
    let mut length = 0;
    for at in 0..pen.0 {
        let mut byte = [0];
        raw::read(TRANSCRIPT + at, &mut byte);
        let [byte] = byte;
        if byte == b'\n' || length == line.len() {
            let text = line
                .get(..length)
                .and_then(|line| core::str::from_utf8(line).ok());
            guest.say(format_args!("| {}", text.unwrap_or("?")));
            length = 0;
        } else if let Some(place) = line.get_mut(length) {
            *place = byte;
            length += 1;
        }
    }
    guest.say(format_args!("that was {} of seed {seed}", area.name()));
    Shutdown::PowerOff
}

xenvisor_guests::guest!(conversation);
