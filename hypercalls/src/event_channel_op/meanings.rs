//! Why an operation on ports was refused, as Xen says it.

use xenvisor_core::event::{
    BindInterdomainError, BindIpiError, BindPirqError, BindVcpuError, BindVirqError, ExpandArrayError,
    InitControlError, NoPort, NoSuchPort, NotOpen, ResetError, SetPriorityError,
};
use xenvisor_core::memory::guest_page::NotOwnRam;
use xenvisor_core::policy::Denied;

use crate::errno::Errno;

impl From<NoPort> for Errno {
    fn from(no: NoPort) -> Self {
        match no {
            NoPort::OutOfPorts => Self::NO_SPACE,
            NoPort::OutOfMemory => Self::NO_MEMORY,
            NoPort::Dying => Self::INVALID,
        }
    }
}

impl From<BindInterdomainError<Denied>> for Errno {
    fn from(error: BindInterdomainError<Denied>) -> Self {
        match error {
            BindInterdomainError::NoPort(no) => no.into(),
            BindInterdomainError::NotOffered(_) => Self::INVALID,
            BindInterdomainError::Refused(denied) => denied.into(),
        }
    }
}

impl From<BindVirqError> for Errno {
    fn from(error: BindVirqError) -> Self {
        match error {
            BindVirqError::NoSuchVirq(_) | BindVirqError::GlobalElsewhere(_) => Self::INVALID,
            BindVirqError::NoSuchVcpu(_) => Self::NO_ENTRY,
            BindVirqError::AlreadyBound(_) => Self::EXISTS,
            BindVirqError::NoPort(no) => no.into(),
        }
    }
}

impl From<BindPirqError> for Errno {
    fn from(error: BindPirqError) -> Self {
        match error {
            BindPirqError::NoSuchPirq(_) => Self::INVALID,
            BindPirqError::AlreadyBound(_) => Self::EXISTS,
            BindPirqError::NoPort(no) => no.into(),
        }
    }
}

impl From<BindIpiError> for Errno {
    fn from(error: BindIpiError) -> Self {
        match error {
            BindIpiError::NoSuchVcpu(_) => Self::NO_ENTRY,
            BindIpiError::NoPort(no) => no.into(),
        }
    }
}

impl From<NotOpen> for Errno {
    fn from(_: NotOpen) -> Self {
        Self::INVALID
    }
}

impl From<NoSuchPort> for Errno {
    fn from(_: NoSuchPort) -> Self {
        Self::INVALID
    }
}

impl From<BindVcpuError> for Errno {
    fn from(error: BindVcpuError) -> Self {
        match error {
            BindVcpuError::NoSuchVcpu(_) => Self::NO_ENTRY,
            BindVcpuError::NotOpen(_) | BindVcpuError::Fixed(_) => Self::INVALID,
        }
    }
}

impl From<ResetError> for Errno {
    fn from(error: ResetError) -> Self {
        match error {
            ResetError::OutOfTurn => Self::BUSY,
            ResetError::OpenedMeanwhile => Self::AGAIN,
        }
    }
}

impl From<InitControlError<NotOwnRam>> for Errno {
    fn from(error: InitControlError<NotOwnRam>) -> Self {
        match error {
            InitControlError::NoSuchVcpu(_) => Self::NO_ENTRY,
            InitControlError::BadOffset(_)
            | InitControlError::AlreadyHasOne(_)
            | InitControlError::BadPage(_) => Self::INVALID,
            InitControlError::OutOfMemory => Self::NO_MEMORY,
        }
    }
}

impl From<ExpandArrayError<NotOwnRam>> for Errno {
    fn from(error: ExpandArrayError<NotOwnRam>) -> Self {
        match error {
            ExpandArrayError::NotFifo => Self::NOT_SUPPORTED,
            ExpandArrayError::Full => Self::NO_SPACE,
            ExpandArrayError::BadPage(_) => Self::INVALID,
        }
    }
}

impl From<SetPriorityError> for Errno {
    fn from(error: SetPriorityError) -> Self {
        match error {
            SetPriorityError::NoSuchPort(_) | SetPriorityError::BadPriority(_) => Self::INVALID,
            SetPriorityError::NotFifo => Self::NO_CALL,
            SetPriorityError::NotOpen(_) => Self::ACCESS,
        }
    }
}
