//! Segment registers in the two forms they come in: with VMX's attributes, as the hardware contract writes them, and
//! packed into 12 bits, as the control block wants them (SDM vol. 3 §25.4.1; APM vol. 2 appendix B).

use xenvisor_core::vcpu::start::Segment;

use super::vmcb::SegmentState;

const UNUSABLE: u32 = 1 << 16;

/// The control block's form. An unusable segment is one that is not present.
#[must_use]
pub fn from_contract(segment: &Segment) -> SegmentState {
    let attributes = if segment.attributes & UNUSABLE != 0 {
        0
    } else {
        (segment.attributes & 0xff) | (segment.attributes >> 4 & 0xf00)
    };
    SegmentState {
        selector: segment.selector,
        attributes: u16::try_from(attributes).unwrap_or(0),
        limit: segment.limit,
        base: segment.base,
    }
}

/// The contract's form.
#[must_use]
pub fn to_contract(state: &SegmentState) -> Segment {
    let attributes = u32::from(state.attributes);
    Segment {
        selector: state.selector,
        attributes: (attributes & 0xff) | (attributes & 0xf00) << 4,
        limit: state.limit,
        base: state.base,
    }
}

/// Bit 9 of the attributes: 64-bit code.
pub const LONG: u16 = 1 << 9;
/// Bit 10: 32-bit code or stack.
pub const BIG: u16 = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flat_code_segment_of_a_pvh_start_becomes_what_the_manual_says() {
        let segment = Segment {
            selector: 8,
            attributes: 0xc09b,
            limit: u32::MAX,
            base: 0,
        };
        let state = from_contract(&segment);
        assert_eq!(state.attributes, 0xc9b);
        assert_eq!((state.selector, state.limit, state.base), (8, u32::MAX, 0));
        assert_eq!(to_contract(&state), segment);
    }

    #[test]
    fn an_unusable_segment_is_not_present() {
        let segment = Segment {
            attributes: 0x1_c093,
            ..Segment::default()
        };
        assert_eq!(from_contract(&segment).attributes, 0);
    }
}
