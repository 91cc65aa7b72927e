//! What the manual calls the fields of a control structure (SDM vol. 3 appendix B), for messages.

use x86::vmx::vmcs::{control, guest, host, ro};

/// Tertiary processor-based controls.
pub(super) const TERTIARY_CONTROLS: u32 = 0x2034;
/// ENCLV-exiting bitmap.
pub(super) const ENCLV_EXITING_BITMAP: u32 = 0x2036;
/// PCONFIG-exiting bitmap.
pub(super) const PCONFIG_EXITING_BITMAP: u32 = 0x203e;

/// The name of a field.
#[must_use]
pub fn name(field: u32) -> &'static str {
    NAMES
        .iter()
        .find(|(encoding, _)| *encoding == field)
        .map_or("a field without a name", |(_, name)| name)
}

#[rustfmt::skip]
const NAMES: [(u32, &str); 160] = [
    (control::VPID, "virtual-processor identifier (VPID)"),
    (control::POSTED_INTERRUPT_NOTIFICATION_VECTOR, "posted-interrupt notification vector"),
    (control::EPTP_INDEX, "EPTP index"),
    (control::IO_BITMAP_A_ADDR_FULL, "address of I/O bitmap A"),
    (control::IO_BITMAP_B_ADDR_FULL, "address of I/O bitmap B"),
    (control::MSR_BITMAPS_ADDR_FULL, "address of MSR bitmaps"),
    (control::VMEXIT_MSR_STORE_ADDR_FULL, "VM-exit MSR-store address"),
    (control::VMEXIT_MSR_LOAD_ADDR_FULL, "VM-exit MSR-load address"),
    (control::VMENTRY_MSR_LOAD_ADDR_FULL, "VM-entry MSR-load address"),
    (control::EXECUTIVE_VMCS_PTR_FULL, "executive-VMCS pointer"),
    (control::PML_ADDR_FULL, "PML address"),
    (control::TSC_OFFSET_FULL, "TSC offset"),
    (control::VIRT_APIC_ADDR_FULL, "virtual-APIC address"),
    (control::APIC_ACCESS_ADDR_FULL, "APIC-access address"),
    (control::POSTED_INTERRUPT_DESC_ADDR_FULL, "posted-interrupt descriptor address"),
    (control::VM_FUNCTION_CONTROLS_FULL, "VM-function controls"),
    (control::EPTP_FULL, "EPT pointer"),
    (control::EOI_EXIT0_FULL, "EOI-exit bitmap 0"),
    (control::EOI_EXIT1_FULL, "EOI-exit bitmap 1"),
    (control::EOI_EXIT2_FULL, "EOI-exit bitmap 2"),
    (control::EOI_EXIT3_FULL, "EOI-exit bitmap 3"),
    (control::EPTP_LIST_ADDR_FULL, "EPTP-list address"),
    (control::VMREAD_BITMAP_ADDR_FULL, "VMREAD-bitmap address"),
    (control::VMWRITE_BITMAP_ADDR_FULL, "VMWRITE-bitmap address"),
    (control::VIRT_EXCEPTION_INFO_ADDR_FULL, "virtualization-exception information address"),
    (control::XSS_EXITING_BITMAP_FULL, "XSS-exiting bitmap"),
    (control::ENCLS_EXITING_BITMAP_FULL, "ENCLS-exiting bitmap"),
    (control::SUBPAGE_PERM_TABLE_PTR_FULL, "sub-page-permission-table pointer"),
    (control::TSC_MULTIPLIER_FULL, "TSC multiplier"),
    (control::PINBASED_EXEC_CONTROLS, "pin-based VM-execution controls"),
    (control::PRIMARY_PROCBASED_EXEC_CONTROLS, "primary processor-based VM-execution controls"),
    (control::EXCEPTION_BITMAP, "exception bitmap"),
    (control::PAGE_FAULT_ERR_CODE_MASK, "page-fault error-code mask"),
    (control::PAGE_FAULT_ERR_CODE_MATCH, "page-fault error-code match"),
    (control::CR3_TARGET_COUNT, "CR3-target count"),
    (control::VMEXIT_CONTROLS, "VM-exit controls"),
    (control::VMEXIT_MSR_STORE_COUNT, "VM-exit MSR-store count"),
    (control::VMEXIT_MSR_LOAD_COUNT, "VM-exit MSR-load count"),
    (control::VMENTRY_CONTROLS, "VM-entry controls"),
    (control::VMENTRY_MSR_LOAD_COUNT, "VM-entry MSR-load count"),
    (control::VMENTRY_INTERRUPTION_INFO_FIELD, "VM-entry interruption-information field"),
    (control::VMENTRY_EXCEPTION_ERR_CODE, "VM-entry exception error code"),
    (control::VMENTRY_INSTRUCTION_LEN, "VM-entry instruction length"),
    (control::TPR_THRESHOLD, "TPR threshold"),
    (control::SECONDARY_PROCBASED_EXEC_CONTROLS, "secondary processor-based VM-execution controls"),
    (control::PLE_GAP, "PLE_Gap"),
    (control::PLE_WINDOW, "PLE_Window"),
    (control::CR0_GUEST_HOST_MASK, "CR0 guest/host mask"),
    (control::CR4_GUEST_HOST_MASK, "CR4 guest/host mask"),
    (control::CR0_READ_SHADOW, "CR0 read shadow"),
    (control::CR4_READ_SHADOW, "CR4 read shadow"),
    (control::CR3_TARGET_VALUE0, "CR3-target value 0"),
    (control::CR3_TARGET_VALUE1, "CR3-target value 1"),
    (control::CR3_TARGET_VALUE2, "CR3-target value 2"),
    (control::CR3_TARGET_VALUE3, "CR3-target value 3"),
    (guest::ES_SELECTOR, "guest ES selector"),
    (guest::CS_SELECTOR, "guest CS selector"),
    (guest::SS_SELECTOR, "guest SS selector"),
    (guest::DS_SELECTOR, "guest DS selector"),
    (guest::FS_SELECTOR, "guest FS selector"),
    (guest::GS_SELECTOR, "guest GS selector"),
    (guest::LDTR_SELECTOR, "guest LDTR selector"),
    (guest::TR_SELECTOR, "guest TR selector"),
    (guest::INTERRUPT_STATUS, "guest interrupt status"),
    (guest::PML_INDEX, "guest PML index"),
    (guest::LINK_PTR_FULL, "VMCS link pointer"),
    (guest::IA32_DEBUGCTL_FULL, "guest IA32_DEBUGCTL"),
    (guest::IA32_PAT_FULL, "guest IA32_PAT"),
    (guest::IA32_EFER_FULL, "guest IA32_EFER"),
    (guest::IA32_PERF_GLOBAL_CTRL_FULL, "guest IA32_PERF_GLOBAL_CTRL"),
    (guest::PDPTE0_FULL, "guest PDPTE0"),
    (guest::PDPTE1_FULL, "guest PDPTE1"),
    (guest::PDPTE2_FULL, "guest PDPTE2"),
    (guest::PDPTE3_FULL, "guest PDPTE3"),
    (guest::IA32_BNDCFGS_FULL, "guest IA32_BNDCFGS"),
    (guest::IA32_RTIT_CTL_FULL, "guest IA32_RTIT_CTL"),
    (guest::ES_LIMIT, "guest ES limit"),
    (guest::CS_LIMIT, "guest CS limit"),
    (guest::SS_LIMIT, "guest SS limit"),
    (guest::DS_LIMIT, "guest DS limit"),
    (guest::FS_LIMIT, "guest FS limit"),
    (guest::GS_LIMIT, "guest GS limit"),
    (guest::LDTR_LIMIT, "guest LDTR limit"),
    (guest::TR_LIMIT, "guest TR limit"),
    (guest::GDTR_LIMIT, "guest GDTR limit"),
    (guest::IDTR_LIMIT, "guest IDTR limit"),
    (guest::ES_ACCESS_RIGHTS, "guest ES access rights"),
    (guest::CS_ACCESS_RIGHTS, "guest CS access rights"),
    (guest::SS_ACCESS_RIGHTS, "guest SS access rights"),
    (guest::DS_ACCESS_RIGHTS, "guest DS access rights"),
    (guest::FS_ACCESS_RIGHTS, "guest FS access rights"),
    (guest::GS_ACCESS_RIGHTS, "guest GS access rights"),
    (guest::LDTR_ACCESS_RIGHTS, "guest LDTR access rights"),
    (guest::TR_ACCESS_RIGHTS, "guest TR access rights"),
    (guest::INTERRUPTIBILITY_STATE, "guest interruptibility state"),
    (guest::ACTIVITY_STATE, "guest activity state"),
    (guest::SMBASE, "guest SMBASE"),
    (guest::IA32_SYSENTER_CS, "guest IA32_SYSENTER_CS"),
    (guest::VMX_PREEMPTION_TIMER_VALUE, "VMX-preemption timer value"),
    (guest::CR0, "guest CR0"),
    (guest::CR3, "guest CR3"),
    (guest::CR4, "guest CR4"),
    (guest::ES_BASE, "guest ES base"),
    (guest::CS_BASE, "guest CS base"),
    (guest::SS_BASE, "guest SS base"),
    (guest::DS_BASE, "guest DS base"),
    (guest::FS_BASE, "guest FS base"),
    (guest::GS_BASE, "guest GS base"),
    (guest::LDTR_BASE, "guest LDTR base"),
    (guest::TR_BASE, "guest TR base"),
    (guest::GDTR_BASE, "guest GDTR base"),
    (guest::IDTR_BASE, "guest IDTR base"),
    (guest::DR7, "guest DR7"),
    (guest::RSP, "guest RSP"),
    (guest::RIP, "guest RIP"),
    (guest::RFLAGS, "guest RFLAGS"),
    (guest::PENDING_DBG_EXCEPTIONS, "guest pending debug exceptions"),
    (guest::IA32_SYSENTER_ESP, "guest IA32_SYSENTER_ESP"),
    (guest::IA32_SYSENTER_EIP, "guest IA32_SYSENTER_EIP"),
    (host::ES_SELECTOR, "host ES selector"),
    (host::CS_SELECTOR, "host CS selector"),
    (host::SS_SELECTOR, "host SS selector"),
    (host::DS_SELECTOR, "host DS selector"),
    (host::FS_SELECTOR, "host FS selector"),
    (host::GS_SELECTOR, "host GS selector"),
    (host::TR_SELECTOR, "host TR selector"),
    (host::IA32_PAT_FULL, "host IA32_PAT"),
    (host::IA32_EFER_FULL, "host IA32_EFER"),
    (host::IA32_PERF_GLOBAL_CTRL_FULL, "host IA32_PERF_GLOBAL_CTRL"),
    (host::IA32_SYSENTER_CS, "host IA32_SYSENTER_CS"),
    (host::CR0, "host CR0"),
    (host::CR3, "host CR3"),
    (host::CR4, "host CR4"),
    (host::FS_BASE, "host FS base"),
    (host::GS_BASE, "host GS base"),
    (host::TR_BASE, "host TR base"),
    (host::GDTR_BASE, "host GDTR base"),
    (host::IDTR_BASE, "host IDTR base"),
    (host::IA32_SYSENTER_ESP, "host IA32_SYSENTER_ESP"),
    (host::IA32_SYSENTER_EIP, "host IA32_SYSENTER_EIP"),
    (host::RSP, "host RSP"),
    (host::RIP, "host RIP"),
    (ro::GUEST_PHYSICAL_ADDR_FULL, "guest-physical address"),
    (ro::VM_INSTRUCTION_ERROR, "VM-instruction error"),
    (ro::EXIT_REASON, "exit reason"),
    (ro::VMEXIT_INTERRUPTION_INFO, "VM-exit interruption information"),
    (ro::VMEXIT_INTERRUPTION_ERR_CODE, "VM-exit interruption error code"),
    (ro::IDT_VECTORING_INFO, "IDT-vectoring information field"),
    (ro::IDT_VECTORING_ERR_CODE, "IDT-vectoring error code"),
    (ro::VMEXIT_INSTRUCTION_LEN, "VM-exit instruction length"),
    (ro::VMEXIT_INSTRUCTION_INFO, "VM-exit instruction information"),
    (ro::EXIT_QUALIFICATION, "exit qualification"),
    (ro::IO_RCX, "I/O RCX"),
    (ro::IO_RSI, "I/O RSI"),
    (ro::IO_RDI, "I/O RDI"),
    (ro::IO_RIP, "I/O RIP"),
    (ro::GUEST_LINEAR_ADDR, "guest-linear address"),
    (TERTIARY_CONTROLS, "tertiary processor-based VM-execution controls"),
    (ENCLV_EXITING_BITMAP, "ENCLV-exiting bitmap"),
    (PCONFIG_EXITING_BITMAP, "PCONFIG-exiting bitmap"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_encoding_and_no_name_stands_there_twice() {
        let encodings: std::collections::BTreeSet<u32> = NAMES.iter().map(|(field, _)| *field).collect();
        let names: std::collections::BTreeSet<&str> = NAMES.iter().map(|(_, name)| *name).collect();
        assert_eq!((encodings.len(), names.len()), (NAMES.len(), NAMES.len()));
    }

    #[test]
    fn a_field_is_called_what_it_is() {
        assert_eq!(name(0x6800), "guest CR0");
        assert_eq!(name(0x4824), "guest interruptibility state");
        assert_eq!(name(0x6c16), "host RIP");
        assert_eq!(name(0x7fff), "a field without a name");
    }
}
