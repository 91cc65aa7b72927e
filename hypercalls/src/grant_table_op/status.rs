//! Why an element was refused, as Xen says it: meanings become `GNTST_*`.

use xenvisor_abi::grant_table as abi;
use xenvisor_core::grant::copy::{CopyError, NoFrame};
use xenvisor_core::grant::map::{MapError, UnmapError};
use xenvisor_core::grant::pin::PinError;
use xenvisor_core::grant::table::{GrowError, SwapError};
use xenvisor_core::policy::Denied;

/// One of Xen's `GNTST_*` that is not `okay`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refusal(i16);

/// How serving an element ended.
pub(super) type Status = Result<(), Refusal>;

impl Refusal {
    /// For no more particular reason.
    pub(super) const GENERAL: Self = Self(abi::GNTST_general_error);
    /// There is no such domain.
    pub(super) const NO_DOMAIN: Self = Self(abi::GNTST_bad_domain);
    /// The reference names nothing, or the flags ask for nothing.
    pub(super) const NO_ENTRY: Self = Self(abi::GNTST_bad_gntref);
    /// The receipt is none.
    pub(super) const NO_HANDLE: Self = Self(abi::GNTST_bad_handle);
    /// A list is not memory.
    pub(super) const NO_MEMORY_THERE: Self = Self(abi::GNTST_bad_virt_addr);
    /// No receipt is left.
    pub(super) const NO_ROOM: Self = Self(abi::GNTST_no_space);
    /// The policy says no.
    pub(super) const NOT_PERMITTED: Self = Self(abi::GNTST_permission_denied);
    /// There is no frame that may be used so.
    pub(super) const NO_FRAME: Self = Self(abi::GNTST_bad_page);
    /// A copy would leave its frame.
    pub(super) const CROSSES_FRAME: Self = Self(abi::GNTST_bad_copy_arg);
    /// A frame number does not fit into the caller's list.
    pub(super) const TOO_BIG: Self = Self(abi::GNTST_address_too_big);
    /// Not now.
    pub(super) const LATER: Self = Self(abi::GNTST_eagain);
}

/// Xen's number.
pub(super) const fn number(status: Status) -> i16 {
    match status {
        Ok(()) => abi::GNTST_okay,
        Err(refusal) => refusal.0,
    }
}

impl From<Denied> for Refusal {
    fn from(_: Denied) -> Self {
        Self::NOT_PERMITTED
    }
}

impl From<PinError> for Refusal {
    fn from(error: PinError) -> Self {
        match error {
            PinError::NoSuchEntry(_) => Self::NO_ENTRY,
            PinError::NoFrame(_) => Self::NO_FRAME,
            PinError::NoRecord(_) => Self::NO_ROOM,
            PinError::NotOffered(_)
            | PinError::ReadOnly(_)
            | PinError::InUse(_)
            | PinError::Unstable(_)
            | PinError::NotOwn(_)
            | PinError::PassedOn(_) => Self::GENERAL,
        }
    }
}

impl From<MapError> for Refusal {
    fn from(error: MapError) -> Self {
        match error {
            MapError::NoHandle => Self::NO_ROOM,
            MapError::Pin(error) => error.into(),
            MapError::NoSuchKind | MapError::Place(_) => Self::GENERAL,
        }
    }
}

impl From<UnmapError> for Refusal {
    fn from(error: UnmapError) -> Self {
        match error {
            UnmapError::NoSuchHandle(_) => Self::NO_HANDLE,
            UnmapError::NotThere(_) => Self::GENERAL,
        }
    }
}

impl From<GrowError> for Refusal {
    fn from(error: GrowError) -> Self {
        match error {
            GrowError::Limit(_) | GrowError::OutOfFrames => Self::GENERAL,
        }
    }
}

impl From<SwapError> for Refusal {
    fn from(error: SwapError) -> Self {
        match error {
            SwapError::NoSuchEntry(_) => Self::NO_ENTRY,
            SwapError::InUse(_) => Self::LATER,
            SwapError::OutOfFrames => Self::NO_ROOM,
        }
    }
}

impl From<NoFrame> for Refusal {
    fn from(_: NoFrame) -> Self {
        Self::NO_FRAME
    }
}

impl From<CopyError> for Refusal {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::CrossesFrame => Self::CROSSES_FRAME,
            CopyError::OutsideOffer => Self::GENERAL,
        }
    }
}
