//! One command in the guest, and its output out of the console's stream.
//!
//! Process 1 puts marks into the stream, each a record separator, a nonce nobody can guess, and a letter: `B` the command
//! begins, `E` a line it wrote to standard error, `X` its status. Everything between the first and the last that is not a
//! mark is what it wrote to standard output, byte for byte.
//!
//! The guest's kernel is told to be silent meanwhile, but its last words are not to be silenced, and they come over the
//! same console. So from the first thing that looks like a kernel's message on, output is held back until it is known
//! what it was: the command's, if the command ends, or the kernel's, if it does not.

use std::hash::{BuildHasher, RandomState};

/// A command for the guest.
#[derive(Clone, Debug)]
pub struct Command {
    words: Vec<String>,
    nonce: String,
}

impl Command {
    /// `words` as they were given: several are a program and its arguments, a single one is a line for the shell.
    pub fn new(words: &[String]) -> Command {
        let random = || RandomState::new().hash_one(std::process::id());
        Command {
            words: words.to_vec(),
            nonce: format!("{:016x}{:016x}", random(), random()),
        }
    }

    /// What no output contains by accident.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// The command as a shell script.
    pub fn script(&self) -> String {
        match self.words.as_slice() {
            [line] => format!("{line}\n"),
            words => {
                let quoted: Vec<String> = words
                    .iter()
                    .map(|word| format!("'{}'", word.replace('\'', "'\\''")))
                    .collect();
                format!("{}\n", quoted.join(" "))
            }
        }
    }
}

/// What the console's stream says about the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was started.
    Began,
    /// It wrote this to standard output.
    Output(Vec<u8>),
    /// It wrote this line to standard error.
    Error(Vec<u8>),
    /// It ended with this status.
    Ended(u8),
}

/// Takes the console's stream apart.
#[derive(Debug)]
pub struct Unframer {
    mark: Vec<u8>,
    held: Vec<u8>,
    /// What may be the kernel's; empty until something looks like it.
    doubtful: Vec<u8>,
    running: bool,
}

/// More than this is not the kernel's last words.
const DOUBTFUL_BYTES: usize = 1 << 20;

impl Unframer {
    /// For the stream with this nonce.
    pub fn new(nonce: &str) -> Unframer {
        let mut mark = vec![0x1e];
        mark.extend_from_slice(nonce.as_bytes());
        Unframer {
            mark,
            held: Vec::new(),
            doubtful: Vec::new(),
            running: false,
        }
    }

    /// What follows from the next `bytes` of the stream.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.held.extend_from_slice(bytes);
        let mut events = Vec::new();
        loop {
            let Some(at) = find(&self.held, &self.mark) else {
                // The end may be the first half of a mark, or of a kernel's message.
                let keep = partial(&self.held, &self.mark).max(partial_stamp(&self.held));
                let whole = self.held.len().saturating_sub(keep);
                self.release(whole, &mut events);
                return events;
            };
            self.release(at, &mut events);
            let after = self.held.get(self.mark.len()..).unwrap_or_default();
            let Some(line) = after.iter().position(|byte| *byte == b'\n') else {
                return events;
            };
            let line = after.get(..line).unwrap_or_default().to_vec();
            let used = self.mark.len().saturating_add(line.len()).saturating_add(1);
            self.held.drain(..used.min(self.held.len()));
            self.mark_seen(&line, &mut events);
        }
    }

    fn release(&mut self, count: usize, events: &mut Vec<Event>) {
        let mut bytes: Vec<u8> = self.held.drain(..count.min(self.held.len())).collect();
        if !self.running {
            return;
        }
        if self.doubtful.is_empty()
            && let Some(stamp) = find_stamp(&bytes)
        {
            self.doubtful = bytes.split_off(stamp);
        } else if !self.doubtful.is_empty() {
            self.doubtful.append(&mut bytes);
        }
        if self.doubtful.len() > DOUBTFUL_BYTES {
            bytes.append(&mut self.doubtful);
        }
        if !bytes.is_empty() {
            events.push(Event::Output(bytes));
        }
    }

    fn mark_seen(&mut self, line: &[u8], events: &mut Vec<Event>) {
        match line.split_first() {
            Some((b'B', _)) => {
                self.running = true;
                events.push(Event::Began);
            }
            Some((b'E', text)) => events.push(Event::Error(text.to_vec())),
            Some((b'X', status)) => {
                self.running = false;
                if !self.doubtful.is_empty() {
                    events.push(Event::Output(std::mem::take(&mut self.doubtful)));
                }
                let status = std::str::from_utf8(status)
                    .ok()
                    .and_then(|status| status.trim().parse().ok());
                events.push(Event::Ended(status.unwrap_or(1)));
            }
            _ => {}
        }
    }
}

/// Where `needle` begins in `hay`.
pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len().max(1))
        .position(|window| window == needle)
}

/// The longest time stamp of a kernel's message: `[12345.678901] `.
const STAMP_BYTES: usize = 24;

/// Where a kernel's message begins: at its time stamp, such as `[    1.759158] `.
fn find_stamp(bytes: &[u8]) -> Option<usize> {
    (0..bytes.len()).find(|at| stamp(bytes.get(*at..).unwrap_or_default()) == Stamp::Whole)
}

/// How many bytes at the end may begin a time stamp.
fn partial_stamp(bytes: &[u8]) -> usize {
    let first = bytes.len().saturating_sub(STAMP_BYTES);
    (first..bytes.len())
        .find(|at| stamp(bytes.get(*at..).unwrap_or_default()) == Stamp::Begun)
        .map_or(0, |at| bytes.len().saturating_sub(at))
}

#[derive(PartialEq, Eq)]
enum Stamp {
    None,
    Begun,
    Whole,
}

/// Whether `bytes` begin with a time stamp, or end before that can be told.
fn stamp(bytes: &[u8]) -> Stamp {
    let mut rest = bytes.iter().take(STAMP_BYTES).copied().peekable();
    if rest.next() != Some(b'[') {
        return Stamp::None;
    }
    while rest.next_if_eq(&b' ').is_some() {}
    let mut seconds = 0_u32;
    while rest.next_if(u8::is_ascii_digit).is_some() {
        seconds = seconds.saturating_add(1);
    }
    for expected in ['.', '0', '0', '0', '0', '0', '0', ']', ' '] {
        let fits = |byte: u8| {
            if expected == '0' {
                byte.is_ascii_digit()
            } else {
                char::from(byte) == expected
            }
        };
        match rest.next() {
            None => return Stamp::Begun,
            Some(byte) if seconds > 0 && fits(byte) => {}
            Some(_) => return Stamp::None,
        }
    }
    Stamp::Whole
}

/// How many bytes at the end of `hay` begin `needle`.
fn partial(hay: &[u8], needle: &[u8]) -> usize {
    (1..needle.len().min(hay.len().saturating_add(1)))
        .rev()
        .find(|length| needle.get(..*length).is_some_and(|start| hay.ends_with(start)))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        b"boot noise\r\n\x1enonceB\nxen\n\x1enonceEoh no\n\0\xff\x1enonc\x1enonceX3\nlater noise";

    fn collect(chunk: usize) -> (Vec<u8>, Vec<Vec<u8>>, Option<u8>) {
        let mut unframer = Unframer::new("nonce");
        let (mut output, mut errors, mut status) = (Vec::new(), Vec::new(), None);
        for bytes in STREAM.chunks(chunk) {
            for event in unframer.take(bytes) {
                match event {
                    Event::Began => {}
                    Event::Output(bytes) => output.extend(bytes),
                    Event::Error(line) => errors.push(line),
                    Event::Ended(with) => status = Some(with),
                }
            }
        }
        (output, errors, status)
    }

    #[test]
    fn output_comes_back_byte_for_byte_however_the_stream_is_cut() {
        for chunk in 1..STREAM.len() {
            let (output, errors, status) = collect(chunk);
            assert_eq!(output, b"xen\n\0\xff\x1enonc", "in chunks of {chunk}");
            assert_eq!(errors, [b"oh no".to_vec()], "in chunks of {chunk}");
            assert_eq!(status, Some(3), "in chunks of {chunk}");
        }
    }

    fn output(stream: &[u8], chunk: usize) -> Vec<u8> {
        let mut unframer = Unframer::new("nonce");
        let events = stream
            .chunks(chunk)
            .flat_map(|bytes| unframer.take(bytes))
            .collect::<Vec<_>>();
        events
            .into_iter()
            .filter_map(|event| {
                if let Event::Output(bytes) = event {
                    Some(bytes)
                } else {
                    None
                }
            })
            .flatten()
            .collect()
    }

    #[test]
    fn a_dying_kernels_last_words_are_not_the_commands_output() {
        let stream = b"\x1enonceBhalf a li\n[7[    1.759158] Kernel panic - not syncing\r\n[    1.76] gone";
        let stream = [&stream[..7], b"\n", &stream[7..]].concat();
        for chunk in 1..stream.len() {
            assert_eq!(output(&stream, chunk), b"half a li\n[7", "in chunks of {chunk}");
        }
    }

    #[test]
    fn a_command_that_prints_the_kernels_log_prints_all_of_it() {
        let stream = b"\x1enonceB\n[    0.000000] Linux version 6.1\n[12345.678901] ready\n\x1enonceX0\n";
        for chunk in 1..stream.len() {
            let expected = b"[    0.000000] Linux version 6.1\n[12345.678901] ready\n";
            assert_eq!(output(stream, chunk), expected, "in chunks of {chunk}");
        }
    }

    #[test]
    fn several_words_reach_the_guest_as_they_are_and_a_single_one_is_a_shell_line() {
        let script = |words: &[&str]| {
            Command::new(&words.iter().map(ToString::to_string).collect::<Vec<_>>()).script()
        };
        assert_eq!(script(&["echo", "it's", "$HOME"]), "'echo' 'it'\\''s' '$HOME'\n");
        assert_eq!(
            script(&["cat /proc/cpuinfo | head"]),
            "cat /proc/cpuinfo | head\n"
        );
    }

    #[test]
    fn no_two_commands_share_a_nonce() {
        assert_ne!(Command::new(&[]).nonce(), Command::new(&[]).nonce());
    }
}
