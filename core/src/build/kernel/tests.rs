//! Loading kernels: whole ones, in every format, and mutilated ones.

use std::format;

use super::*;
use crate::build::testing::Memory;
use crate::number::MIB;

mod mutilated;
pub(crate) mod synthetic;
pub(crate) mod whole;

pub(crate) fn load_into(memory: &mut Memory, file: &[u8]) -> Result<Kernel, KernelError> {
    let extents = memory.extents();
    load(file, &extents, memory)
}

/// The kernels to try: files `vmlinuz-*` in the folder that the environment names, or `vmlinuz` in folders there.
fn real_kernels() -> Option<std::vec::Vec<std::path::PathBuf>> {
    let folder = std::env::var_os("XENVISOR_TEST_KERNELS")?;
    let mut kernels: std::vec::Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| if path.is_dir() { path.join("vmlinuz") } else { path })
        .filter(|path| path.is_file() && path.file_name().unwrap().to_string_lossy().starts_with("vmlinuz"))
        .collect();
    kernels.sort();
    Some(kernels)
}

#[test]
fn real_kernels_load_whole() {
    let Some(kernels) = real_kernels() else {
        std::println!("skipped: XENVISOR_TEST_KERNELS names no folder of kernels");
        return;
    };
    assert!(
        !kernels.is_empty(),
        "there are no kernels where XENVISOR_TEST_KERNELS says"
    );
    for path in kernels {
        let mut memory = Memory::ram(128 * MIB);
        let kernel = load_into(&mut memory, &std::fs::read(&path).unwrap()).unwrap();
        assert!(
            kernel.rsdp_anywhere && kernel.segments.len() > 2,
            "{path:?}: {kernel:?}"
        );
        let entry = kernel.entry.raw();
        // The first thing that Linux does at its PVH entry is to clear the direction flag.
        assert_eq!(memory.bytes(entry, 1), [0xfc], "{path:?}");
        let banner = b"Linux version ";
        let text = memory.bytes(
            kernel.segments[0].start().raw(),
            kernel.segments[0].length() as usize,
        );
        assert!(
            text.windows(banner.len()).any(|bytes| bytes == banner),
            "{path:?}"
        );
        // Where the same kernel lies beside it, unpacked by somebody else.
        let name = path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .replace("vmlinuz", "vmlinux");
        if let Ok(unpacked) = std::fs::read(path.with_file_name(name)) {
            let mut other = Memory::ram(128 * MIB);
            let raw = load_into(&mut other, &unpacked).unwrap();
            assert_eq!(
                (raw.entry, &raw.segments, raw.format),
                (kernel.entry, &kernel.segments, None)
            );
            assert!(
                memory.contents().eq(other.contents()),
                "{path:?} is not in memory what its vmlinux is"
            );
        }
        std::println!("{}: {:?}", path.display(), kernel.format);
    }
}
