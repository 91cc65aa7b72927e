//! From a loader's jump to a running host: one image, three boot protocols, one [`BootInfo`].

pub mod bundle;
#[cfg(target_os = "none")]
mod entry;
#[cfg(any(target_os = "none", test))]
mod gather;
pub mod info;
pub mod memory_map;
#[cfg(any(target_os = "none", test))]
mod multiboot1;
#[cfg(any(target_os = "none", test))]
mod multiboot2;
#[cfg(any(target_os = "none", test))]
mod pvh;
#[cfg(any(target_os = "none", test))]
mod reader;
#[cfg(target_os = "none")]
pub(crate) mod start;
#[cfg(target_os = "none")]
pub(crate) mod trampoline;

pub use info::BootInfo;

/// The magic numbers of the protocols.
#[cfg(any(target_os = "none", test))]
mod magic {
    /// First word of PVH's start information, and what our entry passes on for it.
    pub(super) const PVH_MAGIC: u32 = 0x336e_c578;
    /// What a multiboot 1 loader leaves in EAX.
    pub(super) const MULTIBOOT1_MAGIC: u32 = 0x2bad_b002;
    /// What a multiboot 2 loader leaves in EAX.
    pub(super) const MULTIBOOT2_MAGIC: u32 = 0x36d7_6289;
    /// Type of the tag that ends multiboot 2's lists, in header and information.
    pub(super) const MULTIBOOT2_TAG_END: u16 = 0;
}
