//! What a failed VMX instruction says was wrong: error numbers as sentences (SDM vol. 3 §31.4).

/// The sentence for an error number.
#[must_use]
#[rustfmt::skip]
pub const fn sentence(number: u32) -> &'static str {
    match number {
        1  => "VMCALL in VMX root operation",
        2  => "VMCLEAR of an address that cannot hold a control structure",
        3  => "VMCLEAR of the VMXON region",
        4  => "VMLAUNCH of a control structure that is not clear",
        5  => "VMRESUME of a control structure that is not launched",
        6  => "VMRESUME behind VMXOFF",
        7  => "a control field of the structure is not valid",
        8  => "a host-state field of the structure is not valid",
        9  => "VMPTRLD of an address that cannot hold a control structure",
        10 => "VMPTRLD of the VMXON region",
        11 => "VMPTRLD of a structure with another revision",
        12 => "VMREAD or VMWRITE of a field that the processor does not have",
        13 => "VMWRITE of a field that is read only",
        15 => "VMXON in VMX root operation",
        16 => "entry with an executive control structure that is not valid",
        17 => "entry with an executive control structure that is not launched",
        18 => "entry with an executive control structure that is not the VMXON region",
        19 => "VMCALL with a control structure that is not clear",
        20 => "VMCALL with VM-exit controls that are not valid",
        22 => "VMCALL with another revision of the monitor for system management mode",
        23 => "VMXOFF while system management mode has a monitor of its own",
        24 => "VMCALL with features of the monitor for system management mode that are not valid",
        25 => "entry with VM-execution controls in the executive control structure that are not valid",
        26 => "entry while MOV SS blocks events",
        28 => "INVEPT or INVVPID of a type or with an operand that is not valid",
        _  => "an error without a name",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_the_manual_has_a_sentence_of_its_own() {
        let known: Vec<u32> = (0..64)
            .filter(|number| sentence(*number) != sentence(u32::MAX))
            .collect();
        let expected: Vec<u32> = (1..=28).filter(|number| ![14, 21, 27].contains(number)).collect();
        assert_eq!(known, expected);
        let sentences: std::collections::BTreeSet<&str> =
            known.iter().map(|number| sentence(*number)).collect();
        assert_eq!(sentences.len(), known.len());
    }
}
