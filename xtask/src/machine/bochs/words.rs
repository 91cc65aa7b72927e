//! What Bochs says on its standard output: words of its own, frames of the host's log in between, and at last the
//! verdict.
//!
//! Bochs writes each byte that the debug port takes to its standard output, where its own messages and its debugger's go
//! as well. A frame stands between two zero bytes, and there is no zero in it. Bochs's own words come before the first
//! frame and after the last one, for between them it has nothing to say.

use crate::machine::Ending;

/// How the image's last words begin: the verdict's value follows. No frame of the log is like that.
const VERDICT: &[u8] = b"xenvisor ends with ";

/// Takes Bochs's output apart.
#[derive(Debug, Default)]
pub struct Words {
    began: bool,
    frame: Vec<u8>,
    verdict: Option<u8>,
}

impl Words {
    /// What of these bytes is the log: whole frames, each with the zero behind it.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut log = Vec::new();
        for byte in bytes {
            if *byte != 0 {
                self.frame.push(*byte);
                continue;
            }
            let frame = std::mem::take(&mut self.frame);
            if !std::mem::replace(&mut self.began, true) {
                continue;
            }
            match frame.strip_prefix(VERDICT) {
                Some([verdict]) => self.verdict = Some(*verdict),
                _ => {
                    log.extend_from_slice(&frame);
                    log.push(0);
                }
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
        assert_eq!(words.take(b"Bochs x86 Emulator\n\0"), b"");
        assert_eq!(words.take(b"abc"), b"");
        assert_eq!(words.take(b"d\0e\0f"), b"abcd\0e\0");
        assert_eq!(words.verdict(), None);
        assert_eq!(
            words.take(b"\0\0xenvisor ends with \x11\0Next at t=3\n"),
            b"f\0\0"
        );
        assert_eq!(words.verdict(), Some(0x11));
    }

    #[test]
    fn a_verdict_nobody_gives_means_nothing() {
        assert_eq!(meaning(0x10), Some(Ending::GuestsEnded));
        assert_eq!(meaning(0x11), Some(Ending::GuestCrashed));
        assert_eq!(meaning(0x12), Some(Ending::HostFailed));
        assert_eq!(meaning(b'1'), None);
    }
}
