//! For tests: a control structure on the heap, and a processor of 2015.

use std::collections::BTreeMap;

use super::capability::Capabilities;
use super::fields::{Fields, name};

/// A control structure that knows the fields that were written. Reading another one is a test's mistake: the processor
/// has something there, and nobody can say what.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Structure {
    fields: BTreeMap<u32, u64>,
}

impl Structure {
    /// How many fields were written.
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    /// Sets bits of a field.
    pub(crate) fn or(&mut self, field: u32, bits: u64) {
        self.set(field, self.get(field) | bits);
    }

    /// Clears bits of a field.
    pub(crate) fn clear(&mut self, field: u32, bits: u64) {
        self.set(field, self.get(field) & !bits);
    }
}

impl Fields for Structure {
    fn get(&self, field: u32) -> u64 {
        match self.fields.get(&field) {
            Some(value) => *value,
            None => panic!("{} ({field:#x}) was never written", name(field)),
        }
    }

    fn set(&mut self, field: u32, value: u64) {
        // The width is in bits 14:13 of the encoding: 16, 64, 32 bits, natural.
        let mask = match field >> 13 & 3 {
            0 => 0xffff,
            2 => 0xffff_ffff,
            _ => u64::MAX,
        };
        self.fields.insert(field, value & mask);
    }
}

/// The MSRs of a desktop processor of the sixth generation.
#[rustfmt::skip]
pub(crate) fn processor(msr: u32) -> u64 {
    match msr {
        0x03a => 5,
        0x480 => 0x00da_0400_0000_0004,
        0x481 => 0x0000_007f_0000_0016,
        0x482 => 0xfff9_fffe_0401_e172,
        0x483 => 0x01ff_ffff_0003_6dff,
        0x484 => 0x0003_ffff_0000_11ff,
        0x485 => 0x0000_0000_7004_c1e7,
        0x486 => 0x0000_0000_8000_0021,
        0x487 => 0x0000_0000_ffff_ffff,
        0x488 => 0x0000_0000_0000_2000,
        0x489 => 0x0000_0000_0037_67ff,
        0x48b => 0x005f_fcff_0000_0000,
        0x48c => 0x0000_0f01_0673_4141,
        0x48d => 0x0000_007f_0000_0016,
        0x48e => 0xfff9_fffe_0400_6172,
        0x48f => 0x01ff_ffff_0003_6dfb,
        0x490 => 0x0003_ffff_0000_11fb,
        0x491 => 1,
        _ => panic!("the processor has no MSR {msr:#x}"),
    }
}

/// What that processor can do.
pub(crate) fn capabilities() -> Capabilities {
    Capabilities::read(processor)
        .expect("the processor has VMX")
        .with_widths(39, 48)
}
