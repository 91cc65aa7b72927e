//! The few terms of AML which the definition block of a PVH guest needs, encoded by hand.
//!
//! Source: the ACPI specification, version 5.0, §20.2.

use alloc::vec::Vec;

use crate::build::OutOfMemory;

const SCOPE: &[u8] = &[0x10];
const DEVICE: &[u8] = &[0x5b, 0x82];
const NAME: u8 = 0x08;
const BYTE: u8 = 0x0a;
const STRING: u8 = 0x0d;
const SYSTEM_BUS: &[u8] = b"\\_SB_";

/// Present, enabled, shown, working (§6.3.7).
const WORKING: u8 = 0x0f;

/// The most bytes that one processor takes.
const PROCESSOR_BYTES: usize = 48;

/// A scope `\_SB` with a processor device `PRxx` for each vcpu.
pub(super) fn processors(vcpus: u32) -> Result<Vec<u8>, OutOfMemory> {
    let room = usize::try_from(vcpus)
        .unwrap_or(usize::MAX)
        .saturating_mul(PROCESSOR_BYTES)
        .saturating_add(16);
    let mut devices = OutOfMemory::or_room(room)?;
    let mut device = OutOfMemory::or_room(PROCESSOR_BYTES)?;
    for vcpu in 0..vcpus {
        let [id, ..] = vcpu.to_le_bytes();
        device.clear();
        device.extend_from_slice(&[b'P', b'R', hexadecimal(id >> 4), hexadecimal(id & 15)]);
        named(&mut device, *b"_HID", &[STRING]);
        device.extend_from_slice(b"ACPI0007\0");
        named(&mut device, *b"_UID", &[BYTE, id]);
        named(&mut device, *b"_STA", &[BYTE, WORKING]);
        package(&mut devices, DEVICE, &[], &device);
    }
    let mut code = OutOfMemory::or_room(room)?;
    package(&mut code, SCOPE, SYSTEM_BUS, &devices);
    Ok(code)
}

fn named(out: &mut Vec<u8>, name: [u8; 4], value: &[u8]) {
    out.push(NAME);
    out.extend_from_slice(&name);
    out.extend_from_slice(value);
}

/// A term with a package length, which counts itself (§20.2.4): six bits in one byte, or four in the first
/// byte and eight in each of up to three more, whose number the top bits of the first byte tell.
fn package(out: &mut Vec<u8>, opcode: &[u8], name: &[u8], body: &[u8]) {
    out.extend_from_slice(opcode);
    let content = name.len().saturating_add(body.len());
    let length = (1..=4_usize).find(|bytes| {
        let bits = if *bytes == 1 { 6 } else { 4 + 8 * (bytes - 1) };
        content.saturating_add(*bytes) >> bits == 0
    });
    let following = length.map_or(0, |bytes| bytes.saturating_sub(1));
    let [a, b, c, d, ..] = content.saturating_add(following).saturating_add(1).to_le_bytes();
    if following == 0 {
        out.push(a);
    } else {
        let [following_bits, ..] = following.to_le_bytes();
        out.push(following_bits << 6 | a & 15);
        let rest = u32::from_le_bytes([a, b, c, d]) >> 4;
        out.extend_from_slice(rest.to_le_bytes().get(..following).unwrap_or_default());
    }
    out.extend_from_slice(name);
    out.extend_from_slice(body);
}

/// A digit, 0 to 15, as AML's names have it.
const fn hexadecimal(digit: u8) -> u8 {
    if digit < 10 {
        b'0' + digit
    } else {
        b'A' + (digit & 15) - 10
    }
}
