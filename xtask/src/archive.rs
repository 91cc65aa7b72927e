//! A cpio archive in the "newc" format, as Linux takes its first filesystem and as an image takes its modules.
//!
//! Invariant: the bytes depend on what was added and on nothing else, so the same input gives the same archive.

use anyhow::{Context, Result};
use cpio::newc::{Builder, ModeFileType, trailer};
use std::io::Write;

/// An archive that is being filled.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// An empty one.
    pub fn new() -> Archive {
        Archive::default()
    }

    /// Adds a folder; those above it must be there already.
    pub fn folder(&mut self, name: &str) -> Result<()> {
        self.entry(name, 0o755, ModeFileType::Directory, (0, 0), &[])
    }

    /// Adds a file that anyone may read.
    pub fn file(&mut self, name: &str, contents: &[u8]) -> Result<()> {
        self.entry(name, 0o644, ModeFileType::Regular, (0, 0), contents)
    }

    /// Adds a file that anyone may run.
    pub fn program(&mut self, name: &str, contents: &[u8]) -> Result<()> {
        self.entry(name, 0o755, ModeFileType::Regular, (0, 0), contents)
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, name: &str, to: &str) -> Result<()> {
        self.entry(name, 0o777, ModeFileType::Symlink, (0, 0), to.as_bytes())
    }

    /// Adds a character device.
    pub fn device(&mut self, name: &str, major: u32, minor: u32) -> Result<()> {
        self.entry(name, 0o600, ModeFileType::Char, (major, minor), &[])
    }

    /// The archive, ended, and padded so that another may follow it.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        trailer(&mut self.bytes).context("cannot end the cpio archive")?;
        pad(&mut self.bytes);
        Ok(self.bytes)
    }

    fn entry(
        &mut self,
        name: &str,
        mode: u32,
        kind: ModeFileType,
        device: (u32, u32),
        contents: &[u8],
    ) -> Result<()> {
        let size = u32::try_from(contents.len()).with_context(|| format!("{name}: too large for cpio"))?;
        self.entries = self.entries.saturating_add(1);
        let mut writer = Builder::new(name)
            .ino(self.entries)
            .nlink(1)
            .mode(mode)
            .set_mode_file_type(kind)
            .rdev_major(device.0)
            .rdev_minor(device.1)
            .write(&mut self.bytes, size);
        writer
            .write_all(contents)
            .with_context(|| format!("{name}: cannot add to the cpio archive"))?;
        writer
            .finish()
            .with_context(|| format!("{name}: cannot add to the cpio archive"))?;
        Ok(())
    }
}

/// Appends `archive` to `bytes` so that Linux unpacks both, the later over the earlier.
pub fn append(bytes: &mut Vec<u8>, archive: &[u8]) {
    pad(bytes);
    bytes.extend_from_slice(archive);
}

/// Linux looks for the next archive at a multiple of four bytes.
fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_input_gives_the_same_archive_and_every_entry_comes_back() {
        let build = || {
            let mut archive = Archive::new();
            archive.folder("bin").unwrap();
            archive.program("bin/busybox", b"\x7fELF").unwrap();
            archive.link("init", "/bin/busybox").unwrap();
            archive.device("console", 5, 1).unwrap();
            archive.finish().unwrap()
        };
        assert_eq!(build(), build());
        let mut input = std::io::Cursor::new(build());
        let mut names = Vec::new();
        loop {
            let reader = cpio::newc::Reader::new(input).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let entry = reader.entry();
            names.push((
                entry.name().to_owned(),
                entry.mode(),
                entry.rdev_major(),
                entry.file_size(),
            ));
            input = reader.finish().unwrap();
        }
        assert_eq!(
            names,
            [
                ("bin".to_owned(), 0o040_755, 0, 0),
                ("bin/busybox".to_owned(), 0o100_755, 0, 4),
                ("init".to_owned(), 0o120_777, 0, 12),
                ("console".to_owned(), 0o020_600, 5, 0),
            ]
        );
    }

    #[test]
    fn an_appended_archive_starts_at_a_multiple_of_four() {
        let mut bytes = b"12345".to_vec();
        append(&mut bytes, b"0707");
        assert_eq!(bytes, b"12345\0\0\x000707");
    }
}
