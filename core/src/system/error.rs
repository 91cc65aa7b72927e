//! Why a description cannot be booted, in words for the person who boots it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Why there is nothing to boot.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BootError {
    /// A module that the image needs was not loaded.
    NoModule {
        /// Its name.
        wanted: String,
        /// The modules there are.
        present: Vec<&'static str>,
    },
    /// The description has no guests.
    NoGuests,
    /// Two guests have one name.
    SameName {
        /// The name.
        name: String,
    },
    /// A weight that a guest cannot have.
    BadWeight {
        /// The guest.
        name: String,
        /// The weight.
        weight: u32,
    },
    /// A word on the command line that means nothing.
    UnknownOption {
        /// The word.
        key: String,
    },
    /// An option for a guest there is not.
    UnknownGuest {
        /// The guest.
        name: String,
        /// The guests there are.
        present: Vec<String>,
    },
    /// A value that does not fit its option.
    BadValue {
        /// The option.
        key: String,
        /// The value.
        value: String,
        /// What would fit.
        expected: &'static str,
    },
    /// A quotation mark without its partner.
    OpenQuote {
        /// What follows it.
        rest: String,
    },
}

fn list<T: AsRef<str>>(out: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    if items.is_empty() {
        return out.write_str("none");
    }
    for (n, item) in items.iter().enumerate() {
        write!(out, "{}`{}`", if n == 0 { "" } else { ", " }, item.as_ref())?;
    }
    Ok(())
}

impl fmt::Display for BootError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoModule { wanted, present } => {
                write!(out, "the image needs a module `{wanted}`; loaded were: ")?;
                list(out, present)?;
                out.write_str(". Load it, under that name")
            }
            Self::NoGuests => out.write_str("the image describes no guest: there is nothing to run"),
            Self::SameName { name } => write!(out, "two guests are named `{name}`: give each its own name"),
            Self::BadWeight { name, weight } => write!(
                out,
                "guest `{name}` has the weight {weight}; weights are 1 to 65535, and 256 is that of most"
            ),
            Self::UnknownOption { key } => write!(
                out,
                "the command line says `{key}`, which means nothing here; options are guest.NAME.memory, \
                 guest.NAME.vcpus, guest.NAME.event_channels, guest.NAME.weight, guest.NAME.cap, \
                 guest.NAME.on_reboot, guest.NAME.on_crash and guest.NAME.cmdline"
            ),
            Self::UnknownGuest { name, present } => {
                write!(out, "the command line speaks of a guest `{name}`; guests are: ")?;
                list(out, present)
            }
            Self::BadValue { key, value, expected } => {
                write!(out, "the command line says {key}=`{value}`; expected {expected}")
            }
            Self::OpenQuote { rest } => write!(
                out,
                "the command line opens a quotation that never ends: \"{rest}"
            ),
        }
    }
}

impl core::error::Error for BootError {}
