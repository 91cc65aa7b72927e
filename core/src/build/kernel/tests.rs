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

#[test]
fn real_kernels_load_as_their_unpacked_selves() {
    let Some(directory) = std::env::var_os("XENVISOR_TEST_KERNELS") else {
        std::println!("skipped: XENVISOR_TEST_KERNELS names no directory of kernels");
        return;
    };
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let Some(version) = name.strip_prefix("vmlinuz-") else {
            continue;
        };
        let mut memory = Memory::ram(128 * MIB);
        let clock = std::time::Instant::now();
        let kernel = load_into(&mut memory, &std::fs::read(&path).unwrap()).unwrap();
        std::println!("{name}: {kernel:x?} in {:?}", clock.elapsed());
        seen += 1;
        let Ok(unpacked) = std::fs::read(path.with_file_name(format!("vmlinux-{version}"))) else {
            continue;
        };
        let mut other = Memory::ram(128 * MIB);
        let raw = load_into(&mut other, &unpacked).unwrap();
        assert_eq!(
            (raw.entry, raw.segments, raw.format),
            (kernel.entry, kernel.segments, None)
        );
        assert!(
            memory.contents().eq(other.contents()),
            "{name} is not in memory what its vmlinux is"
        );
    }
    assert_ne!(seen, 0, "no vmlinuz-* in the directory");
}
