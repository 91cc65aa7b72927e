//! Each shape keeps every field on the way from one layout to the other.

use core::any::type_name;
use std::format;
use std::string::String;
use std::vec::Vec;

use xenvisor_abi::HEADERS;
use xenvisor_abi::describe::Layout;

use super::*;

mod alike;
mod memory;
mod narrow;
mod vcpus;

/// A shape's name, and what its bytes become.
pub(super) struct ThereAndBack {
    wide: fn() -> &'static str,
    narrow: &'static str,
    bytes: fn(&[u8]) -> Vec<u8>,
    size: usize,
}

pub(super) const fn there_and_back<T: Shape>(narrow: &'static str) -> ThereAndBack {
    ThereAndBack {
        wide: type_name::<T>,
        narrow,
        bytes: |bytes| {
            T::widen(&T::Compat::read_from_bytes(bytes).unwrap())
                .narrow()
                .as_bytes()
                .to_vec()
        },
        size: size_of::<T::Compat>(),
    }
}

fn layouts() -> impl Iterator<Item = &'static Layout> {
    HEADERS.iter().flat_map(|header| header.compat)
}

/// Every byte of it that is in a field, and not in a gap between fields.
fn meant(layout: &Layout, bytes: &[u8]) -> Vec<u8> {
    let mut meant = Vec::new();
    for field in layout.fields.iter().filter(|field| !field.c.is_empty()) {
        let whole = &bytes[field.offset..field.offset + field.size];
        let nested = layouts().find(|nested| {
            matches!(
                (field.rust, nested.rust),
                ("input" | "output", "Reservation") | ("map", "MemoryMap")
            )
        });
        match nested {
            Some(nested) => meant.extend(self::meant(nested, whole)),
            None => meant.extend(whole),
        }
    }
    meant
}

#[test]
fn no_field_is_lost_between_the_layouts() {
    for shape in THERE_AND_BACK {
        let name = shape.narrow.rsplit("::").next().unwrap().trim();
        let header = (shape.wide)();
        let layout = layouts()
            .find(|layout| layout.rust == name && layout.size == shape.size)
            .unwrap_or_else(|| panic!("{header} has no compat layout {name}"));
        let before: Vec<u8> = (0..shape.size).map(|n| (n as u8).wrapping_mul(37) | 1).collect();
        let mut after = (shape.bytes)(&before);
        if name == "VnumaTopologyInfo" {
            // Of its pointers the upper halves do not count.
            for at in [20, 28, 36] {
                assert_eq!(after[at..at + 4], [0; 4]);
                after[at..at + 4].copy_from_slice(&before[at..at + 4]);
            }
        }
        assert_eq!(meant(layout, &after), meant(layout, &before), "{header}");
    }
}

#[test]
fn numbers_of_a_32_bit_caller_are_widened_with_zeros() {
    let narrow = abi::memory::compat::AddToPhysmap {
        domid: 0x7ff0,
        size: 3,
        space: 1,
        idx: 0x8000_0001,
        gpfn: u32::MAX,
    };
    let wide = abi::memory::AddToPhysmap::widen(&narrow);
    assert_eq!((wide.idx, wide.gpfn), (0x8000_0001, 0xffff_ffff));
    assert_eq!((wide.domid, wide.size, wide.space), (0x7ff0, 3, 1));
    assert_eq!(wide.narrow(), narrow);
}

#[test]
fn fields_are_where_each_layout_has_them() {
    use abi::grant_table::CopyOp;
    assert_eq!(field_at!(Width::Bits64, CopyOp, status), 36);
    assert_eq!(field_at!(Width::Bits32, CopyOp, status), 20);
    assert_eq!(
        (
            bytes_of::<CopyOp>(Width::Bits64),
            bytes_of::<CopyOp>(Width::Bits32)
        ),
        (40, 24)
    );
}

/// Every source file of this crate, tests left out.
fn handlers() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = Vec::from([std::path::PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src"
    ))]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if !name.contains("test") {
                files.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files
}

#[test]
fn no_handler_reads_a_shape_as_if_every_caller_were_64_bit_code() {
    let names: Vec<&str> = THERE_AND_BACK
        .iter()
        .map(|shape| shape.narrow.rsplit("::").next().unwrap().trim())
        .chain(["RegisterRunstateMemoryArea", "RegisterTimeMemoryArea"])
        .collect();
    let files = handlers();
    let whole: usize = files
        .iter()
        .map(|(_, text)| text.matches("cx.read(").count())
        .sum();
    assert!(whole > 10, "handlers are looked at: {whole}");
    for (file, text) in &files {
        for line in text
            .lines()
            .filter(|line| line.contains("cx.read(") || line.contains("cx.read::<"))
        {
            for name in &names {
                let as_type = [format!("::{name} ="), format!("::{name}>")];
                assert!(!as_type.iter().any(|sign| line.contains(sign)), "{file}: {line}");
            }
        }
    }
}
