//! What a domain's builder and the guest itself have set: parameters, memory map, assists.

use alloc::string::String;
use alloc::vec::Vec;

use super::life::Reason;
use super::params::Params;

/// The settings of one domain.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    /// The parameters.
    pub params: Params,
    /// The memory map as the guest sees it, for `XENMEM_memory_map`.
    pub memory_map: Vec<MapEntry>,
    /// The guest wants updates of its run states to be marked while they are written
    /// (`VMASST_TYPE_runstate_update_flag`).
    pub runstate_update_flag: bool,
    /// The reason the guest has noted for a shutdown that follows.
    pub shutdown_code: Option<Reason>,
    /// What the guest has written to the debug port since the last line end.
    pub debug_line: String,
}

/// One line of a memory map, in the terms of e820.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapEntry {
    /// The first byte.
    pub start: u64,
    /// Bytes.
    pub bytes: u64,
    /// 1 RAM, 2 reserved, 3 ACPI tables, 4 ACPI NVS, 5 unusable (public header `hvm/hvm_start_info.h`).
    pub kind: u32,
}

impl MapEntry {
    /// Whether it is RAM.
    #[must_use]
    pub const fn is_ram(&self) -> bool {
        self.kind == 1
    }
}
