//! Tests that cannot succeed in the emulator, whatever the hypervisor does, each with the emulator's fault.
//!
//! A test listed here may fail; it still runs, and the table says why it is allowed to.

/// Patterns of names, and what is wrong with the emulator.
const KNOWN: [(&str, &str); 0] = [];

/// Why the test `name` may fail, if it may.
pub fn reason(name: &str) -> Option<&'static str> {
    KNOWN
        .iter()
        .find(|(pattern, _)| name.ends_with(pattern))
        .map(|(_, reason)| *reason)
}
