//! `version.h`: `xen_version`, by which a guest learns where it runs.

constants! {
    u32 {
        /// No argument; the result is `major << 16 | minor`.
        XENVER_version = 0;
        /// Fills an [`ExtraVersion`].
        XENVER_extraversion = 1;
        /// Fills a [`CompileInfo`].
        XENVER_compile_info = 2;
        /// Fills a [`CapabilitiesInfo`]: kinds of guest that can run, separated by blanks.
        XENVER_capabilities = 3;
        /// Fills a [`ChangesetInfo`].
        XENVER_changeset = 4;
        /// Fills a [`PlatformParameters`].
        XENVER_platform_parameters = 5;
        /// Fills a [`FeatureInfo`], whose `submap_idx` says which feature word is wanted.
        XENVER_get_features = 6;
        /// No argument; the result is the size of a page in bytes.
        XENVER_pagesize = 7;
        /// Fills an `xen_domain_handle_t`: the caller's UUID.
        XENVER_guest_handle = 8;
        /// Fills a [`CommandLine`]: that of the hypervisor.
        XENVER_commandline = 9;
        /// Fills a [`BuildId`] and as many bytes behind it as fit; a null argument asks for the length.
        XENVER_build_id = 10;
    }
    usize {
        /// Bytes in an [`ExtraVersion`].
        XEN_EXTRAVERSION_LEN = 16;
        /// Bytes in a [`CapabilitiesInfo`].
        XEN_CAPABILITIES_INFO_LEN = 1024;
        /// Bytes in a [`ChangesetInfo`].
        XEN_CHANGESET_INFO_LEN = 64;
        /// Bytes in a [`CommandLine`].
        XEN_COMMANDLINE_LEN = 1024, "sizeof(xen_commandline_t)";
    }
}

/// What follows `major.minor`, ended by a zero byte.
pub type ExtraVersion = [u8; XEN_EXTRAVERSION_LEN];
/// Kinds of guest that can run, ended by a zero byte.
pub type CapabilitiesInfo = [u8; XEN_CAPABILITIES_INFO_LEN];
/// The source the hypervisor was built from, ended by a zero byte.
pub type ChangesetInfo = [u8; XEN_CHANGESET_INFO_LEN];
/// The hypervisor's command line, ended by a zero byte.
pub type CommandLine = [u8; XEN_COMMANDLINE_LEN];

layouts! {
    /// How the hypervisor was built; each a string ended by a zero byte.
    struct CompileInfo = "xen_compile_info" {
        /// The compiler.
        compiler: [u8; 64],
        /// Who.
        compile_by: [u8; 16],
        /// In which network domain.
        compile_domain: [u8; 32],
        /// When.
        compile_date: [u8; 32],
    }

    /// Where the hypervisor lies in a PV guest's address space.
    struct PlatformParameters = "xen_platform_parameters" {
        /// Its first virtual address.
        virt_start: u64,
    }

    /// One word of features.
    struct FeatureInfo = "xen_feature_info" {
        /// In: which word.
        submap_idx: u32,
        /// Out: the bits, numbered by `XENFEAT_*`.
        submap: u32,
    }

    /// Head of a build identifier; its bytes follow.
    struct BuildId = "xen_build_id" {
        /// In: bytes of room; out: bytes of identifier.
        len: u32,
    }
}

/// Layouts of a 32-bit caller.
pub mod compat {
    layouts! {
        /// As [`super::PlatformParameters`].
        struct PlatformParameters = "xen_platform_parameters" {
            /// Its first virtual address.
            virt_start: u32,
        }
    }
}
