//! What a machine's console has said so far, and waiting for what it will say.
//!
//! Invariant: what was waited for once is not found a second time; the cursor only moves forward.

use crate::command::find;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// More than this is never kept; the oldest goes first.
const KEPT_BYTES: usize = 8 << 20;

#[derive(Debug, Default)]
struct Said {
    bytes: Vec<u8>,
    cursor: usize,
    closed: bool,
}

/// A console's transcript, shared between who reads it from the machine and who waits for words in it.
#[derive(Debug, Default)]
pub struct Console {
    said: Mutex<Said>,
    news: Condvar,
}

/// Why what was waited for did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The machine ended before.
    Closed,
    /// The time was over before.
    TimedOut,
}

impl Console {
    /// Adds what the machine said.
    pub fn push(&self, bytes: &[u8]) {
        let mut said = self.lock();
        said.bytes.extend_from_slice(bytes);
        let surplus = said.bytes.len().saturating_sub(KEPT_BYTES);
        // In large steps, so that each byte is moved a few times at most.
        if surplus > KEPT_BYTES / 2 {
            said.bytes.drain(..surplus);
            said.cursor = said.cursor.saturating_sub(surplus);
        }
        self.news.notify_all();
    }

    /// Nothing more will come.
    pub fn close(&self) {
        self.lock().closed = true;
        self.news.notify_all();
    }

    /// Waits until `text` is said after what was waited for last; answers with all from there to the end of `text`.
    pub fn wait_for(&self, text: &str, until: Option<Instant>) -> Result<String, Silence> {
        let mut said = self.lock();
        loop {
            let unseen = said.bytes.get(said.cursor..).unwrap_or_default();
            if let Some(at) = find(unseen, text.as_bytes()) {
                let end = at.saturating_add(text.len());
                let answer = String::from_utf8_lossy(unseen.get(..end).unwrap_or_default()).into_owned();
                said.cursor = said.cursor.saturating_add(end);
                return Ok(answer);
            }
            if said.closed {
                return Err(Silence::Closed);
            }
            let wait = match until {
                Some(until) => until.saturating_duration_since(Instant::now()),
                None => Duration::from_secs(3600),
            };
            if wait.is_zero() {
                return Err(Silence::TimedOut);
            }
            said = self
                .news
                .wait_timeout(said, wait)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits until nothing more will come; false when the time is over before.
    pub fn wait_closed(&self, until: Option<Instant>) -> bool {
        let mut said = self.lock();
        while !said.closed {
            let wait = until.map_or(Duration::from_secs(3600), |until| {
                until.saturating_duration_since(Instant::now())
            });
            if wait.is_zero() {
                return false;
            }
            said = self
                .news
                .wait_timeout(said, wait)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// All that was said and is still kept, byte for byte.
    pub fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// All that was said and is still kept.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock().bytes).into_owned()
    }

    /// The last `lines` lines, without those that only mark a command's output.
    pub fn tail(&self, lines: usize) -> String {
        let text = self.text();
        let all: Vec<&str> = text.lines().filter(|line| !line.starts_with('\u{1e}')).collect();
        all.get(all.len().saturating_sub(lines)..)
            .unwrap_or_default()
            .join("\n")
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_once_is_not_found_again() {
        let console = Console::default();
        console.push(b"one / # two / # ");
        assert_eq!(console.wait_for("/ # ", None).unwrap(), "one / # ");
        assert_eq!(console.wait_for("/ # ", None).unwrap(), "two / # ");
        assert_eq!(
            console.wait_for("/ # ", Some(Instant::now())),
            Err(Silence::TimedOut)
        );
        console.close();
        assert_eq!(console.wait_for("/ # ", None), Err(Silence::Closed));
    }

    #[test]
    fn the_oldest_is_dropped_and_the_newest_stays() {
        let console = Console::default();
        for _ in 0..40 {
            console.push(&vec![b'.'; 1 << 20]);
        }
        console.push(b"\nthe end");
        assert!(console.lock().bytes.len() <= KEPT_BYTES + KEPT_BYTES / 2);
        assert_eq!(console.tail(1), "the end");
    }
}
