//! Tests that do not succeed here, for a reason that is not the hypervisor's.
//!
//! Such a test still runs, and it may end as it is written here, in no other way; the table says why.

use super::outcome::Outcome;

const ICEBP: &str = "QEMU 7.2 does not know ICEBP: it raises #UD";
const LIMITS: &str = "QEMU 7.2 checks no segment limits";

/// The end of a test's name, how it ends, and why.
const KNOWN: [(&str, Outcome, &str); 14] = [
    (
        "-fpu-exception-emulation",
        Outcome::Failure,
        "QEMU 7.2 raises #NM where #UD comes first, with CR0.EM and CR0.TS set",
    ),
    (
        "hvm64-swint-emulation",
        Outcome::Failure,
        "QEMU 7.2 does not know ICEBP, and doubles the vector in the error codes of 64-bit gates",
    ),
    ("-swint-emulation", Outcome::Failure, ICEBP),
    ("-xsa-308", Outcome::Crash, ICEBP),
    ("hvm32pae-memop-seg", Outcome::Failure, LIMITS),
    ("hvm32pse-memop-seg", Outcome::Failure, LIMITS),
    (
        "hvm64-memop-seg",
        Outcome::Failure,
        "QEMU 7.2 raises #GP for stack addresses that are not canonical, instead of #SS",
    ),
    (
        "hvm32pae-pagetable-emulation",
        Outcome::Failure,
        "QEMU 7.2 marks PAE's directory pointers as accessed, whose bit is reserved",
    ),
    (
        "hvm64-pagetable-emulation",
        Outcome::Crash,
        "QEMU 7.2 goes on without paging behind an exit with EFER.LME set and paging and CR4.PAE off",
    ),
    ("-xsa-472-1", Outcome::Crash, VIRIDIAN),
    ("-xsa-472-2", Outcome::Crash, VIRIDIAN),
    ("-xsa-472-3", Outcome::Crash, VIRIDIAN),
    ("-argo", Outcome::Error, XENSTORE),
    ("-xsa-316", Outcome::Error, XENSTORE),
];

const VIRIDIAN: &str = "it asks for Hyper-V's enlightenments, which are not offered";
const XENSTORE: &str = "it asks XenStore for its domain's number, and there is no XenStore";

/// Why the test `name` may end like this, if it may.
pub fn reason(name: &str, outcome: Outcome) -> Option<&'static str> {
    KNOWN
        .iter()
        .find(|(end, allowed, _)| name.ends_with(end) && *allowed == outcome)
        .map(|(_, _, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_fault_excuses_the_outcome_it_explains_and_no_other() {
        let name = "test-hvm32pae-memop-seg";
        assert_eq!(reason(name, Outcome::Failure), Some(LIMITS));
        assert_eq!(reason(name, Outcome::Crash), None);
        assert_eq!(reason("test-hvm32-memop-seg", Outcome::Failure), None);
        assert!(KNOWN.iter().all(|(_, outcome, _)| outcome.is_bad()));
    }
}
