//! What was loaded with the image: a command line and modules.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::BootError;

/// Bytes that were loaded with the image, under a name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Module {
    /// The name.
    pub name: &'static str,
    /// The bytes. They stay where they are: a guest that reboots is built from them again.
    pub bytes: &'static [u8],
}

impl core::fmt::Debug for Module {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(out, "{} ({} bytes)", self.name, self.bytes.len())
    }
}

/// What was loaded with the image.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Boot {
    /// The image's own command line.
    pub command_line: &'static str,
    /// The modules, in the order in which they were given.
    pub modules: Vec<Module>,
}

impl Boot {
    /// The module with this name.
    ///
    /// # Errors
    /// When there is none; the error says which there are.
    pub fn module(&self, name: &str) -> Result<Module, BootError> {
        self.optional_module(name).ok_or_else(|| BootError::NoModule {
            wanted: name.to_string(),
            present: self.modules.iter().map(|module| module.name).collect(),
        })
    }

    /// The module with this name, if there is one.
    #[must_use]
    pub fn optional_module(&self, name: &str) -> Option<Module> {
        self.modules.iter().copied().find(|module| module.name == name)
    }
}
