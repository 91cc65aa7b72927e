//! The rules of an entry, each with the section of the SDM, vol. 3, that has it and a sentence that is true when it is
//! kept. Sections are numbered as in the editions of 2023 and 2024; earlier ones have them one chapter before.

/// Makes the rules, their sections, their sentences and the list of all.
macro_rules! rules {
    ($($section:literal { $($name:ident: $sentence:literal,)* })*) => {
        /// A rule of an entry.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Rule {
            $($(#[doc = $sentence] $name,)*)*
        }

        impl Rule {
            /// All of them, in the manual's order.
            pub const ALL: &'static [Self] = &[$($(Self::$name,)*)*];

            /// The section that has it.
            #[must_use]
            pub const fn section(self) -> &'static str {
                match self {
                    $($(Self::$name)|* => $section,)*
                }
            }

            /// What holds when it is kept.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self {
                    $($(Self::$name => $sentence,)*)*
                }
            }
        }
    };
}

rules! {
    "27.2.1.1" {
        PinReserved: "the bits that must be 1 are, and no reserved bit is",
        PrimaryReserved: "the bits that must be 1 are, and no reserved bit is",
        SecondaryReserved: "the bits that must be 1 are, and no reserved bit is",
        TertiaryReserved: "no reserved bit is set",
        Cr3TargetCount: "there are not more CR3 targets than the processor has",
        IoBitmapAddress: "I/O bitmaps are pages of physical memory",
        MsrBitmapAddress: "MSR bitmaps are a page of physical memory",
        VirtualApicAddress: "the virtual APIC page is a page of physical memory",
        TprThresholdReserved: "without virtual-interrupt delivery, the TPR threshold has four bits",
        VirtualNmisWithoutExits: "virtual NMIs need NMI exits",
        NmiWindowWithoutVirtualNmis: "an NMI window needs virtual NMIs",
        ApicAccessAddress: "the APIC-access page is a page of physical memory",
        ApicWithoutTprShadow: "x2APIC mode, APIC registers and interrupt delivery are virtual with a TPR shadow only",
        X2ApicWithApicAccesses: "APIC accesses and x2APIC mode are not both virtual",
        DeliveryWithoutExits: "virtual-interrupt delivery needs exits for external interrupts",
        PostedWithoutDelivery: "posted interrupts need virtual-interrupt delivery",
        PostedWithoutAcknowledge: "posted interrupts need exits that acknowledge interrupts",
        PostedVector: "the notification vector has eight bits",
        PostedDescriptor: "the posted-interrupt descriptor is 64 aligned bytes of physical memory",
        VpidZero: "a guest's VPID is not 0",
        EptMemoryType: "extended tables are in memory of a type that the processor takes",
        EptLevels: "extended tables have as many levels as the processor takes",
        EptAccessedAndDirty: "accessed and dirty bits are on only where the processor has them",
        EptReserved: "no reserved bit is set, and the tables are in physical memory",
        PageLogWithoutEpt: "page-modification logging needs EPT",
        PageLogAddress: "the page-modification log is a page of physical memory",
        UnrestrictedWithoutEpt: "an unrestricted guest needs EPT",
        ExecuteModesWithoutEpt: "execution rights by mode need EPT",
        SubPagesWithoutEpt: "sub-page write permissions need EPT",
        SubPagesAddress: "the table of sub-page permissions is a page of physical memory",
        FunctionsReserved: "only VM functions are enabled that the processor has",
        SwitchingWithoutEpt: "EPTP switching needs EPT",
        SwitchingAddress: "the list of EPT pointers is a page of physical memory",
        ShadowingAddress: "the bitmaps of VMCS shadowing are pages of physical memory",
        ExceptionInformationAddress: "the information on virtualization exceptions is a page of physical memory",
        TraceWithoutEpt: "processor trace uses guest-physical addresses with EPT, and with its MSR loaded and cleared",
        TscMultiplierZero: "a TSC multiplier is not 0",
    }
    "27.2.1.2" {
        ExitReserved: "the bits that must be 1 are, and no reserved bit is",
        TimerSavedButOff: "a preemption timer that is saved is on",
        ExitStoreArea: "the MSRs to store are 16-byte aligned in physical memory",
        ExitLoadArea: "the MSRs to load are 16-byte aligned in physical memory",
    }
    "27.2.1.3" {
        EntryReserved: "the bits that must be 1 are, and no reserved bit is",
        EntryToSmm: "outside of system management mode an entry neither goes there nor ends its monitor",
        EntryLoadArea: "the MSRs to load are 16-byte aligned in physical memory",
        InjectionType: "the type of the event exists",
        InjectionVector: "the vector is one of the event's type",
        InjectionHasCode: "an exception has an error code if it is one that has, in protected mode alone",
        InjectionReserved: "no reserved bit is set",
        InjectionCode: "an error code has 16 bits",
        InjectionLength: "a software event has an instruction of 1 to 15 bytes, or of 0 where the processor takes it",
    }
    "27.2.2" {
        HostCr0: "bits of CR0 are as VMX needs them",
        HostCr4: "bits of CR4 are as VMX needs them",
        HostCetWithoutWriteProtect: "CR4.CET needs CR0.WP",
        HostCr3: "CR3 is a physical address",
        HostSysenterEsp: "the address is canonical",
        HostSysenterEip: "the address is canonical",
        HostPat: "each memory type exists",
        HostEferReserved: "no reserved bit is set",
        HostEferLong: "LMA and LME are what the host's address-space size is",
    }
    "27.2.3" {
        HostSelector: "the selector is of the global table, for privilege level 0",
        HostCsNull: "the selector is not null",
        HostTrNull: "the selector is not null",
        HostSsNull: "the selector is not null where the host is not 64-bit",
        HostBase: "the base is canonical",
    }
    "27.2.4" {
        HostSize: "the host is 64-bit, since it is in long mode",
        LongGuestOfShortHost: "a host that is not 64-bit has no guest in long mode",
        ShortHostPcid: "a host that is not 64-bit has no CR4.PCIDE",
        ShortHostRip: "a host that is not 64-bit has an RIP of 32 bits",
        LongHostPae: "a 64-bit host has CR4.PAE",
        LongHostRip: "RIP is canonical",
    }
    "27.3.1.1" {
        GuestCr0: "bits of CR0 are as VMX needs them",
        GuestPagingUnprotected: "CR0.PG needs CR0.PE",
        GuestCr4: "bits of CR4 are as VMX needs them",
        GuestCetWithoutWriteProtect: "CR4.CET needs CR0.WP",
        GuestDebugControl: "no reserved bit is set",
        GuestLongUnpaged: "long mode needs CR0.PG",
        GuestLongWithoutPae: "long mode needs CR4.PAE",
        GuestPcid: "CR4.PCIDE needs long mode",
        GuestCr3: "CR3 is a physical address",
        GuestDr7: "DR7 has 32 bits",
        GuestSysenterEsp: "the address is canonical",
        GuestSysenterEip: "the address is canonical",
        GuestPat: "each memory type exists",
        GuestEferReserved: "no reserved bit is set",
        GuestEferLma: "LMA is what the entry control for long mode is",
        GuestEferLme: "with paging, LME is what LMA is",
        GuestBounds: "no reserved bit is set, and the address is canonical",
    }
    "27.3.1.2" {
        SelectorTable: "the selector is of the global table",
        SsSelector: "SS and CS have one RPL",
        V8086Base: "in virtual-8086 mode the base is 16 times the selector",
        SegmentBase: "the base is canonical",
        SegmentBaseHigh: "the base has 32 bits",
        V8086Limit: "in virtual-8086 mode the limit is 0xffff",
        V8086Rights: "in virtual-8086 mode the access rights are 0xf3",
        CsType: "CS is accessed code (or, in an unrestricted guest, accessed read/write data)",
        SsType: "SS is accessed read/write data",
        DataAccessed: "the segment is accessed",
        DataReadable: "code is readable",
        Ordinary: "S is set",
        CsDplData: "the DPL of CS is 0 where it is data",
        CsDplOwn: "the DPL of CS is that of SS where it is non-conforming code",
        CsDplConforming: "the DPL of CS is not above that of SS where it is conforming code",
        SsDplRpl: "the DPL of SS is its RPL",
        SsDplReal: "the DPL of SS is 0 in real mode, or where CS is data",
        DataDpl: "the DPL is not below the RPL, but for conforming code",
        Present: "P is set",
        RightsReserved: "no reserved bit is set",
        CsWidth: "64-bit code is not 32-bit code",
        Granularity: "G fits the limit",
        TrType: "TR is a busy task state, in long mode not one of 16 bits",
        TrUsable: "TR is usable",
        LdtrType: "LDTR is a local descriptor table",
        System: "S is clear",
    }
    "27.3.1.3" {
        TableBase: "the base is canonical",
        TableLimit: "the limit has 16 bits",
    }
    "27.3.1.4" {
        RipHigh: "outside of 64-bit code RIP has 32 bits",
        RipCanonical: "in 64-bit code RIP has no more than the processor's linear address bits",
        RflagsReserved: "no reserved bit is set",
        RflagsFixed: "bit 1 is set",
        RflagsV8086: "virtual-8086 mode needs protected mode outside of long mode",
        RflagsInterrupt: "IF is set where an external interrupt is injected",
    }
    "27.3.1.5" {
        ActivityUnknown: "the processor has this activity state",
        HaltedPrivilege: "a halted guest has privilege level 0",
        InactiveBlocked: "a guest behind STI or MOV SS is active",
        InactiveInjection: "an inactive guest gets no event that would not wake it",
        InterruptibilityReserved: "no reserved bit is set",
        BothBlockings: "STI and MOV SS do not both block",
        StiWithoutInterrupts: "STI blocks only where IF is set",
        InterruptBlocked: "an external interrupt is injected where neither STI nor MOV SS blocks",
        NmiBehindMovSs: "an NMI is injected where MOV SS does not block",
        NmiBehindSti: "an NMI is injected where STI does not block (some processors)",
        NmiBlocked: "with virtual NMIs, an NMI is injected where no NMI blocks",
        SmiBlocked: "outside of system management mode no SMI blocks",
        EnclaveBehindMovSs: "an enclave is not interrupted behind MOV SS",
        PendingReserved: "no reserved bit is set",
        PendingStepMissing: "a blocked or halted guest that traps at each instruction has BS",
        PendingStepExtra: "a blocked or halted guest that does not trap at each instruction has no BS",
        PendingTransaction: "a transaction's debug exception is alone, enabled, and not behind MOV SS",
        LinkPointer: "the VMCS link pointer is all ones, or a page of physical memory",
    }
    "27.3.1.6" {
        PageDirectoryPointer: "a present page directory pointer has no reserved bit",
    }
}
