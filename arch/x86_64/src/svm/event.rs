//! Events as the control block writes them: EVENTINJ and EXITINTINFO (APM vol. 2 §15.20).

use xenvisor_core::number::Vector;

use crate::vcpu::event::Event;

const VALID: u64 = 1 << 31;
const HAS_CODE: u64 = 1 << 11;
/// Vectors below belong to exceptions.
const FIRST_INTERRUPT: u8 = 32;

/// The word for EVENTINJ.
#[must_use]
pub const fn encode(event: Event) -> u64 {
    let (vector, kind, code) = match event {
        Event::Interrupt(vector) => (vector.raw(), 0, None),
        Event::Nmi => (2, 2, None),
        Event::Exception { vector, code } => (vector, 3, code),
        Event::Software(vector) => (vector.raw(), 4, None),
    };
    let code = match code {
        Some(code) => (code as u64) << 32 | HAS_CODE,
        None => 0,
    };
    vector as u64 | kind << 8 | code | VALID
}

/// Whether a word for EVENTINJ is an interrupt from outside.
#[must_use]
pub fn is_interrupt(word: u64) -> bool {
    matches!(decode(word), Some(Event::Interrupt(_)))
}

/// The event in an EXITINTINFO word. QEMU's emulated processor (7.2) calls an interrupt an exception there when it came
/// from the virtual interrupt fields.
#[must_use]
pub fn decode_interrupted(word: u64) -> Option<Event> {
    match decode(word) {
        Some(Event::Exception { vector, .. }) if vector >= FIRST_INTERRUPT => {
            Some(Event::Interrupt(Vector::new(vector)))
        }
        other => other,
    }
}

/// The event in such a word; `None` where there is none.
#[must_use]
pub fn decode(word: u64) -> Option<Event> {
    if word & VALID == 0 {
        return None;
    }
    let [vector, _, _, _, a, b, c, d] = word.to_le_bytes();
    let code = (word & HAS_CODE != 0).then(|| u32::from_le_bytes([a, b, c, d]));
    match (word >> 8) & 7 {
        0 => Some(Event::Interrupt(Vector::new(vector))),
        2 => Some(Event::Nmi),
        3 => Some(Event::Exception { vector, code }),
        4 => Some(Event::Software(Vector::new(vector))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GP: Event = Event::Exception {
        vector: 13,
        code: Some(0),
    };

    #[test]
    fn every_event_survives_the_word_it_is_written_in() {
        for event in [
            Event::Interrupt(Vector::new(0xec)),
            Event::Nmi,
            GP,
            Event::Exception {
                vector: 6,
                code: None,
            },
            Event::Exception {
                vector: 14,
                code: Some(u32::MAX),
            },
            Event::Software(Vector::new(0x80)),
        ] {
            assert_eq!(decode(encode(event)), Some(event));
        }
        assert_eq!(encode(GP), 0x8000_0b0d);
        assert_eq!(decode(0x0000_0b0d), None);
        assert_eq!(decode(0x8000_0700), None, "a kind that does not exist");
        assert_eq!(decode_interrupted(0x8000_0b0d), Some(GP));
        assert_eq!(
            decode_interrupted(0x8000_03f3),
            Some(Event::Interrupt(Vector::new(0xf3)))
        );
    }
}
