//! What a machine boots.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// What the machine boots.
#[derive(Clone, Debug)]
pub enum Boot {
    /// An image by PVH, with its modules in one bundle.
    Image {
        /// The image.
        image: PathBuf,
        /// The bundle, unless it has no modules.
        bundle: Option<PathBuf>,
    },
    /// An image from an ISO, by GRUB.
    Iso {
        /// The ISO.
        iso: PathBuf,
        /// The image in it, for its symbols.
        image: PathBuf,
    },
    /// Xen, with a Linux as its dom0.
    Xen {
        /// The hypervisor, an ELF file.
        hypervisor: PathBuf,
        /// dom0's kernel.
        kernel: PathBuf,
        /// Its initrd.
        initrd: PathBuf,
    },
    /// A guest's kernel, without an image below it: to find out whose fault something is.
    Bare {
        /// The kernel.
        kernel: PathBuf,
        /// Its initrd.
        initrd: PathBuf,
    },
}

impl Boot {
    /// The image's ELF file, where there is an image.
    pub fn image(&self) -> Option<&Path> {
        match self {
            Boot::Image { image, .. } | Boot::Iso { image, .. } => Some(image),
            Boot::Bare { .. } | Boot::Xen { .. } => None,
        }
    }

    /// How many bytes of modules the machine has to hold.
    pub fn modules_size(&self) -> Result<u64> {
        let size = |file: &Path| {
            std::fs::metadata(file)
                .map(|file| file.len())
                .with_context(|| format!("cannot read {}", file.display()))
        };
        match self {
            Boot::Image {
                bundle: Some(bundle), ..
            } => size(bundle),
            Boot::Image { bundle: None, .. } => Ok(0),
            Boot::Iso { iso, .. } => size(iso),
            Boot::Bare { kernel, initrd } | Boot::Xen { kernel, initrd, .. } => {
                Ok(size(kernel)?.saturating_add(size(initrd)?))
            }
        }
    }
}
