//! Tables that add up, point to each other, and fit their place.

use std::vec::Vec;

use super::*;

const AT: u64 = 0xfc00_1000;

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().unwrap())
}

/// The table at a guest address.
fn table(tables: &Tables, at: u64) -> &[u8] {
    let bytes = &tables.bytes[usize::try_from(at - AT).unwrap()..];
    &bytes[..u32_at(bytes, 4) as usize]
}

fn made(vcpus: u32) -> Tables {
    tables(vcpus, GuestAddr::new(AT)).unwrap()
}

/// FADT of revision 5 and of revision 1, MADT.
fn found(tables: &Tables) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let rsdt = table(tables, u32_at(&tables.rsdp, 16).into());
    let xsdt = table(tables, u64_at(&tables.rsdp, 24));
    assert_eq!(
        (&rsdt[..4], rsdt.len(), &xsdt[..4], xsdt.len()),
        (&b"RSDT"[..], 44, &b"XSDT"[..], 52)
    );
    let madt = u64_at(xsdt, 44);
    assert_eq!(u64::from(u32_at(rsdt, 40)), madt);
    let old = table(tables, u32_at(rsdt, 36).into());
    (
        table(tables, u64_at(xsdt, 36)).into(),
        old.into(),
        table(tables, madt).into(),
    )
}

#[test]
fn every_table_adds_up_to_zero() {
    for vcpus in [1, 2, 64, VCPUS_MAX] {
        let tables = made(vcpus);
        let (fadt, old, madt) = found(&tables);
        let dsdt = table(&tables, u64_at(&fadt, 140));
        for table in [&fadt, &old, &madt, dsdt] {
            assert_eq!(sum(table), 0);
        }
        assert_eq!(sum(table(&tables, u32_at(&tables.rsdp, 16).into())), 0);
        assert_eq!(sum(table(&tables, u64_at(&tables.rsdp, 24))), 0);
        assert_eq!((sum(&tables.rsdp[..20]), sum(&tables.rsdp)), (0, 0));
    }
}

#[test]
fn the_largest_guest_fits_the_region() {
    assert!(made(VCPUS_MAX).bytes.len() as u64 <= REGION_BYTES);
    assert_eq!(made(VCPUS_MAX).rsdp.len() as u64, RSDP_BYTES);
}

#[test]
fn the_fadt_names_what_a_pvh_guest_has_not() {
    let tables = made(1);
    let (fadt, old, _) = found(&tables);
    assert_eq!((fadt.len(), old.len()), (268, 116));
    assert_eq!((fadt[8], old[8]), (5, 1));
    for fadt in [&fadt, &old] {
        assert_eq!(u32_at(fadt, 56), 0xb000);
        assert_eq!(u32_at(fadt, 64), 0xb004);
        assert_eq!(u32_at(fadt, 76), 0, "there is no power-management timer");
        assert_eq!(u32_at(fadt, 80), 0xafe0);
        assert_eq!(u32_at(fadt, 48), 0, "there is no SMI command");
        assert_eq!(fadt[46], 9);
        assert_eq!(u32_at(fadt, 112) & 1 << 20, 0, "hardware is not reduced");
        assert_eq!(table(&tables, u32_at(fadt, 40).into())[..4], *b"DSDT");
        let facs = table(&tables, u32_at(fadt, 36).into());
        assert_eq!(
            (&facs[..4], facs.len(), u32_at(fadt, 36) % 64),
            (&b"FACS"[..], 64, 0)
        );
    }
    assert_eq!(fadt[109..111], [0x24, 0], "no VGA, no CMOS clock");
    assert_eq!(fadt[116..129], [1, 8, 0, 0, 0xf9, 0x0c, 0, 0, 0, 0, 0, 0, 6]);
    assert_eq!(u64_at(&fadt, 140), u32_at(&fadt, 40).into());
    assert_eq!(fadt[148..160], [1, 32, 0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(fadt[172..184], [1, 16, 0, 0, 4, 0xb0, 0, 0, 0, 0, 0, 0]);
    assert!(fadt[184..].iter().all(|byte| *byte == 0), "nothing else is named");
}

#[test]
fn the_madt_has_a_local_apic_for_each_vcpu_and_nothing_else() {
    let (_, _, madt) = found(&made(3));
    assert_eq!((u32_at(&madt, 36), u32_at(&madt, 40)), (0xfee0_0000, 1));
    let entries: Vec<_> = madt[44..].chunks(8).collect();
    assert_eq!(
        entries,
        [
            [0, 8, 0, 0, 1, 0, 0, 0],
            [0, 8, 1, 2, 1, 0, 0, 0],
            [0, 8, 2, 4, 1, 0, 0, 0]
        ]
    );
}

#[test]
fn the_dsdt_has_a_processor_for_each_vcpu() {
    for (vcpus, length_bytes) in [(1, 1), (2, 2), (VCPUS_MAX, 3)] {
        let tables = made(vcpus);
        let (fadt, ..) = found(&tables);
        let dsdt = table(&tables, u64_at(&fadt, 140));
        let code = &dsdt[36..];
        assert_eq!(code[0], 0x10, "a scope");
        assert_eq!(usize::from(code[1] >> 6) + 1, length_bytes);
        let length = match length_bytes {
            1 => usize::from(code[1]),
            2 => usize::from(code[1] & 15) | usize::from(code[2]) << 4,
            _ => usize::from(code[1] & 15) | usize::from(code[2]) << 4 | usize::from(code[3]) << 12,
        };
        assert_eq!(length, code.len() - 1, "the scope is all of it");
        let processors = code.windows(9).filter(|window| window == b"ACPI0007\0").count();
        assert_eq!(processors, vcpus as usize);
    }
}

/// Writes the tables as files for `iasl -d`, into the directory that the environment names.
#[test]
#[ignore = "for a person with iasl: XENVISOR_ACPI_DIRECTORY=… cargo test -p xenvisor-core -- --ignored acpi"]
fn tables_as_files() {
    let directory = std::path::PathBuf::from(std::env::var_os("XENVISOR_ACPI_DIRECTORY").unwrap());
    for vcpus in [1, VCPUS_MAX] {
        let tables = made(vcpus);
        let (fadt, old, madt) = found(&tables);
        let dsdt = table(&tables, u64_at(&fadt, 140));
        let facs = table(&tables, u32_at(&fadt, 36).into());
        let rsdt = table(&tables, u32_at(&tables.rsdp, 16).into());
        let xsdt = table(&tables, u64_at(&tables.rsdp, 24));
        for (name, bytes) in [
            ("facp5", &fadt[..]),
            ("facp1", &old),
            ("apic", &madt),
            ("dsdt", dsdt),
            ("facs", facs),
            ("rsdt", rsdt),
            ("xsdt", xsdt),
            ("rsdp", &tables.rsdp),
        ] {
            std::fs::write(directory.join(std::format!("{name}-{vcpus}.aml")), bytes).unwrap();
        }
    }
}
