//! Small kernels made on the spot: ELF files with whatever headers a test wants, and bzImages around payloads.

use std::vec;
use std::vec::Vec;

/// A program header to be.
#[derive(Clone, Copy)]
pub(crate) struct Header {
    pub(crate) kind: u32,
    pub(crate) offset: u64,
    pub(crate) at: u64,
    pub(crate) file: u64,
    pub(crate) memory: u64,
}

pub(crate) const LOAD: u32 = 1;
pub(crate) const NOTE: u32 = 4;

/// An ELF file to be.
#[derive(Clone)]
pub(crate) struct Elf {
    pub(crate) wide: bool,
    pub(crate) headers: Vec<Header>,
    /// The file from `BODY` on.
    pub(crate) body: Vec<u8>,
}

/// Where the body of every synthetic file starts.
pub(crate) const BODY: u64 = 0x400;

/// A note, padded.
pub(crate) fn note(owner: &[u8], kind: u32, value: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    note.extend((owner.len() as u32).to_le_bytes());
    note.extend((value.len() as u32).to_le_bytes());
    note.extend(kind.to_le_bytes());
    for part in [owner, value] {
        note.extend(part);
        note.resize(note.len().next_multiple_of(4), 0);
    }
    note
}

/// The notes that a modern Linux carries, in short, with the entry at `entry`.
pub(crate) fn linux_notes(entry: u64) -> Vec<u8> {
    [
        note(b"Xen\0", 6, b"linux\0"),
        note(b"GNU\0", 3, &[7; 20]),
        note(b"Linux\0", 18, &[0xff; 8]),
        note(b"Xen\0", 17, &0x8801_u32.to_le_bytes()),
        note(b"Xen\0", 18, &entry.to_le_bytes()),
    ]
    .concat()
}

/// Bytes that compress about as well as code, the same each time; among them are calls, as the x86 branch
/// filter of xz looks for them.
pub(crate) fn code(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut bytes = Vec::with_capacity(length + 16);
    while bytes.len() < length {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match state >> 30 {
            0 => bytes.extend([0x48, 0x89, (state >> 16) as u8 | 0xc0]),
            1 => {
                bytes.push(0xe8);
                let target = (state >> 20) & 0xff0;
                bytes.extend(target.wrapping_sub(bytes.len() as u32).to_le_bytes());
            }
            2 => bytes.extend([0x55, 0x48, 0x89, 0xe5, 0x5d, 0xc3]),
            _ => bytes.extend([0x0f, 0x1f, 0x40, 0]),
        }
    }
    bytes.truncate(length);
    bytes
}

/// A whole small kernel: code at 16 MiB with the notes in it, data with a zeroed tail behind.
pub(crate) fn kernel(wide: bool) -> Elf {
    let mut body = code(20_000);
    let notes = linux_notes(0x100_0040);
    body[0x2000..][..notes.len()].copy_from_slice(&notes);
    let load = |offset: u64, at, file, memory| Header {
        kind: LOAD,
        offset: BODY + offset,
        at,
        file,
        memory,
    };
    Elf {
        wide,
        headers: vec![
            load(0, 0x100_0000, 0x3000, 0x3000),
            load(0x3000, 0x120_0000, 0x1000, 0x5000),
            Header {
                kind: NOTE,
                offset: BODY + 0x2000,
                at: 0x100_2000,
                file: notes.len() as u64,
                memory: notes.len() as u64,
            },
        ],
        body,
    }
}

impl Elf {
    /// The file.
    pub(crate) fn file(&self) -> Vec<u8> {
        let mut file = vec![0x7f, b'E', b'L', b'F', if self.wide { 2 } else { 1 }, 1, 1];
        file.resize(16, 0);
        let word = |file: &mut Vec<u8>, value: u64| {
            if self.wide {
                file.extend(value.to_le_bytes());
            } else {
                file.extend(u32::try_from(value).unwrap().to_le_bytes());
            }
        };
        file.extend(2_u16.to_le_bytes());
        file.extend(if self.wide { 62_u16 } else { 3 }.to_le_bytes());
        file.extend(1_u32.to_le_bytes());
        word(&mut file, 0); // e_entry: a PVH guest does not start there.
        word(&mut file, if self.wide { 64 } else { 52 });
        word(&mut file, 0);
        file.extend(0_u32.to_le_bytes());
        let sizes: [u16; 6] = if self.wide {
            [64, 56, self.headers.len() as u16, 64, 0, 0]
        } else {
            [52, 32, self.headers.len() as u16, 40, 0, 0]
        };
        file.extend(sizes.iter().flat_map(|size| size.to_le_bytes()));
        for header in &self.headers {
            file.extend(header.kind.to_le_bytes());
            if self.wide {
                file.extend(7_u32.to_le_bytes());
            }
            word(&mut file, header.offset);
            word(
                &mut file,
                header.at | if self.wide { 0xffff_ffff_8000_0000 } else { 0 },
            );
            word(&mut file, header.at);
            word(&mut file, header.file);
            word(&mut file, header.memory);
            if !self.wide {
                file.extend(7_u32.to_le_bytes());
            }
            word(&mut file, 0x1000);
        }
        assert!(file.len() as u64 <= BODY, "too many headers");
        file.resize(BODY as usize, 0);
        file.extend(&self.body);
        file
    }
}

/// A bzImage around a payload, whose last four bytes are the size of what it holds.
pub(crate) fn bzimage(payload: &[u8]) -> Vec<u8> {
    let sectors = 3_u8;
    let offset = 0x2cc_u32;
    let mut file = vec![0; 512 * (usize::from(sectors) + 1) + offset as usize];
    file[0x1f1] = sectors;
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
    file[0x248..0x24c].copy_from_slice(&offset.to_le_bytes());
    file[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    file.extend(payload);
    file.extend([0xcc; 100]); // What follows the payload in a real one.
    file
}
