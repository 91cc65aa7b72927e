//! One command in the guest, and its output out of the console's stream.
//!
//! Process 1 puts marks into the stream, each a record separator, a nonce nobody can guess, and a letter: `B` the command
//! begins, `E` a line it wrote to standard error, `X` its status. Everything between the first and the last that is not a
//! mark is what it wrote to standard output, byte for byte.

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
    running: bool,
}

impl Unframer {
    /// For the stream with this nonce.
    pub fn new(nonce: &str) -> Unframer {
        let mut mark = vec![0x1e];
        mark.extend_from_slice(nonce.as_bytes());
        Unframer {
            mark,
            held: Vec::new(),
            running: false,
        }
    }

    /// What follows from the next `bytes` of the stream.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.held.extend_from_slice(bytes);
        let mut events = Vec::new();
        loop {
            let Some(at) = find(&self.held, &self.mark) else {
                // The end may be the first half of a mark.
                let keep = partial(&self.held, &self.mark);
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
        let bytes: Vec<u8> = self.held.drain(..count.min(self.held.len())).collect();
        if self.running && !bytes.is_empty() {
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
