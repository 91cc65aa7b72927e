//! What Xen and its dom0 are made of, from Debian's packages.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::apt::{self, Apt, Suite};
use crate::debian::{self, entries, find};
use crate::workspace;

/// The hypervisor.
const HYPERVISOR: &str = "xen-hypervisor-4.17-amd64";
/// The tools, and every library they need.
const TOOLS: [&str; 18] = [
    "xen-utils-4.17",
    "libc6",
    "libgcc-s1",
    "liblzma5",
    "libuuid1",
    "libxencall1",
    "libxendevicemodel1",
    "libxenevtchn1",
    "libxenforeignmemory1",
    "libxengnttab1",
    "libxenhypfs1",
    "libxenmisc4.17",
    "libxenstore4",
    "libxentoolcore1",
    "libxentoollog1",
    "libyajl2",
    "libzstd1",
    "zlib1g",
];
/// Where the drivers of dom0's kernel are, below its folder of modules.
const DRIVERS: &str = "kernel/drivers/xen";

/// Folders with everything, unpacked.
pub(super) struct Packages {
    folder: PathBuf,
}

impl Packages {
    /// Fetches what is not there yet.
    pub(super) fn fetch() -> Result<Packages> {
        let folder = workspace::cache_dir()?.join("xen");
        debian::fetch_once(&folder, |scratch| {
            let apt = Apt::open(Suite::Release)?;
            let kernel = apt.resolve("linux-image-amd64", "linux-image-")?;
            let mut wanted: Vec<String> = TOOLS.iter().map(|name| (*name).to_owned()).collect();
            wanted.extend([HYPERVISOR.to_owned(), kernel.clone()]);
            let root = scratch.join("root");
            for file in apt.download("fetching Xen, its tools and a kernel for dom0", &wanted, scratch)? {
                let name = file
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                if name.starts_with("linux-image-") {
                    apt::unpack(&file, "./boot", &root)?;
                    let release = kernel.trim_start_matches("linux-image-");
                    apt::unpack(&file, &format!("./lib/modules/{release}/{DRIVERS}"), &root)?;
                } else {
                    apt::unpack(&file, "./", &root)?;
                }
            }
            Ok(root)
        })?;
        Ok(Packages { folder })
    }

    /// The hypervisor, compressed with gzip.
    pub(super) fn hypervisor(&self) -> Result<PathBuf> {
        find(&self.folder.join("boot"), |name| {
            name.starts_with("xen-4") && name.ends_with(".gz")
        })
    }

    /// dom0's kernel.
    pub(super) fn kernel(&self) -> Result<PathBuf> {
        find(&self.folder.join("boot"), |name| name.starts_with("vmlinuz-"))
    }

    /// One of dom0's kernel modules, by its path below the drivers.
    pub(super) fn module(&self, name: &str) -> Result<Vec<u8>> {
        let release = find(&self.folder.join("lib/modules"), |_| true)?;
        read(&release.join(DRIVERS).join(name))
    }

    /// One of the tools.
    pub(super) fn tool(&self, name: &str) -> Result<Vec<u8>> {
        read(&self.folder.join("usr/lib/xen-4.17/bin").join(name))
    }

    /// Every library, with its name, and the loader last.
    pub(super) fn libraries(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut libraries = Vec::new();
        for folder in ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"] {
            for (name, file) in entries(&self.folder.join(folder))? {
                if file.is_file() && name.contains(".so.") {
                    libraries.push((name, read(&file)?));
                }
            }
        }
        Ok(libraries)
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}
