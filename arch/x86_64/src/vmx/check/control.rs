//! The controls: how the guest is run, exited and entered (SDM vol. 3 §27.2.1).

use x86::vmx::vmcs::control::{
    self, EntryControls as Entry, ExitControls as Exit, PinbasedControls as Pin, PrimaryControls as Primary,
    SecondaryControls as Secondary,
};

use super::{Checker, Rule};
use crate::vmx::capability::ept;
use crate::vmx::field_name::TERTIARY_CONTROLS;
use crate::vmx::fields::low_half;

/// Primary control: there are tertiary controls.
const TERTIARY: u32 = 1 << 17;
/// The memory type of extended tables.
const UNCACHEABLE: u64 = 0;
const WRITE_BACK: u64 = 6;

pub(super) fn check(on: &mut Checker<'_>) {
    words(on);
    primary(on);
    interrupts(on);
    second_stage(on);
    additions(on);
    exits(on);
    entries(on);
}

/// Words that have what they must and nothing that they may not.
fn words(on: &mut Checker<'_>) {
    let able = on.able;
    let table = [
        (control::PINBASED_EXEC_CONTROLS, able.pin, Rule::PinReserved),
        (
            control::PRIMARY_PROCBASED_EXEC_CONTROLS,
            able.primary,
            Rule::PrimaryReserved,
        ),
        (control::VMEXIT_CONTROLS, able.exit, Rule::ExitReserved),
        (control::VMENTRY_CONTROLS, able.entry, Rule::EntryReserved),
    ];
    for (field, allowed, rule) in table {
        on.insist(allowed.takes(on.word(field)), field, rule);
    }
    let primary = on.word(control::PRIMARY_PROCBASED_EXEC_CONTROLS);
    if primary & Primary::SECONDARY_CONTROLS.bits() != 0 {
        let field = control::SECONDARY_PROCBASED_EXEC_CONTROLS;
        on.insist(
            able.secondary.takes(on.word(field)),
            field,
            Rule::SecondaryReserved,
        );
    }
    if primary & TERTIARY != 0 {
        let kept = on.get(TERTIARY_CONTROLS) & !able.tertiary == 0;
        on.insist(kept, TERTIARY_CONTROLS, Rule::TertiaryReserved);
    }
}

fn pin(on: &Checker<'_>) -> Pin {
    Pin::from_bits_truncate(on.word(control::PINBASED_EXEC_CONTROLS))
}

fn primary_of(on: &Checker<'_>) -> Primary {
    Primary::from_bits_truncate(on.word(control::PRIMARY_PROCBASED_EXEC_CONTROLS))
}

/// What primary controls need.
fn primary(on: &mut Checker<'_>) {
    let primary = primary_of(on);
    let secondary = on.secondary();
    let targets = on.able.misc >> 16 & 0x1ff;
    let count = on.get(control::CR3_TARGET_COUNT);
    on.insist(count <= targets, control::CR3_TARGET_COUNT, Rule::Cr3TargetCount);
    if primary.contains(Primary::USE_IO_BITMAPS) {
        on.insist_page(control::IO_BITMAP_A_ADDR_FULL, Rule::IoBitmapAddress);
        on.insist_page(control::IO_BITMAP_B_ADDR_FULL, Rule::IoBitmapAddress);
    }
    if primary.contains(Primary::USE_MSR_BITMAPS) {
        on.insist_page(control::MSR_BITMAPS_ADDR_FULL, Rule::MsrBitmapAddress);
    }
    if primary.contains(Primary::USE_TPR_SHADOW) {
        on.insist_page(control::VIRT_APIC_ADDR_FULL, Rule::VirtualApicAddress);
        if !secondary.contains(Secondary::VIRTUAL_INTERRUPT_DELIVERY) {
            let kept = on.get(control::TPR_THRESHOLD) < 16;
            on.insist(kept, control::TPR_THRESHOLD, Rule::TprThresholdReserved);
        }
    } else {
        let needy = Secondary::VIRTUALIZE_X2APIC
            | Secondary::VIRTUALIZE_APIC_REGISTER
            | Secondary::VIRTUAL_INTERRUPT_DELIVERY;
        on.insist(
            !secondary.intersects(needy),
            control::SECONDARY_PROCBASED_EXEC_CONTROLS,
            Rule::ApicWithoutTprShadow,
        );
    }
}

/// Non-maskable interrupts, and APICs that the processor virtualises.
fn interrupts(on: &mut Checker<'_>) {
    let (pin, primary, secondary) = (pin(on), primary_of(on), on.secondary());
    let pin_field = control::PINBASED_EXEC_CONTROLS;
    let secondary_field = control::SECONDARY_PROCBASED_EXEC_CONTROLS;
    on.insist(
        pin.contains(Pin::NMI_EXITING) || !pin.contains(Pin::VIRTUAL_NMIS),
        pin_field,
        Rule::VirtualNmisWithoutExits,
    );
    on.insist(
        pin.contains(Pin::VIRTUAL_NMIS) || !primary.contains(Primary::NMI_WINDOW_EXITING),
        control::PRIMARY_PROCBASED_EXEC_CONTROLS,
        Rule::NmiWindowWithoutVirtualNmis,
    );
    if secondary.contains(Secondary::VIRTUALIZE_APIC) {
        on.insist_page(control::APIC_ACCESS_ADDR_FULL, Rule::ApicAccessAddress);
        on.insist(
            !secondary.contains(Secondary::VIRTUALIZE_X2APIC),
            secondary_field,
            Rule::X2ApicWithApicAccesses,
        );
    }
    let delivers = secondary.contains(Secondary::VIRTUAL_INTERRUPT_DELIVERY);
    on.insist(
        !delivers || pin.contains(Pin::EXTERNAL_INTERRUPT_EXITING),
        secondary_field,
        Rule::DeliveryWithoutExits,
    );
    if pin.contains(Pin::POSTED_INTERRUPTS) {
        on.insist(delivers, pin_field, Rule::PostedWithoutDelivery);
        let exit = Exit::from_bits_truncate(on.word(control::VMEXIT_CONTROLS));
        on.insist(
            exit.contains(Exit::ACK_INTERRUPT_ON_EXIT),
            control::VMEXIT_CONTROLS,
            Rule::PostedWithoutAcknowledge,
        );
        let vector = control::POSTED_INTERRUPT_NOTIFICATION_VECTOR;
        on.insist(on.get(vector) < 0x100, vector, Rule::PostedVector);
        let descriptor = control::POSTED_INTERRUPT_DESC_ADDR_FULL;
        let kept = on.is_place(on.get(descriptor), 64);
        on.insist(kept, descriptor, Rule::PostedDescriptor);
    }
}

/// Extended page tables and what needs them.
fn second_stage(on: &mut Checker<'_>) {
    let secondary = on.secondary();
    let field = control::SECONDARY_PROCBASED_EXEC_CONTROLS;
    if secondary.contains(Secondary::ENABLE_VPID) {
        on.insist(on.get(control::VPID) != 0, control::VPID, Rule::VpidZero);
    }
    let has_ept = secondary.contains(Secondary::ENABLE_EPT);
    if has_ept {
        ept_pointer(on);
    }
    let needy = [
        (Secondary::ENABLE_PML, Rule::PageLogWithoutEpt),
        (Secondary::UNRESTRICTED_GUEST, Rule::UnrestrictedWithoutEpt),
        (Secondary::MODE_BASED_EPT, Rule::ExecuteModesWithoutEpt),
        (Secondary::SUB_PAGE_EPT, Rule::SubPagesWithoutEpt),
    ];
    for (control, rule) in needy {
        on.insist(has_ept || !secondary.contains(control), field, rule);
    }
    let pages = [
        (
            Secondary::ENABLE_PML,
            control::PML_ADDR_FULL,
            Rule::PageLogAddress,
        ),
        (
            Secondary::SUB_PAGE_EPT,
            control::SUBPAGE_PERM_TABLE_PTR_FULL,
            Rule::SubPagesAddress,
        ),
    ];
    for (control, page, rule) in pages {
        if secondary.contains(control) {
            on.insist_page(page, rule);
        }
    }
}

fn ept_pointer(on: &mut Checker<'_>) {
    let pointer = on.get(control::EPTP_FULL);
    let able = on.able.ept_vpid;
    let has = |bit| able & bit != 0;
    let is_type_known = match pointer & 7 {
        UNCACHEABLE => has(ept::UNCACHEABLE),
        WRITE_BACK => has(ept::WRITE_BACK),
        _ => false,
    };
    let are_levels_known = match pointer >> 3 & 7 {
        3 => has(ept::FOUR_LEVELS),
        4 => has(ept::FIVE_LEVELS),
        _ => false,
    };
    let keeps_bits = pointer & 1 << 6 != 0;
    let reserved = if has(ept::SHADOW_STACKS) { 0xf00 } else { 0xf80 };
    let field = control::EPTP_FULL;
    on.insist(is_type_known, field, Rule::EptMemoryType);
    on.insist(are_levels_known, field, Rule::EptLevels);
    on.insist(
        !keeps_bits || has(ept::ACCESSED_AND_DIRTY),
        field,
        Rule::EptAccessedAndDirty,
    );
    let kept = pointer & reserved == 0 && on.is_physical(pointer);
    on.insist(kept, field, Rule::EptReserved);
}

/// Other additions of later processors.
fn additions(on: &mut Checker<'_>) {
    let secondary = on.secondary();
    let has_ept = secondary.contains(Secondary::ENABLE_EPT);
    if secondary.contains(Secondary::ENABLE_VM_FUNCTIONS) {
        let field = control::VM_FUNCTION_CONTROLS_FULL;
        let functions = on.get(field);
        on.insist(
            functions & !on.able.functions == 0,
            field,
            Rule::FunctionsReserved,
        );
        if functions & 1 != 0 {
            on.insist(has_ept, field, Rule::SwitchingWithoutEpt);
            on.insist_page(control::EPTP_LIST_ADDR_FULL, Rule::SwitchingAddress);
        }
    }
    if secondary.contains(Secondary::VMCS_SHADOWING) {
        on.insist_page(control::VMREAD_BITMAP_ADDR_FULL, Rule::ShadowingAddress);
        on.insist_page(control::VMWRITE_BITMAP_ADDR_FULL, Rule::ShadowingAddress);
    }
    if secondary.contains(Secondary::EPT_VIOLATION_VE) {
        on.insist_page(
            control::VIRT_EXCEPTION_INFO_ADDR_FULL,
            Rule::ExceptionInformationAddress,
        );
    }
    if secondary.contains(Secondary::INTEL_PT_GUEST_PHYSICAL) {
        let is_loaded = on.word(control::VMENTRY_CONTROLS) & Entry::LOAD_IA32_RTIT_CTL.bits() != 0;
        let is_cleared = on.word(control::VMEXIT_CONTROLS) & Exit::CLEAR_IA32_RTIT_CTL.bits() != 0;
        on.insist(
            has_ept && is_loaded && is_cleared,
            control::SECONDARY_PROCBASED_EXEC_CONTROLS,
            Rule::TraceWithoutEpt,
        );
    }
    if secondary.contains(Secondary::USE_TSC_SCALING) {
        let field = control::TSC_MULTIPLIER_FULL;
        on.insist(on.get(field) != 0, field, Rule::TscMultiplierZero);
    }
}

/// §27.2.1.2.
fn exits(on: &mut Checker<'_>) {
    let saves_timer = on.word(control::VMEXIT_CONTROLS) & Exit::SAVE_VMX_PREEMPTION_TIMER.bits() != 0;
    on.insist(
        !saves_timer || pin(on).contains(Pin::VMX_PREEMPTION_TIMER),
        control::VMEXIT_CONTROLS,
        Rule::TimerSavedButOff,
    );
    msr_area(
        on,
        control::VMEXIT_MSR_STORE_COUNT,
        control::VMEXIT_MSR_STORE_ADDR_FULL,
        Rule::ExitStoreArea,
    );
    msr_area(
        on,
        control::VMEXIT_MSR_LOAD_COUNT,
        control::VMEXIT_MSR_LOAD_ADDR_FULL,
        Rule::ExitLoadArea,
    );
}

/// §27.2.1.3, without the event to inject.
fn entries(on: &mut Checker<'_>) {
    let entry = low_half(on.get(control::VMENTRY_CONTROLS));
    let smm = Entry::ENTRY_TO_SMM | Entry::DEACTIVATE_DUAL_MONITOR;
    on.insist(
        entry & smm.bits() == 0,
        control::VMENTRY_CONTROLS,
        Rule::EntryToSmm,
    );
    msr_area(
        on,
        control::VMENTRY_MSR_LOAD_COUNT,
        control::VMENTRY_MSR_LOAD_ADDR_FULL,
        Rule::EntryLoadArea,
    );
}

/// A list of MSRs, 16 bytes each, if it has any.
fn msr_area(on: &mut Checker<'_>, count: u32, address: u32, rule: Rule) {
    let bytes = on.get(count).saturating_mul(16);
    if bytes != 0 {
        let first = on.get(address);
        let last = first.checked_add(bytes - 1);
        let kept = on.is_place(first, 16) && last.is_some_and(|last| on.is_place(last, 1));
        on.insist(kept, address, rule);
    }
}
