//! Meanings become Xen's error numbers: the only file that knows both.

use xenvisor_abi::errno as raw;
use xenvisor_core::grant::table::VersionError;
use xenvisor_core::machine::{BadAddress, NotRam};
use xenvisor_core::memory::frames::OutOfFrames;
use xenvisor_core::p2m::MapError;
use xenvisor_core::policy::Denied;

/// An error number as a hypercall returns it, negated (public header `errno.h`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(i32);

macro_rules! meanings {
    ($($(#[$doc:meta])* $name:ident = $raw:ident),* $(,)?) => {
        impl Errno {
            $($(#[$doc])* pub const $name: Self = Self(raw::$raw as i32);)*
        }
    };
}

meanings! {
    /// The policy says no, or the caller is not the kernel.
    NOT_PERMITTED = EPERM,
    /// There is no such thing.
    NO_ENTRY = ENOENT,
    /// There is no such domain.
    NO_DOMAIN = ESRCH,
    /// A list is longer than can be.
    TOO_LONG = E2BIG,
    /// Not now; try again.
    AGAIN = EAGAIN,
    /// No memory.
    NO_MEMORY = ENOMEM,
    /// The interface version is another.
    ACCESS = EACCES,
    /// An address is not memory.
    FAULT = EFAULT,
    /// It is in use.
    BUSY = EBUSY,
    /// It is there already.
    EXISTS = EEXIST,
    /// There is no such device.
    NO_DEVICE = ENODEV,
    /// An argument is wrong.
    INVALID = EINVAL,
    /// All are in use.
    NO_SPACE = ENOSPC,
    /// There is no such call.
    NO_CALL = ENOSYS,
    /// There is such a call, but not here.
    NOT_SUPPORTED = EOPNOTSUPP,
    /// The deadline has passed.
    TIME = ETIME,
    /// There is nothing to read.
    NO_DATA = ENODATA,
    /// A number is out of range.
    RANGE = ERANGE,
    /// A number is none that could have been reached.
    DOMAIN = EDOM,
    /// A call goes on where it has never been.
    SEQUENCE = EILSEQ,
    /// The buffer is too small.
    NO_BUFFER = ENOBUFS,
    /// The other side is not there (any more).
    NOT_CONNECTED = ENOTCONN,
    /// A number is too large for its field.
    OVERFLOW = EOVERFLOW,
    /// The domain is dying, or the device is gone.
    NO_SUCH_ADDRESS = ENXIO,
}

impl Errno {
    /// The number, positive.
    #[must_use]
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// What the guest finds in its result register.
    #[must_use]
    pub fn result(self) -> u64 {
        i64::from(self.0).wrapping_neg().cast_unsigned()
    }
}

impl From<NotRam> for Errno {
    fn from(_: NotRam) -> Self {
        Self::FAULT
    }
}

impl From<Denied> for Errno {
    fn from(_: Denied) -> Self {
        Self::NOT_PERMITTED
    }
}

impl From<BadAddress> for Errno {
    fn from(_: BadAddress) -> Self {
        Self::FAULT
    }
}

impl From<OutOfFrames> for Errno {
    fn from(_: OutOfFrames) -> Self {
        Self::NO_MEMORY
    }
}

impl From<MapError> for Errno {
    fn from(error: MapError) -> Self {
        match error {
            MapError::OutOfFrames => Self::NO_MEMORY,
            MapError::Misaligned | MapError::OutOfRange => Self::INVALID,
        }
    }
}

impl From<VersionError> for Errno {
    fn from(error: VersionError) -> Self {
        match error {
            VersionError::InUse(_) => Self::BUSY,
            VersionError::NoCounterpart(_) => Self::RANGE,
            VersionError::OutOfFrames => Self::NO_MEMORY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_the_negated_number_in_64_bits() {
        assert_eq!(Errno::NO_CALL.result(), 0xffff_ffff_ffff_ffda);
        assert_eq!(Errno::NOT_PERMITTED.result(), u64::MAX);
    }
}
