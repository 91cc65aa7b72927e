//! What happens while a piece of code runs: written down by the handlers of interrupts and exceptions, read afterwards.

use core::fmt;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// As many events as a piece of code can have.
const MOST: usize = 24;

static EVENTS: [[AtomicU64; 4]; MOST] = [const { [const { AtomicU64::new(0) }; 4] }; MOST];
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// One exception or interrupt.
#[derive(Clone, Copy)]
pub struct Event {
    /// Its vector.
    pub vector: u64,
    /// Its error code; 0 for one without.
    pub code: u64,
    /// Where it was, counted from the beginning of the code.
    pub at: u64,
    /// What else there is: DR6 of a debug exception, CR2 of a page fault.
    pub word: u64,
}

/// Forgets everything.
pub fn clear() {
    COUNT.store(0, Ordering::Relaxed);
}

/// Writes an event down; `false` when there are too many.
pub fn push(event: Event) -> bool {
    let place = COUNT.load(Ordering::Relaxed);
    let Some(slot) = EVENTS.get(place) else {
        return false;
    };
    let words = [event.vector, event.code, event.at, event.word];
    for (slot, word) in slot.iter().zip(words) {
        slot.store(word, Ordering::Relaxed);
    }
    COUNT.store(place + 1, Ordering::Relaxed);
    true
}

/// How many events of this vector there were.
pub fn count_of(vector: u64) -> usize {
    events().filter(|event| event.vector == vector).count()
}

/// All that was written down, in order.
pub fn events() -> impl Iterator<Item = Event> {
    EVENTS[..COUNT.load(Ordering::Relaxed)].iter().map(|slot| {
        let [vector, code, at, word] = [0, 1, 2, 3].map(|place: usize| slot[place].load(Ordering::Relaxed));
        Event {
            vector,
            code,
            at,
            word,
        }
    })
}

impl fmt::Display for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 20] = [
            "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9", "#TS", "#NP", "#SS", "#GP",
            "#PF", "15", "#MF", "#AC", "#MC", "#XM",
        ];
        match NAMES.get(self.vector as usize) {
            Some(name) => out.write_str(name)?,
            None => write!(out, "interrupt {:#x}", self.vector)?,
        }
        if matches!(self.vector, 8 | 10..=14 | 17) {
            write!(out, "({:#x})", self.code)?;
        }
        // An NMI may come while a handler runs, whose place is not the code's.
        if self.at < 0x1000 {
            write!(out, " at +{}", self.at)?;
        } else {
            out.write_str(" elsewhere")?;
        }
        match self.vector {
            1 => write!(out, " dr6={:#x}", self.word),
            14 => write!(out, " cr2={:#x}", self.word),
            _ => Ok(()),
        }
    }
}
