//! What a guest is made of, from Debian's own packages: a kernel and busybox. Fetched once, kept in the cache.

use crate::apt::{self, Apt, Suite};
use crate::workspace;
use anyhow::{Context, Result};
use clap::ValueEnum;
use std::path::{Path, PathBuf};

/// Which of Debian's kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kernel {
    /// linux-image-cloud-amd64: for virtual machines, small
    Cloud,
    /// linux-image-amd64: for any computer
    Amd64,
    /// linux-image-cloud-amd64 of bookworm-backports: newer
    Backports,
}

impl Kernel {
    /// All of them.
    pub const ALL: [Kernel; 3] = [Kernel::Cloud, Kernel::Amd64, Kernel::Backports];

    const fn package(self) -> &'static str {
        match self {
            Kernel::Cloud | Kernel::Backports => "linux-image-cloud-amd64",
            Kernel::Amd64 => "linux-image-amd64",
        }
    }

    const fn suite(self) -> Suite {
        match self {
            Kernel::Cloud | Kernel::Amd64 => Suite::Release,
            Kernel::Backports => Suite::Backports,
        }
    }

    const fn folder(self) -> &'static str {
        match self {
            Kernel::Cloud => "kernel-cloud",
            Kernel::Amd64 => "kernel-amd64",
            Kernel::Backports => "kernel-backports",
        }
    }

    /// The compressed kernel, as Debian ships it in `/boot`.
    pub fn fetch(self) -> Result<PathBuf> {
        let folder = workspace::cache_dir()?.join(self.folder());
        let kernel = folder.join("vmlinuz");
        fetch_once(&kernel, |scratch| {
            let apt = Apt::open(self.suite())?;
            let package = apt.resolve(self.package(), "linux-image-")?;
            let packages = apt.download(
                &format!("fetching {package}"),
                std::slice::from_ref(&package),
                scratch,
            )?;
            let package = only(packages)?;
            apt::unpack(&package, "./boot", scratch)?;
            find(&scratch.join("boot"), |name| name.starts_with("vmlinuz-"))
        })?;
        Ok(kernel)
    }
}

/// busybox, linked statically: the whole userland of a small guest.
pub fn busybox() -> Result<PathBuf> {
    let busybox = workspace::cache_dir()?.join("busybox").join("busybox");
    fetch_once(&busybox, |scratch| {
        let apt = Apt::open(Suite::Release)?;
        let packages = apt.download("fetching busybox-static", &["busybox-static".to_owned()], scratch)?;
        apt::unpack(&only(packages)?, "./bin/busybox", scratch)?;
        Ok(scratch.join("bin/busybox"))
    })?;
    Ok(busybox)
}

/// Where [`xen_headers`] keeps them: the folder in which `xen/xen.h` is.
pub fn xen_headers_folder() -> Result<PathBuf> {
    Ok(workspace::cache_dir()?.join("xen-headers"))
}

/// Xen's public headers, for a machine on which they are not installed.
pub fn xen_headers() -> Result<PathBuf> {
    let folder = xen_headers_folder()?;
    fetch_once(&folder.join("xen"), |scratch| {
        let apt = Apt::open(Suite::Release)?;
        let packages = apt.download("fetching libxen-dev", &["libxen-dev".to_owned()], scratch)?;
        apt::unpack(&only(packages)?, "./usr/include/xen", scratch)?;
        Ok(scratch.join("usr/include/xen"))
    })?;
    Ok(folder)
}

/// Makes `file` be there: `fetch` gets it in a scratch folder and says what it is called; it appears whole or not at all.
pub(crate) fn fetch_once(file: &Path, fetch: impl FnOnce(&Path) -> Result<PathBuf>) -> Result<()> {
    if file.exists() {
        return Ok(());
    }
    let _lock = workspace::lock_cache()?;
    if file.exists() {
        return Ok(());
    }
    let cache = workspace::cache_dir()?;
    let scratch = tempfile::tempdir_in(&cache).context("cannot create a scratch folder")?;
    let fetched = fetch(scratch.path())?;
    let folder = file.parent().unwrap_or(&cache);
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    std::fs::rename(&fetched, file).with_context(|| format!("cannot keep {}", file.display()))
}

fn only(files: Vec<PathBuf>) -> Result<PathBuf> {
    files.into_iter().next().context("apt downloaded nothing")
}

/// The first file of a folder, by name, whose name is as wanted.
pub(crate) fn find(folder: &Path, is_it: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let found = entries(folder)?.into_iter().find(|(name, _)| is_it(name));
    found
        .map(|(_, path)| path)
        .with_context(|| format!("what is wanted is not in {}", folder.display()))
}

/// What is in a folder, by name.
pub(crate) fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
        all.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    all.sort();
    Ok(all)
}
