//! The person's terminal while it is a guest's console: every key goes through, and it is given back as it was.
//!
//! Invariant: the terminal's settings are restored when this value goes, and by the signal handler's way out too.

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::IsTerminal;

/// A terminal in raw mode.
pub struct RawTerminal {
    before: Option<Termios>,
}

impl RawTerminal {
    /// Puts standard input into raw mode, if it is a terminal.
    pub fn enter() -> RawTerminal {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return RawTerminal { before: None };
        }
        let before = tcgetattr(&stdin).ok();
        if let Some(mut raw) = before.clone() {
            raw.make_raw();
            // A terminal that refuses stays usable, only line by line.
            let _ = tcsetattr(&stdin, OptionalActions::Flush, &raw);
        }
        RawTerminal { before }
    }

    /// Whether there is a terminal in raw mode, where a line end alone does not go back to the left.
    pub fn is_raw(&self) -> bool {
        self.before.is_some()
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, before);
        }
    }
}

/// Rows and columns of the person's terminal.
pub fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// What came of a few keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// What goes to the guest.
    pub typed: Vec<u8>,
    /// Whether the person wants to leave.
    pub quit: bool,
}

/// Finds Ctrl-A X (leave) and Ctrl-A Ctrl-A (one Ctrl-A) among what is typed.
#[derive(Debug, Default)]
pub struct Escape {
    pending: bool,
}

impl Escape {
    /// What to do about these keys.
    pub fn take(&mut self, keys: &[u8]) -> Keys {
        let mut typed = Vec::with_capacity(keys.len());
        for key in keys {
            match (self.pending, key) {
                (false, 0x01) => self.pending = true,
                (true, b'x' | b'X') => return Keys { typed, quit: true },
                (true, 0x01) => {
                    self.pending = false;
                    typed.push(0x01);
                }
                (true, other) => {
                    self.pending = false;
                    typed.extend([0x01, *other]);
                }
                (false, other) => typed.push(*other),
            }
        }
        Keys { typed, quit: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctrl_a_x_leaves_and_everything_else_reaches_the_guest() {
        let mut escape = Escape::default();
        assert_eq!(
            escape.take(b"ls\r\x01"),
            Keys {
                typed: b"ls\r".to_vec(),
                quit: false
            }
        );
        assert_eq!(
            escape.take(b"\x01e"),
            Keys {
                typed: b"\x01e".to_vec(),
                quit: false
            }
        );
        assert_eq!(
            escape.take(b"\x01b"),
            Keys {
                typed: b"\x01b".to_vec(),
                quit: false
            }
        );
        assert_eq!(
            escape.take(b"a\x01xb"),
            Keys {
                typed: b"a".to_vec(),
                quit: true
            }
        );
    }
}
