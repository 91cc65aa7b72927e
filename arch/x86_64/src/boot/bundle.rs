//! A bundle: several modules in one blob, for loaders that give only one.
//!
//! It is a cpio archive of the "newc" kind (what `cpio -H newc` writes, and Linux calls an initramfs); each
//! regular file in it is a module by its name. Nothing is copied: names and contents point into the blob.
//! Pure: tested on a workstation.

use core::fmt;

use cpio_reader::{Entry, Mode};

/// Why a blob is no bundle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BundleError {
    /// It does not start with a cpio header.
    NotCpio,
    /// The archive breaks off, or is garbled, at this offset in bytes.
    BrokenAt(usize),
}

impl fmt::Display for BundleError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCpio => out.write_str("the bundle is not a cpio archive (newc)"),
            Self::BrokenAt(offset) => write!(out, "the bundle is broken at byte {offset}"),
        }
    }
}

/// A "newc" header is 110 bytes of text.
const MAGIC: &[u8] = b"070701";
const HEADER: usize = 110;
const TRAILER: &[u8] = b"TRAILER!!!\0";

/// Calls `found` with each regular file of the bundle, in order.
///
/// # Errors
/// [`BundleError`] where the archive does not reach its own end marker. Files before that have been found.
pub fn each_file<'a>(blob: &'a [u8], mut found: impl FnMut(&'a str, &'a [u8])) -> Result<(), BundleError> {
    if !blob.starts_with(MAGIC) {
        return Err(BundleError::NotCpio);
    }
    let mut next = 0;
    for entry in cpio_reader::iter_files(blob) {
        next = end_of(blob, &entry);
        let kind = entry.mode() & (Mode::REGULAR_FILE | Mode::DIRECTORY | Mode::CHARACTER_SPECIAL_DEVICE);
        if kind == Mode::REGULAR_FILE {
            found(entry.name().trim_start_matches("./"), entry.file());
        }
    }
    // The iterator ends in silence, at the end marker and at damage alike: look which it was.
    let rest = blob.get(next..).unwrap_or_default();
    let name = rest.get(HEADER..).unwrap_or_default();
    if rest.starts_with(MAGIC) && name.starts_with(TRAILER) {
        Ok(())
    } else {
        Err(BundleError::BrokenAt(next))
    }
}

/// The offset of the header after `entry`.
fn end_of(blob: &[u8], entry: &Entry<'_>) -> usize {
    // An empty file's slice still lies where the file would.
    let start = entry.file().as_ptr().addr().saturating_sub(blob.as_ptr().addr());
    start
        .saturating_add(entry.file().len())
        .checked_next_multiple_of(4)
        .unwrap_or(blob.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::{String, ToString};
    use std::vec::Vec;

    fn file(mode: u32, name: &str, content: &[u8]) -> Vec<u8> {
        let mut entry = Vec::from(MAGIC);
        for field in [
            1,
            mode,
            0,
            0,
            1,
            0,
            u32::try_from(content.len()).unwrap(),
            0,
            0,
            0,
            0,
            u32::try_from(name.len() + 1).unwrap(),
            0,
        ] {
            entry.extend(format!("{field:08x}").bytes());
        }
        entry.extend(name.bytes());
        entry.push(0);
        entry.resize(entry.len().next_multiple_of(4), 0);
        entry.extend(content);
        entry.resize(entry.len().next_multiple_of(4), 0);
        entry
    }

    fn bundle() -> Vec<u8> {
        [
            file(0o040_755, "boot", b""),
            file(0o100_644, "vmlinuz", b"kernel"),
            file(0o100_600, "./initrd", b"070701 but not a header"),
            file(0o120_777, "link", b"vmlinuz"),
            file(0o100_644, "empty", b""),
            file(0, "TRAILER!!!", b""),
        ]
        .concat()
    }

    type Found = Vec<(String, Vec<u8>)>;

    fn files(blob: &[u8]) -> (Found, Result<(), BundleError>) {
        let mut all = Vec::new();
        let end = each_file(blob, |name, content| {
            all.push((name.to_string(), content.to_vec()))
        });
        (all, end)
    }

    #[test]
    fn each_regular_file_is_found_by_its_name() {
        let (all, end) = files(&bundle());
        assert_eq!(end, Ok(()));
        let names: Vec<_> = all.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["vmlinuz", "initrd", "empty"]);
        assert_eq!(all[0].1, b"kernel");
        assert_eq!(all[2].1, b"");
    }

    #[test]
    fn what_comes_after_the_end_marker_does_not_matter() {
        let mut blob = bundle();
        blob.extend([0; 512]);
        assert_eq!(files(&blob).1, Ok(()));
    }

    #[test]
    fn a_bundle_cut_anywhere_is_an_error_and_never_a_panic() {
        let blob = bundle();
        let marker = blob.len() - file(0, "TRAILER!!!", b"").len();
        for length in 0..marker + HEADER + TRAILER.len() {
            assert!(files(&blob[..length]).1.is_err(), "cut to {length} bytes");
        }
    }

    #[test]
    fn a_blob_of_another_kind_is_named_so() {
        assert_eq!(files(b"\x7fELF").1, Err(BundleError::NotCpio));
        assert_eq!(files(b"").1, Err(BundleError::NotCpio));
    }
}
