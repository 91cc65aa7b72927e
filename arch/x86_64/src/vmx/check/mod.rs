//! What is wrong with a control structure: the rules that the processor enforces at entry, as a pure check.
//!
//! The processor only says that a control, the host's state or the guest's is not valid; this says which field and
//! why. Used in tests, and to explain such an exit in the log. SDM vol. 3 §27.2, §27.3.
//!
//! What fields do not show is not looked at: the priority in the virtual APIC page (the threshold may not be above it),
//! the lists of MSRs, the linked structure, PDPTEs in memory. Nor is state that no control of ours loads: counters,
//! processor trace, last branches, protection keys, shadow stacks, system management mode.

#[cfg(test)]
mod cases;
#[cfg(test)]
mod cases_by_register;
mod control;
mod event;
mod guest;
#[cfg(test)]
mod guests;
mod host;
mod rule;
mod segments;
mod state;

use core::fmt;

use x86::vmx::vmcs::control as control_field;
use x86::vmx::vmcs::control::{PrimaryControls, SecondaryControls};

use super::capability::Capabilities;
use super::fields::{Fields, low_half, name};
pub use rule::Rule;

/// A rule that a field breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wrong {
    /// The field.
    pub field: u32,
    /// What it is.
    pub value: u64,
    /// The rule.
    pub rule: Rule,
}

impl fmt::Display for Wrong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} is {:#x}, but {} (SDM vol. 3 §{})",
            name(self.field),
            self.value,
            self.rule.sentence(),
            self.rule.section()
        )
    }
}

/// Calls `report` for each rule that the structure breaks.
pub fn each_wrong(fields: &dyn Fields, capabilities: &Capabilities, report: &mut dyn FnMut(Wrong)) {
    let mut checker = Checker {
        fields,
        able: capabilities,
        report,
    };
    control::check(&mut checker);
    event::check(&mut checker);
    host::check(&mut checker);
    guest::check(&mut checker);
    segments::check(&mut checker);
    state::check(&mut checker);
}

/// Writes all that is wrong with a control structure, for a log line.
pub struct Explanation<'a> {
    /// The structure.
    pub fields: &'a dyn Fields,
    /// What the processor can do.
    pub capabilities: &'a Capabilities,
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut result = Ok(());
        let mut any = false;
        each_wrong(self.fields, self.capabilities, &mut |wrong| {
            let separator = if any { "; " } else { "" };
            result = result.and_then(|()| write!(out, "{separator}{wrong}"));
            any = true;
        });
        result?;
        if any {
            Ok(())
        } else {
            out.write_str("breaks no rule that is known here")
        }
    }
}

/// A structure under examination.
struct Checker<'a> {
    fields: &'a dyn Fields,
    able: &'a Capabilities,
    report: &'a mut dyn FnMut(Wrong),
}

impl Checker<'_> {
    fn get(&self, field: u32) -> u64 {
        self.fields.get(field)
    }

    /// A field of 32 bits.
    fn word(&self, field: u32) -> u32 {
        low_half(self.get(field))
    }

    /// Reports the field unless the rule is kept.
    fn insist(&mut self, kept: bool, field: u32, rule: Rule) {
        if !kept {
            let value = self.get(field);
            (self.report)(Wrong { field, value, rule });
        }
    }

    /// The secondary controls as they count.
    fn secondary(&self) -> SecondaryControls {
        let primary =
            PrimaryControls::from_bits_truncate(self.word(control_field::PRIMARY_PROCBASED_EXEC_CONTROLS));
        if primary.contains(PrimaryControls::SECONDARY_CONTROLS) {
            let word = self.word(control_field::SECONDARY_PROCBASED_EXEC_CONTROLS);
            SecondaryControls::from_bits_truncate(word)
        } else {
            SecondaryControls::empty()
        }
    }

    /// Whether protection and paging are the guest's own.
    fn is_unrestricted(&self) -> bool {
        self.secondary().contains(SecondaryControls::UNRESTRICTED_GUEST)
    }

    /// Whether the guest will be in long mode.
    fn is_long(&self) -> bool {
        let long = control_field::EntryControls::IA32E_MODE_GUEST.bits();
        self.word(control_field::VMENTRY_CONTROLS) & long != 0
    }

    /// Whether an address has no bits that the processor's linear addresses do not have.
    fn is_canonical(&self, address: u64) -> bool {
        let unused = 64_u32.saturating_sub(u32::from(self.able.linear_bits));
        let upper = address.cast_signed() >> (63 - unused.min(63));
        upper == 0 || upper == -1
    }

    /// Whether an address is one of the machine's.
    fn is_physical(&self, address: u64) -> bool {
        address
            .checked_shr(u32::from(self.able.physical_bits))
            .unwrap_or(0)
            == 0
    }

    /// Whether an address that the processor reads by itself is a multiple of `alignment`, a power of two, and one of
    /// the machine's; old processors have 32 bits for them (BASIC bit 48).
    fn is_place(&self, address: u64, alignment: u64) -> bool {
        let is_within_reach = self.able.basic & 1 << 48 == 0 || address >> 32 == 0;
        address & alignment.wrapping_sub(1) == 0 && self.is_physical(address) && is_within_reach
    }

    /// Whether a field has the address of a page.
    fn insist_page(&mut self, field: u32, rule: Rule) {
        let kept = self.is_place(self.get(field), 0x1000);
        self.insist(kept, field, rule);
    }

    fn insist_canonical(&mut self, field: u32, rule: Rule) {
        let kept = self.is_canonical(self.get(field));
        self.insist(kept, field, rule);
    }
}

/// Whether each byte of a page attribute table is a memory type: UC, WC, WT, WP, WB, UC-.
fn is_pat(value: u64) -> bool {
    value
        .to_le_bytes()
        .iter()
        .all(|kind| matches!(kind, 0 | 1 | 4..=7))
}

#[cfg(test)]
mod tests;
