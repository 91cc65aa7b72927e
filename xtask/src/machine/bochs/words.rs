//! What Bochs says on its standard output: words of its own, frames of the host's log in between, and at last the
//! verdict.
//!
//! Bochs writes each byte that the debug port takes to its standard output, where its own messages and its debugger's go
//! as well. A frame stands between two zero bytes of its own, and there is no zero in it; what Bochs says comes before a
//! first zero or after a second one. A frame that was cut short makes the next one unreadable, but not the verdict.

use crate::machine::Ending;

/// How the image's last words begin: the verdict's value follows. No frame of the log is like that.
const VERDICT: &[u8] = b"xenvisor ends with ";

/// Takes Bochs's output apart.
#[derive(Debug, Default)]
pub struct Words {
    /// Whether a zero has opened a frame that none has closed.
    inside: bool,
    piece: Vec<u8>,
    verdict: Option<u8>,
}

impl Words {
    /// What of these bytes is the log: whole frames, each with the zero behind it.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut log = Vec::new();
        for byte in bytes {
            if *byte != 0 {
                self.piece.push(*byte);
                continue;
            }
            let piece = std::mem::take(&mut self.piece);
            if let Some([verdict]) = piece.strip_prefix(VERDICT) {
                self.verdict = Some(*verdict);
                self.inside = false;
            } else if !self.inside {
                self.inside = true;
            } else if !piece.is_empty() {
                log.extend_from_slice(&piece);
                log.push(0);
                self.inside = false;
            }
        }
        log
    }

    /// The verdict, if it was among what was taken.
    pub fn verdict(&self) -> Option<u8> {
        self.verdict
    }
}

/// What the image means by this verdict. The values are those with which it ends QEMU.
pub fn meaning(verdict: u8) -> Option<Ending> {
    match verdict {
        0x10 => Some(Ending::GuestsEnded),
        0x11 => Some(Ending::GuestCrashed),
        0x12 => Some(Ending::HostFailed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_and_bochss_own_words_do_not() {
        let mut words = Words::default();
        assert_eq!(words.take(b"Bochs x86 Emulator\n\0\0"), b"");
        assert_eq!(words.take(b"abc"), b"");
        assert_eq!(words.take(b"d\0\0e\0CPU 0: shutdown\n\0f"), b"abcd\0e\0");
        assert_eq!(words.take(b"\0"), b"f\0");
        assert_eq!(words.verdict(), None);
        assert_eq!(words.take(b"\0xenvisor ends with \x11\0Next at t=3\n"), b"");
        assert_eq!(words.verdict(), Some(0x11));
    }

    #[test]
    fn the_verdict_is_heard_behind_a_frame_that_was_cut_short() {
        let mut words = Words::default();
        words.take(b"\0whole\0\0half a");
        words.take(b"\0xenvisor ends with \x12\0");
        assert_eq!(words.verdict(), Some(0x12));
        let mut words = Words::default();
        words.take(b"\0whole\0Bochs says\0xenvisor ends with \x12\0");
        assert_eq!(words.verdict(), Some(0x12));
    }

    #[test]
    fn a_verdict_nobody_gives_means_nothing() {
        assert_eq!(meaning(0x10), Some(Ending::GuestsEnded));
        assert_eq!(meaning(0x11), Some(Ending::GuestCrashed));
        assert_eq!(meaning(0x12), Some(Ending::HostFailed));
        assert_eq!(meaning(b'1'), None);
    }
}
