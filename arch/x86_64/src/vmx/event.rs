//! Events as the control structure writes them: VM-entry interruption information, IDT-vectoring information and
//! VM-exit interruption information have one form (SDM vol. 3 §25.8.3, §25.9.2, §25.9.3).

use xenvisor_core::number::Vector;

use super::fields::low_half;
use crate::vcpu::event::Event;

const VALID: u32 = 1 << 31;
const HAS_CODE: u32 = 1 << 11;
const NMI: u8 = 2;

/// The types of events.
pub(super) mod kind {
    /// An interrupt from outside.
    pub const INTERRUPT: u32 = 0;
    /// A non-maskable interrupt.
    pub const NMI: u32 = 2;
    /// An exception of the processor's own.
    pub const EXCEPTION: u32 = 3;
    /// INT n.
    pub const SOFTWARE_INTERRUPT: u32 = 4;
    /// INT1.
    pub const PRIVILEGED_SOFTWARE_EXCEPTION: u32 = 5;
    /// INT3 and INTO.
    pub const SOFTWARE_EXCEPTION: u32 = 6;
}

/// The VM-entry interruption information for an event, and the error code that goes with it. INT n needs the length of
/// its instruction besides.
#[must_use]
pub const fn encode(event: Event) -> (u32, Option<u32>) {
    let (vector, kind, code) = match event {
        Event::Interrupt(vector) => (vector.raw(), kind::INTERRUPT, None),
        Event::Nmi => (NMI, kind::NMI, None),
        Event::Exception { vector, code } => (vector, kind::EXCEPTION, code),
        Event::Software(vector) => (vector.raw(), kind::SOFTWARE_INTERRUPT, None),
    };
    let has_code = if code.is_some() { HAS_CODE } else { 0 };
    (vector as u32 | kind << 8 | has_code | VALID, code)
}

/// The event in an information word; `None` where there is none. `code` reads the error code that goes with it.
/// INT1, INT3 and INTO come out as the guest's own instructions, which [`Event::to_deliver_again`] leaves to it.
#[must_use]
pub fn decode(word: u64, code: impl FnOnce() -> u64) -> Option<Event> {
    let word = low_half(word);
    if word & VALID == 0 {
        return None;
    }
    let [vector, ..] = word.to_le_bytes();
    match kind_of(word) {
        kind::INTERRUPT => Some(Event::Interrupt(Vector::new(vector))),
        kind::NMI => Some(Event::Nmi),
        kind::EXCEPTION => Some(Event::Exception {
            vector,
            code: (word & HAS_CODE != 0).then(|| low_half(code())),
        }),
        kind::SOFTWARE_INTERRUPT | kind::PRIVILEGED_SOFTWARE_EXCEPTION | kind::SOFTWARE_EXCEPTION => {
            Some(Event::Software(Vector::new(vector)))
        }
        _ => None,
    }
}

/// The type in an information word.
#[must_use]
pub(super) const fn kind_of(word: u32) -> u32 {
    word >> 8 & 7
}

#[cfg(test)]
mod tests {
    use super::*;

    const GP: Event = Event::Exception {
        vector: 13,
        code: Some(0x18),
    };

    #[test]
    fn every_event_survives_the_words_it_is_written_in() {
        for event in [
            Event::Interrupt(Vector::new(0xec)),
            Event::Nmi,
            GP,
            Event::Exception {
                vector: 6,
                code: None,
            },
            Event::Software(Vector::new(0x80)),
        ] {
            let (word, code) = encode(event);
            assert_eq!(decode(u64::from(word), || u64::from(code.unwrap())), Some(event));
        }
    }

    #[test]
    fn the_words_are_what_the_manual_says() {
        assert_eq!(encode(Event::Interrupt(Vector::new(0x30))), (0x8000_0030, None));
        assert_eq!(encode(Event::Nmi), (0x8000_0202, None));
        assert_eq!(encode(GP), (0x8000_0b0d, Some(0x18)));
    }

    #[test]
    fn a_word_that_is_not_valid_or_of_no_kind_is_no_event() {
        assert_eq!(decode(0x0b0d, || 0), None);
        for kind in [1, 7] {
            assert_eq!(decode(0x8000_0000 | kind << 8, || 0), None);
        }
    }

    #[test]
    fn what_the_guest_does_again_by_itself_is_not_delivered_again() {
        // INT 0x80, INT1, INT3, INTO.
        for word in [0x8000_0480, 0x8000_0501, 0x8000_0603, 0x8000_0604] {
            let event = decode(word, || 0).unwrap();
            assert_eq!(event.to_deliver_again(), None, "{word:#x}");
        }
        let fault = decode(0x8000_0b0e, || 6).unwrap();
        assert_eq!(fault.to_deliver_again(), Some(fault));
    }
}
