//! Kernels that hold no instructions: ELF files with a PVH entry, at which stands the name of a program.
//!
//! The builder loads them as it loads any kernel. Behind the name lies room that the program uses for arguments of
//! hypercalls, as a kernel uses its stack.

use xenvisor_core::number::{FRAME_SIZE, MIB};

/// What stands at the entry, before the length and the name of the program.
pub const MAGIC: [u8; 15] = *b"xenvisor sim: \0";
/// The longest name.
pub const NAME_MAX: usize = 64;
/// Where it lies in the guest's memory.
pub const AT: u64 = MIB;
/// Where the room behind it starts.
pub const SCRATCH: u64 = AT + FRAME_SIZE;
/// Pages of it that one vcpu has: one for the program, the others for its interrupt handlers.
pub const SCRATCH_PAGES: u64 = 4;
/// How many vcpus have some.
pub const SCRATCH_VCPUS: u64 = 64;
/// Where pages start that a program may use as it likes: for shared pages, tables, buffers.
pub const PAGES: u64 = SCRATCH + SCRATCH_VCPUS * SCRATCH_PAGES * FRAME_SIZE;
/// Where they end, and all that belongs to the program with them.
pub const END: u64 = PAGES + 256 * FRAME_SIZE;

const LOAD: u32 = 1;
const NOTE: u32 = 4;
/// Where the notes and the code stand in the file.
const NOTES_OFFSET: u64 = 0x100;
const CODE_OFFSET: u64 = 0x200;

/// The bytes that stand at the entry of a program; a longer name is cut.
#[must_use]
pub fn code(program: &str) -> Vec<u8> {
    let name = program.as_bytes();
    let name = name.get(..NAME_MAX).unwrap_or(name);
    let length = u8::try_from(name.len()).unwrap_or(0);
    [&MAGIC[..], &[length], name].concat()
}

/// The name of the program whose code this is.
#[must_use]
pub fn program(code: &[u8]) -> Option<&str> {
    let (length, rest) = code.strip_prefix(&MAGIC[..])?.split_first()?;
    std::str::from_utf8(rest.get(..usize::from(*length))?).ok()
}

/// The kernel of a program, as a file.
#[must_use]
pub fn file(program: &str) -> Vec<u8> {
    let code = code(program);
    let entry = u32::try_from(AT).unwrap_or(0).to_le_bytes();
    let notes = [note(18, &entry), note(17, &(1_u32 << 15).to_le_bytes())].concat();
    let mut file = header();
    file.extend(segment(LOAD, CODE_OFFSET, AT, code.len() as u64, END - AT));
    file.extend(segment(
        NOTE,
        NOTES_OFFSET,
        0,
        notes.len() as u64,
        notes.len() as u64,
    ));
    resize(&mut file, NOTES_OFFSET);
    file.extend(notes);
    resize(&mut file, CODE_OFFSET);
    file.extend(code);
    file
}

fn resize(file: &mut Vec<u8>, to: u64) {
    file.resize(usize::try_from(to).unwrap_or(0), 0);
}

/// The header of a 64-bit x86 executable with two program headers behind it.
fn header() -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    for half in [2_u16, 62] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1_u32.to_le_bytes());
    // Not the entry of a PVH guest; program headers; no sections.
    for word in [0_u64, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 2, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    file
}

fn segment(kind: u32, offset: u64, at: u64, in_file: u64, in_memory: u64) -> Vec<u8> {
    let mut header = kind.to_le_bytes().to_vec();
    header.extend(7_u32.to_le_bytes());
    for word in [offset, at, at, in_file, in_memory, 4] {
        header.extend(word.to_le_bytes());
    }
    header
}

/// A note of Xen's, of a value that is as long as a word.
fn note(kind: u32, value: &[u8; 4]) -> Vec<u8> {
    let mut note = Vec::new();
    for word in [4_u32, 4, kind] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"Xen\0");
    note.extend(value);
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_program_can_be_read_from_its_code() {
        assert_eq!(program(&code("ping")), Some("ping"));
        assert_eq!(program(&[code("pong"), vec![0xcc; 9]].concat()), Some("pong"));
        assert_eq!(program(b"\xfa\xfc\x31\xc0 something else entirely"), None);
        assert_eq!(program(&MAGIC), None);
    }
}
