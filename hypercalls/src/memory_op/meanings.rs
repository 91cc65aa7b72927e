//! Why a change of a guest's memory was refused, as Xen says it.

use xenvisor_core::grant::table::ShowError;
use xenvisor_core::memory::domain_memory::{MoveError, PlaceError};

use crate::errno::Errno;

impl From<PlaceError> for Errno {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::NotOwn(_) => Self::NO_SUCH_ADDRESS,
            PlaceError::Device(_) => Self::NOT_PERMITTED,
            PlaceError::Map(error) => error.into(),
        }
    }
}

impl From<MoveError> for Errno {
    fn from(error: MoveError) -> Self {
        match error {
            MoveError::Source(_) => Self::INVALID,
            MoveError::Place(error) => error.into(),
        }
    }
}

impl From<ShowError> for Errno {
    fn from(error: ShowError) -> Self {
        match error {
            ShowError::NoSuchFrame(_) => Self::INVALID,
            ShowError::Place(error) => error.into(),
        }
    }
}
