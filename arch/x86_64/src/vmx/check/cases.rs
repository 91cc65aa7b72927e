//! For tests: every rule, and what breaks it.

use x86::vmx::vmcs::{control, guest, host};

use super::Rule;
use super::guests::Mode::{self, Bound, Long, Pae, Protected, Real};
use crate::vmx::capability::{Capabilities, ept};
use crate::vmx::field_name::TERTIARY_CONTROLS;
use crate::vmx::fields::Fields;
use crate::vmx::testing::Structure;

const PIN: u32 = control::PINBASED_EXEC_CONTROLS;
const PRIMARY: u32 = control::PRIMARY_PROCBASED_EXEC_CONTROLS;
const SECONDARY: u32 = control::SECONDARY_PROCBASED_EXEC_CONTROLS;
const EXIT: u32 = control::VMEXIT_CONTROLS;
pub(super) const ENTRY: u32 = control::VMENTRY_CONTROLS;
pub(super) const EVENT: u32 = control::VMENTRY_INTERRUPTION_INFO_FIELD;
const CODE: u32 = control::VMENTRY_EXCEPTION_ERR_CODE;
pub(super) const LENGTH: u32 = control::VMENTRY_INSTRUCTION_LEN;
pub(super) const BLOCKING: u32 = guest::INTERRUPTIBILITY_STATE;
pub(super) const ACTIVITY: u32 = guest::ACTIVITY_STATE;
pub(super) const PENDING: u32 = guest::PENDING_DBG_EXCEPTIONS;
pub(super) const EFER: u32 = guest::IA32_EFER_FULL;
pub(super) const CS: u32 = guest::CS_ACCESS_RIGHTS;
pub(super) const SS: u32 = guest::SS_ACCESS_RIGHTS;
pub(super) const DS: u32 = guest::DS_ACCESS_RIGHTS;
pub(super) const TR: u32 = guest::TR_ACCESS_RIGHTS;
const LDTR: u32 = guest::LDTR_ACCESS_RIGHTS;
/// What is no page, no address of the machine, no linear address.
const ODD: u64 = 0x1001;
pub(super) const FAR: u64 = 1 << 39;
pub(super) const BENT: u64 = 1 << 47;
/// Events: an interrupt, an NMI, #UD, #GP without and with its code, #DB, INT n.
pub(super) const INTERRUPT: u64 = 0x8000_0030;
pub(super) const NMI: u64 = 0x8000_0202;
const UD: u64 = 0x8000_0306;
pub(super) const GP: u64 = 0x8000_030d;
pub(super) const GP_CODE: u64 = 0x8000_0b0d;
const DB: u64 = 0x8000_0301;
pub(super) const INT: u64 = 0x8000_0480;

/// What is done to a structure, on a processor.
pub(super) type Break = fn(&mut Structure, &mut Capabilities);

/// Controls: a rule, a guest, and what breaks the rule and no other.
#[rustfmt::skip]
pub(super) const CONTROLS: &[(Rule, Mode, Break)] = &[
    (Rule::PinReserved,                 Long, |s, _| s.clear(PIN, 1 << 1)),
    (Rule::PinReserved,                 Long, |s, _| s.or(PIN, 1 << 8)),
    (Rule::PrimaryReserved,             Long, |s, _| s.clear(PRIMARY, 1 << 1)),
    (Rule::PrimaryReserved,             Long, |s, _| s.or(PRIMARY, 1)),
    (Rule::SecondaryReserved,           Long, |s, _| s.or(SECONDARY, 1 << 31)),
    (Rule::TertiaryReserved,            Long, |s, _| { s.or(PRIMARY, 1 << 17); s.set(TERTIARY_CONTROLS, 0x100); }),
    (Rule::Cr3TargetCount,              Long, |s, _| s.set(control::CR3_TARGET_COUNT, 5)),
    (Rule::IoBitmapAddress,             Long, |s, _| s.set(control::IO_BITMAP_A_ADDR_FULL, ODD)),
    (Rule::IoBitmapAddress,             Long, |s, _| s.set(control::IO_BITMAP_B_ADDR_FULL, FAR)),
    (Rule::MsrBitmapAddress,            Long, |s, _| s.set(control::MSR_BITMAPS_ADDR_FULL, ODD)),
    (Rule::MsrBitmapAddress,            Long, |s, c| { c.basic |= 1 << 48; s.set(control::MSR_BITMAPS_ADDR_FULL, 1 << 32); }),
    (Rule::VirtualApicAddress,          Long, |s, _| s.set(control::VIRT_APIC_ADDR_FULL, FAR)),
    (Rule::TprThresholdReserved,        Long, |s, _| s.set(control::TPR_THRESHOLD, 0x10)),
    (Rule::VirtualNmisWithoutExits,     Long, |s, _| s.clear(PIN, 1 << 3)),
    (Rule::NmiWindowWithoutVirtualNmis, Long, |s, _| { s.clear(PIN, 1 << 5); s.or(PRIMARY, 1 << 22); }),
    (Rule::ApicAccessAddress,           Long, |s, _| { s.or(SECONDARY, 1); s.set(control::APIC_ACCESS_ADDR_FULL, ODD); }),
    (Rule::ApicWithoutTprShadow,        Long, |s, _| { s.clear(PRIMARY, 1 << 21); s.or(SECONDARY, 1 << 4); }),
    (Rule::ApicWithoutTprShadow,        Long, |s, _| { s.clear(PRIMARY, 1 << 21); s.or(SECONDARY, 1 << 8); }),
    (Rule::ApicWithoutTprShadow,        Long, |s, _| { s.clear(PRIMARY, 1 << 21); s.or(SECONDARY, 1 << 9); }),
    (Rule::X2ApicWithApicAccesses,      Long, |s, _| { s.or(SECONDARY, 0x11); s.set(control::APIC_ACCESS_ADDR_FULL, 0); }),
    (Rule::DeliveryWithoutExits,        Long, |s, _| { s.or(SECONDARY, 1 << 9); s.clear(PIN, 1); }),
    (Rule::PostedWithoutDelivery,       Long, |s, _| { posted(s); s.clear(SECONDARY, 1 << 9); }),
    (Rule::PostedWithoutAcknowledge,    Long, |s, _| { posted(s); s.clear(EXIT, 1 << 15); }),
    (Rule::PostedVector,                Long, |s, _| { posted(s); s.set(control::POSTED_INTERRUPT_NOTIFICATION_VECTOR, 0x100); }),
    (Rule::PostedDescriptor,            Long, |s, _| { posted(s); s.set(control::POSTED_INTERRUPT_DESC_ADDR_FULL, 0x20); }),
    (Rule::VpidZero,                    Long, |s, _| s.set(control::VPID, 0)),
    (Rule::EptMemoryType,               Long, |s, _| s.set(control::EPTP_FULL, 0x505c)),
    (Rule::EptMemoryType,               Long, |_, c| c.ept_vpid &= !ept::WRITE_BACK),
    (Rule::EptLevels,                   Long, |s, _| s.set(control::EPTP_FULL, 0x5056)),
    (Rule::EptLevels,                   Long, |s, _| s.set(control::EPTP_FULL, 0x5066)),
    (Rule::EptAccessedAndDirty,         Long, |_, c| c.ept_vpid &= !ept::ACCESSED_AND_DIRTY),
    (Rule::EptReserved,                 Long, |s, _| s.or(control::EPTP_FULL, 1 << 7)),
    (Rule::EptReserved,                 Long, |s, _| s.or(control::EPTP_FULL, FAR)),
    (Rule::PageLogWithoutEpt,           Bound, |s, _| { s.or(SECONDARY, 1 << 17); s.clear(SECONDARY, 2); s.set(control::PML_ADDR_FULL, 0); }),
    (Rule::PageLogAddress,              Long, |s, _| { s.or(SECONDARY, 1 << 17); s.set(control::PML_ADDR_FULL, ODD); }),
    (Rule::UnrestrictedWithoutEpt,      Long, |s, _| s.clear(SECONDARY, 2)),
    (Rule::ExecuteModesWithoutEpt,      Bound, |s, _| { s.or(SECONDARY, 1 << 22); s.clear(SECONDARY, 2); }),
    (Rule::SubPagesWithoutEpt,          Bound, |s, _| { s.or(SECONDARY, 1 << 23); s.clear(SECONDARY, 2); s.set(control::SUBPAGE_PERM_TABLE_PTR_FULL, 0); }),
    (Rule::SubPagesAddress,             Long, |s, _| { s.or(SECONDARY, 1 << 23); s.set(control::SUBPAGE_PERM_TABLE_PTR_FULL, ODD); }),
    (Rule::FunctionsReserved,           Long, |s, _| { s.or(SECONDARY, 1 << 13); s.set(control::VM_FUNCTION_CONTROLS_FULL, 2); }),
    (Rule::SwitchingWithoutEpt,         Bound, |s, _| { switching(s); s.clear(SECONDARY, 2); }),
    (Rule::SwitchingAddress,            Long, |s, _| { switching(s); s.set(control::EPTP_LIST_ADDR_FULL, FAR); }),
    (Rule::ShadowingAddress,            Long, |s, _| { s.or(SECONDARY, 1 << 14); s.set(control::VMREAD_BITMAP_ADDR_FULL, ODD); s.set(control::VMWRITE_BITMAP_ADDR_FULL, 0); }),
    (Rule::ShadowingAddress,            Long, |s, _| { s.or(SECONDARY, 1 << 14); s.set(control::VMREAD_BITMAP_ADDR_FULL, 0); s.set(control::VMWRITE_BITMAP_ADDR_FULL, FAR); }),
    (Rule::ExceptionInformationAddress, Long, |s, _| { s.or(SECONDARY, 1 << 18); s.set(control::VIRT_EXCEPTION_INFO_ADDR_FULL, ODD); }),
    (Rule::TraceWithoutEpt,             Long, |s, _| s.or(SECONDARY, 1 << 24)),
    (Rule::TraceWithoutEpt,             Long, |s, _| { s.or(SECONDARY, 1 << 24); s.or(EXIT, 1 << 25); }),
    (Rule::TscMultiplierZero,           Long, |s, _| { s.or(SECONDARY, 1 << 25); s.set(control::TSC_MULTIPLIER_FULL, 0); }),
    (Rule::ExitReserved,                Long, |s, _| s.clear(EXIT, 1)),
    (Rule::ExitReserved,                Long, |s, _| s.or(EXIT, 1 << 31)),
    (Rule::TimerSavedButOff,            Long, |s, _| { s.clear(PIN, 1 << 6); s.or(EXIT, 1 << 22); }),
    (Rule::ExitStoreArea,               Long, |s, _| { s.set(control::VMEXIT_MSR_STORE_COUNT, 1); s.set(control::VMEXIT_MSR_STORE_ADDR_FULL, 8); }),
    (Rule::ExitStoreArea,               Long, |s, _| { s.set(control::VMEXIT_MSR_STORE_COUNT, 2); s.set(control::VMEXIT_MSR_STORE_ADDR_FULL, FAR - 16); }),
    (Rule::ExitLoadArea,                Long, |s, _| { s.set(control::VMEXIT_MSR_LOAD_COUNT, 1); s.set(control::VMEXIT_MSR_LOAD_ADDR_FULL, FAR); }),
    (Rule::EntryReserved,               Long, |s, _| s.clear(ENTRY, 1)),
    (Rule::EntryReserved,               Long, |s, _| s.or(ENTRY, 1 << 31)),
    (Rule::EntryToSmm,                  Long, |s, _| s.or(ENTRY, 1 << 10)),
    (Rule::EntryToSmm,                  Long, |s, _| s.or(ENTRY, 1 << 11)),
    (Rule::EntryLoadArea,               Long, |s, _| { s.set(control::VMENTRY_MSR_LOAD_COUNT, 1); s.set(control::VMENTRY_MSR_LOAD_ADDR_FULL, u64::MAX - 15); }),
    (Rule::InjectionType,               Long, |s, _| s.set(EVENT, 0x8000_0100)),
    (Rule::InjectionType,               Long, |s, c| { c.primary.may &= !(1 << 27); s.set(EVENT, 0x8000_0700); }),
    (Rule::InjectionVector,             Long, |s, _| s.set(EVENT, 0x8000_0203)),
    (Rule::InjectionVector,             Long, |s, _| s.set(EVENT, 0x8000_0320)),
    (Rule::InjectionVector,             Long, |s, _| s.set(EVENT, 0x8000_0701)),
    (Rule::InjectionHasCode,            Long, |s, _| s.set(EVENT, GP)),
    (Rule::InjectionHasCode,            Long, |s, _| s.set(EVENT, UD | 1 << 11)),
    (Rule::InjectionHasCode,            Long, |s, _| s.set(EVENT, NMI | 1 << 11)),
    (Rule::InjectionHasCode,            Real, |s, _| s.set(EVENT, GP_CODE)),
    (Rule::InjectionReserved,           Long, |s, _| s.set(EVENT, UD | 1 << 12)),
    (Rule::InjectionCode,               Long, |s, _| { s.set(EVENT, GP_CODE); s.set(CODE, 1 << 16); }),
    (Rule::InjectionLength,             Long, |s, _| { s.set(EVENT, INT); s.set(LENGTH, 16); }),
    (Rule::InjectionLength,             Long, |s, _| s.set(EVENT, INT)),
];

/// The host's state.
#[rustfmt::skip]
pub(super) const HOST: &[(Rule, Mode, Break)] = &[
    (Rule::HostCr0,                     Long, |s, _| s.clear(host::CR0, 1 << 5)),
    (Rule::HostCr0,                     Long, |s, _| s.or(host::CR0, 1 << 32)),
    (Rule::HostCr4,                     Long, |s, _| s.clear(host::CR4, 1 << 13)),
    (Rule::HostCr4,                     Long, |s, _| s.or(host::CR4, 1 << 31)),
    (Rule::HostCetWithoutWriteProtect,  Long, |s, _| { s.or(host::CR4, 1 << 23); s.clear(host::CR0, 1 << 16); }),
    (Rule::HostCr3,                     Long, |s, _| s.set(host::CR3, FAR)),
    (Rule::HostSysenterEsp,             Long, |s, _| s.set(host::IA32_SYSENTER_ESP, BENT)),
    (Rule::HostSysenterEip,             Long, |s, _| s.set(host::IA32_SYSENTER_EIP, BENT)),
    (Rule::HostPat,                     Long, |s, _| s.set(host::IA32_PAT_FULL, 2 << 8)),
    (Rule::HostEferReserved,            Long, |s, _| s.or(host::IA32_EFER_FULL, 1 << 12)),
    (Rule::HostEferLong,                Long, |s, _| s.clear(host::IA32_EFER_FULL, 1 << 8)),
    (Rule::HostEferLong,                Long, |s, _| s.clear(host::IA32_EFER_FULL, 1 << 10)),
    (Rule::HostCsNull,                  Long, |s, _| s.set(host::CS_SELECTOR, 0)),
    (Rule::HostTrNull,                  Long, |s, _| s.set(host::TR_SELECTOR, 0)),
    (Rule::HostSize,                    Real, short),
    (Rule::HostSsNull,                  Real, |s, c| { short(s, c); s.set(host::SS_SELECTOR, 0); }),
    (Rule::LongGuestOfShortHost,        Long, short),
    (Rule::ShortHostPcid,               Real, |s, c| { short(s, c); s.or(host::CR4, 1 << 17); }),
    (Rule::ShortHostRip,                Real, |s, c| { short(s, c); s.set(host::RIP, 1 << 32); }),
    (Rule::LongHostPae,                 Long, |s, _| s.clear(host::CR4, 1 << 5)),
    (Rule::LongHostRip,                 Long, |s, _| s.set(host::RIP, BENT)),
];

/// The guest's state.
#[rustfmt::skip]
pub(super) const GUEST: &[(Rule, Mode, Break)] = &[
    (Rule::GuestCr0,                    Long, |s, _| s.clear(guest::CR0, 1 << 5)),
    (Rule::GuestCr0,                    Bound, |s, _| { s.clear(guest::CR0, 1 << 5); }),
    (Rule::GuestCr0,                    Real, |s, _| s.or(guest::CR0, 1 << 32)),
    (Rule::GuestPagingUnprotected,      Real, |s, _| s.or(guest::CR0, 1 << 31)),
    (Rule::GuestCr4,                    Long, |s, _| s.clear(guest::CR4, 1 << 13)),
    (Rule::GuestCr4,                    Long, |s, _| s.or(guest::CR4, 1 << 31)),
    (Rule::GuestCetWithoutWriteProtect, Long, |s, _| { s.or(guest::CR4, 1 << 23); s.clear(guest::CR0, 1 << 16); }),
    (Rule::GuestDebugControl,           Long, |s, _| s.set(guest::IA32_DEBUGCTL_FULL, 1 << 3)),
    (Rule::GuestLongUnpaged,            Long, |s, _| s.clear(guest::CR0, 1 << 31)),
    (Rule::GuestLongWithoutPae,         Long, |s, _| s.clear(guest::CR4, 1 << 5)),
    (Rule::GuestPcid,                   Protected, |s, _| s.or(guest::CR4, 1 << 17)),
    (Rule::GuestCr3,                    Long, |s, _| s.set(guest::CR3, FAR)),
    (Rule::GuestDr7,                    Long, |s, _| s.set(guest::DR7, 1 << 32)),
    (Rule::GuestSysenterEsp,            Long, |s, _| s.set(guest::IA32_SYSENTER_ESP, BENT)),
    (Rule::GuestSysenterEip,            Long, |s, _| s.set(guest::IA32_SYSENTER_EIP, BENT)),
    (Rule::GuestPat,                    Long, |s, _| s.set(guest::IA32_PAT_FULL, 3)),
    (Rule::GuestEferReserved,           Long, |s, _| s.or(EFER, 1 << 12)),
    (Rule::GuestEferLma,                Long, |s, _| s.clear(EFER, 0x500)),
    (Rule::GuestEferLma,                Protected, |s, _| s.or(EFER, 0x500)),
    (Rule::GuestEferLme,                Long, |s, _| s.clear(EFER, 0x100)),
    (Rule::GuestEferLme,                Pae, |s, _| s.or(EFER, 0x100)),
    (Rule::GuestBounds,                 Long, |s, _| { s.or(ENTRY, 1 << 16); s.set(guest::IA32_BNDCFGS_FULL, 4); }),
    (Rule::GuestBounds,                 Long, |s, _| { s.or(ENTRY, 1 << 16); s.set(guest::IA32_BNDCFGS_FULL, BENT); }),
    (Rule::SelectorTable,               Long, |s, _| s.set(guest::TR_SELECTOR, 4)),
    (Rule::SelectorTable,               Long, |s, _| { s.set(LDTR, 0x82); s.set(guest::LDTR_SELECTOR, 4); }),
    (Rule::SsSelector,                  Bound, |s, _| s.or(guest::CS_SELECTOR, 3)),
    (Rule::SegmentBase,                 Long, |s, _| s.set(guest::TR_BASE, BENT)),
    (Rule::SegmentBase,                 Long, |s, _| { s.set(LDTR, 0x82); s.set(guest::LDTR_BASE, BENT); }),
    (Rule::CsType,                      Long, |s, _| s.set(CS, 0xa09a)),
    (Rule::CsType,                      Long, |s, _| s.set(CS, 0xa097)),
    (Rule::CsType,                      Bound, |s, _| s.set(CS, 0xa093)),
    (Rule::SsType,                      Long, |s, _| s.set(SS, 0xc091)),
    (Rule::DataAccessed,                Long, |s, _| s.set(DS, 0xc092)),
    (Rule::DataReadable,                Long, |s, _| s.set(DS, 0xc099)),
    (Rule::CsDplData,                   Real, |s, _| s.set(CS, 0xf3)),
    (Rule::CsDplOwn,                    Long, |s, _| s.set(CS, 0xa0fb)),
    (Rule::CsDplConforming,             Long, |s, _| s.set(CS, 0xa0ff)),
    (Rule::SsDplRpl,                    Bound, |s, _| { s.or(guest::CS_SELECTOR, 3); s.or(guest::SS_SELECTOR, 3); }),
    (Rule::SsDplReal,                   Real, |s, _| { s.set(CS, 0xfb); s.set(SS, 0xf3); }),
    (Rule::SsDplReal,                   Protected, |s, _| { s.set(CS, 0xc093); s.set(SS, 0xc0f3); }),
    (Rule::DataDpl,                     Bound, |s, _| s.or(guest::DS_SELECTOR, 3)),
    (Rule::CsWidth,                     Long, |s, _| s.or(CS, 1 << 14)),
    (Rule::TrType,                      Long, |s, _| s.set(TR, 0x83)),
    (Rule::TrType,                      Protected, |s, _| s.set(TR, 0x89)),
    (Rule::TrUsable,                    Long, |s, _| s.or(TR, 1 << 16)),
    (Rule::LdtrType,                    Long, |s, _| s.set(LDTR, 0x83)),
    (Rule::System,                      Long, |s, _| s.set(TR, 0x9b)),
    (Rule::System,                      Long, |s, _| s.set(LDTR, 0x92)),
    (Rule::TableBase,                   Long, |s, _| s.set(guest::GDTR_BASE, BENT)),
    (Rule::TableBase,                   Long, |s, _| s.set(guest::IDTR_BASE, BENT)),
    (Rule::TableLimit,                  Long, |s, _| s.set(guest::GDTR_LIMIT, 0x1_0000)),
    (Rule::TableLimit,                  Long, |s, _| s.set(guest::IDTR_LIMIT, 0x1_0000)),
    (Rule::RipHigh,                     Protected, |s, _| s.set(guest::RIP, 1 << 32)),
    (Rule::RipHigh,                     Long, |s, _| s.set(CS, 0xc09b)),
    (Rule::RipCanonical,                Long, |s, _| s.set(guest::RIP, 1 << 48)),
    (Rule::RflagsReserved,              Long, |s, _| s.or(guest::RFLAGS, 1 << 3)),
    (Rule::RflagsReserved,              Long, |s, _| s.or(guest::RFLAGS, 1 << 22)),
    (Rule::RflagsFixed,                 Long, |s, _| s.set(guest::RFLAGS, 0)),
    (Rule::RflagsInterrupt,             Long, |s, _| s.set(EVENT, INTERRUPT)),
    (Rule::ActivityUnknown,             Long, |s, _| s.set(ACTIVITY, 4)),
    (Rule::ActivityUnknown,             Long, |s, c| { c.misc &= !(1 << 7); s.set(ACTIVITY, 2); }),
    (Rule::HaltedPrivilege,             Long, |s, _| { s.set(ACTIVITY, 1); s.set(CS, 0xa0fb); s.set(SS, 0xc0f3); }),
    (Rule::InactiveBlocked,             Long, |s, _| { s.set(ACTIVITY, 1); s.set(BLOCKING, 2); }),
    (Rule::InactiveInjection,           Long, |s, _| { s.set(ACTIVITY, 1); s.set(EVENT, UD); }),
    (Rule::InactiveInjection,           Long, |s, _| { s.set(ACTIVITY, 2); s.set(EVENT, DB); }),
    (Rule::InactiveInjection,           Long, |s, _| { s.set(ACTIVITY, 3); s.set(EVENT, NMI); }),
    (Rule::InterruptibilityReserved,    Long, |s, _| s.set(BLOCKING, 1 << 5)),
    (Rule::BothBlockings,               Long, |s, _| { s.or(guest::RFLAGS, 1 << 9); s.set(BLOCKING, 3); }),
    (Rule::StiWithoutInterrupts,        Long, |s, _| s.set(BLOCKING, 1)),
    (Rule::InterruptBlocked,            Long, |s, _| { s.or(guest::RFLAGS, 1 << 9); s.set(EVENT, INTERRUPT); s.set(BLOCKING, 1); }),
    (Rule::InterruptBlocked,            Long, |s, _| { s.or(guest::RFLAGS, 1 << 9); s.set(EVENT, INTERRUPT); s.set(BLOCKING, 2); }),
    (Rule::NmiBehindMovSs,              Long, |s, _| { s.set(EVENT, NMI); s.set(BLOCKING, 2); }),
    (Rule::NmiBehindSti,                Long, |s, _| { s.or(guest::RFLAGS, 1 << 9); s.set(EVENT, NMI); s.set(BLOCKING, 1); }),
    (Rule::NmiBlocked,                  Long, |s, _| { s.set(EVENT, NMI); s.set(BLOCKING, 8); }),
    (Rule::SmiBlocked,                  Long, |s, _| s.set(BLOCKING, 4)),
    (Rule::EnclaveBehindMovSs,          Long, |s, _| s.set(BLOCKING, 0x12)),
    (Rule::PendingReserved,             Long, |s, _| s.set(PENDING, 1 << 4)),
    (Rule::PendingStepMissing,          Long, |s, _| { s.or(guest::RFLAGS, 1 << 8); s.set(ACTIVITY, 1); }),
    (Rule::PendingStepMissing,          Long, |s, _| { s.or(guest::RFLAGS, 1 << 8); s.set(BLOCKING, 2); }),
    (Rule::PendingStepExtra,            Long, |s, _| { s.set(BLOCKING, 2); s.set(PENDING, 1 << 14); }),
    (Rule::PendingStepExtra,            Long, |s, _| { s.or(guest::RFLAGS, 1 << 8); s.set(BLOCKING, 2); s.set(guest::IA32_DEBUGCTL_FULL, 2); s.set(PENDING, 1 << 14); }),
    (Rule::PendingTransaction,          Long, |s, _| s.set(PENDING, 1 << 16)),
    (Rule::PendingTransaction,          Long, |s, _| { s.set(PENDING, 0x1_1000); s.set(BLOCKING, 2); }),
    (Rule::LinkPointer,                 Long, |s, _| s.set(guest::LINK_PTR_FULL, ODD)),
    (Rule::LinkPointer,                 Long, |s, _| s.set(guest::LINK_PTR_FULL, FAR)),
    (Rule::PageDirectoryPointer,        Pae, |s, _| s.set(guest::PDPTE0_FULL, 0x7003)),
    (Rule::PageDirectoryPointer,        Pae, |s, _| s.set(guest::PDPTE3_FULL, FAR | 1)),
];

/// Rules that cannot be broken alone come with these.
pub(super) const TOGETHER: &[(Rule, &[Rule])] = &[
    (Rule::HostSsNull, &[Rule::HostSize]),
    (Rule::LongGuestOfShortHost, &[Rule::HostSize]),
    (Rule::ShortHostPcid, &[Rule::HostSize]),
    (Rule::ShortHostRip, &[Rule::HostSize]),
];

/// Posted interrupts, as they should be.
pub(super) fn posted(fields: &mut Structure) {
    fields.or(PIN, 1 << 7);
    fields.or(SECONDARY, 1 << 9);
    fields.or(EXIT, 1 << 15);
    fields.set(control::POSTED_INTERRUPT_NOTIFICATION_VECTOR, 0xf0);
    fields.set(control::POSTED_INTERRUPT_DESC_ADDR_FULL, 0x7040);
}

/// EPTP switching, as it should be.
pub(super) fn switching(fields: &mut Structure) {
    fields.or(SECONDARY, 1 << 13);
    fields.set(control::VM_FUNCTION_CONTROLS_FULL, 1);
    fields.set(control::EPTP_LIST_ADDR_FULL, 0x8000);
}

/// A host that is not 64-bit, and as it should be otherwise.
fn short(fields: &mut Structure, _: &mut Capabilities) {
    fields.clear(EXIT, 1 << 9);
    fields.clear(host::IA32_EFER_FULL, 0x500);
    fields.set(host::RIP, 0x1000);
}
