//! The first sector of a disk that holds an image: it reads the rest of the disk to one place in memory, and enters the
//! image by PVH.
//!
//! The firmware runs it in real mode at 0x7c00. It asks the firmware for the memory map, switches to protected mode,
//! reads with the disk's own registers (the first disk of the first controller, polled), and jumps to the image's PVH
//! entry with the start information's address in EBX. Without a disk that answers it waits for ever.

/// Where the firmware puts it.
const AT: u32 = 0x7c00;
/// Where it puts the memory map.
const MAP: u64 = 0x8000;

/// Bytes of a sector.
pub const SECTOR: usize = 512;

// What follows the code, by offset: the segments, PVH's start information and its one module, and our own parameters.
const SEGMENTS_POINTER: usize = 0x140;
const SEGMENTS: usize = 0x148;
const START_INFO: usize = 0x180;
const MODULE: usize = 0x1c0;
const PARAMETERS: usize = 0x1e0;
const SIGNATURE: usize = 0x1fe;

/// `XEN_HVM_START_MAGIC_VALUE` of the public header `arch-x86/hvm/start_info.h`.
const START_MAGIC: u32 = 0x336e_c578;

/// Its instructions. The addresses in them are those of the fields above.
#[rustfmt::skip]
const CODE: &[u8] = &[
    // start: real mode, at 0x7c00
    0xfa,                                      // cli
    0xfc,                                      // cld
    0x31, 0xc0,                                // xor ax, ax
    0x8e, 0xd8,                                // mov ds, ax
    0x8e, 0xc0,                                // mov es, ax
    0x8e, 0xd0,                                // mov ss, ax
    0xbc, 0x00, 0x7c,                          // mov sp, 0x7c00
    0xbf, 0x00, 0x80,                          // mov di, 0x8000
    0x66, 0x31, 0xdb,                          // xor ebx, ebx
    // more: the firmware's memory map, entry by entry, straight in PVH's layout
    0x66, 0xb8, 0x20, 0xe8, 0x00, 0x00,        // mov eax, 0xe820
    0x66, 0xba, 0x50, 0x41, 0x4d, 0x53,        // mov edx, 0x534d4150
    0x66, 0xb9, 0x14, 0x00, 0x00, 0x00,        // mov ecx, 0x14
    0xcd, 0x15,                                // int 0x15
    0x72, 0x0c,                                // jb mapped
    0xfe, 0x06, 0xb0, 0x7d,                    // inc byte 0x7db0
    0x83, 0xc7, 0x18,                          // add di, 0x18
    0x66, 0x85, 0xdb,                          // test ebx, ebx
    0x75, 0xde,                                // jne more
    // mapped: addresses above 1 MiB, and protected mode
    0xe4, 0x92,                                // in al, 0x92
    0x0c, 0x02,                                // or al, 0x2
    0xe6, 0x92,                                // out 0x92, al
    0x0f, 0x01, 0x16, 0x40, 0x7d,              // lgdt 0x7d40
    0x0f, 0x20, 0xc0,                          // mov eax, cr0
    0x0c, 0x01,                                // or al, 0x1
    0x0f, 0x22, 0xc0,                          // mov cr0, eax
    0xea, 0x4d, 0x7c, 0x08, 0x00,              // jmp 0x8:0x7c4d
    // protected: flat segments; no interrupts from the disk; what to read and where to
    0x66, 0xb8, 0x10, 0x00,                    // mov ax, 0x10
    0x8e, 0xd8,                                // mov ds, eax
    0x8e, 0xc0,                                // mov es, eax
    0x8e, 0xd0,                                // mov ss, eax
    0x66, 0xba, 0xf6, 0x03,                    // mov dx, 0x3f6
    0xb0, 0x02,                                // mov al, 0x2
    0xee,                                      // out dx, al
    0x8b, 0x3d, 0xe0, 0x7d, 0x00, 0x00,        // mov edi, 0x7de0
    0x8b, 0x35, 0xe4, 0x7d, 0x00, 0x00,        // mov esi, 0x7de4
    0xbb, 0x01, 0x00, 0x00, 0x00,              // mov ebx, 0x1
    // command: READ SECTORS EXT of 0x8000 sectors, or of all that are left
    0xb9, 0x00, 0x80, 0x00, 0x00,              // mov ecx, 0x8000
    0x39, 0xce,                                // cmp esi, ecx
    0x73, 0x02,                                // jae whole
    0x89, 0xf1,                                // mov ecx, esi
    // whole: count and address, high bytes before low ones
    0x66, 0xba, 0xf6, 0x01,                    // mov dx, 0x1f6
    0xb0, 0xe0,                                // mov al, 0xe0
    0xee,                                      // out dx, al
    0x66, 0xba, 0xf2, 0x01,                    // mov dx, 0x1f2
    0x88, 0xe8,                                // mov al, ch
    0xee,                                      // out dx, al
    0x42,                                      // inc edx
    0x89, 0xd8,                                // mov eax, ebx
    0xc1, 0xe8, 0x18,                          // shr eax, 0x18
    0xee,                                      // out dx, al
    0x42,                                      // inc edx
    0x30, 0xc0,                                // xor al, al
    0xee,                                      // out dx, al
    0x42,                                      // inc edx
    0xee,                                      // out dx, al
    0x66, 0xba, 0xf2, 0x01,                    // mov dx, 0x1f2
    0x88, 0xc8,                                // mov al, cl
    0xee,                                      // out dx, al
    0x42,                                      // inc edx
    0x89, 0xd8,                                // mov eax, ebx
    0xee,                                      // out dx, al
    0x42,                                      // inc edx
    0xc1, 0xe8, 0x08,                          // shr eax, 0x8
    0xee,                                      // out dx, al
    0x42,                                      // inc edx
    0xc1, 0xe8, 0x08,                          // shr eax, 0x8
    0xee,                                      // out dx, al
    0x66, 0xba, 0xf7, 0x01,                    // mov dx, 0x1f7
    0xb0, 0x24,                                // mov al, 0x24
    0xee,                                      // out dx, al
    0x01, 0xcb,                                // add ebx, ecx
    0x29, 0xce,                                // sub esi, ecx
    // sector: when the disk is not busy and has data: 512 bytes of them
    0x66, 0xba, 0xf7, 0x01,                    // mov dx, 0x1f7
    // wait:
    0xec,                                      // in al, dx
    0x24, 0x88,                                // and al, 0x88
    0x3c, 0x08,                                // cmp al, 0x8
    0x75, 0xf9,                                // jne wait
    0x89, 0xcd,                                // mov ebp, ecx
    0xb9, 0x80, 0x00, 0x00, 0x00,              // mov ecx, 0x80
    0x66, 0xba, 0xf0, 0x01,                    // mov dx, 0x1f0
    0xf3, 0x6d,                                // rep ins es:[edi], dx
    0x89, 0xe9,                                // mov ecx, ebp
    0xe2, 0xe4,                                // loop sector
    0x85, 0xf6,                                // test esi, esi
    0x75, 0x9a,                                // jne command
    0xbb, 0x80, 0x7d, 0x00, 0x00,              // mov ebx, 0x7d80
    0xff, 0x25, 0xe8, 0x7d, 0x00, 0x00,        // jmp 0x7de8
];

/// What it has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootSector {
    /// Where in memory the disk's second sector goes.
    pub load_at: u32,
    /// How many sectors go there.
    pub sectors: u32,
    /// Where the image begins.
    pub entry: u32,
    /// Where the command line is then.
    pub command_line_at: u32,
    /// Where the bundle of modules is then, and its bytes; none without modules.
    pub bundle: Option<(u32, u32)>,
}

impl BootSector {
    /// The sector.
    pub fn bytes(&self) -> [u8; SECTOR] {
        let mut sector = [0; SECTOR];
        put(&mut sector, 0, CODE);
        put(&mut sector, SEGMENTS_POINTER, &23_u16.to_le_bytes());
        put(
            &mut sector,
            SEGMENTS_POINTER + 2,
            &address(SEGMENTS).to_le_bytes(),
        );
        // None, code, data: both flat, of 4 GiB.
        let segments = [0_u64, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
        put_u64s(&mut sector, SEGMENTS, &segments);
        // Version 1; the number of map entries is counted by the code.
        let modules = u32::from(self.bundle.is_some());
        put_u32s(&mut sector, START_INFO, &[START_MAGIC, 1, 0, modules]);
        let pointers = [address(MODULE).into(), self.command_line_at.into(), 0, MAP];
        put_u64s(&mut sector, START_INFO + 16, &pointers);
        if let Some((at, bytes)) = self.bundle {
            put_u64s(&mut sector, MODULE, &[at.into(), bytes.into()]);
        }
        put_u32s(&mut sector, PARAMETERS, &[self.load_at, self.sectors, self.entry]);
        put(&mut sector, SIGNATURE, &[0x55, 0xaa]);
        sector
    }
}

/// Where in memory an offset of the sector is.
fn address(offset: usize) -> u32 {
    AT.saturating_add(u32::try_from(offset).unwrap_or_default())
}

fn put(sector: &mut [u8; SECTOR], at: usize, bytes: &[u8]) {
    for (into, from) in sector.iter_mut().skip(at).zip(bytes) {
        *into = *from;
    }
}

fn put_u32s(sector: &mut [u8; SECTOR], at: usize, numbers: &[u32]) {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    put(sector, at, &bytes);
}

fn put_u64s(sector: &mut [u8; SECTOR], at: usize, numbers: &[u64]) {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    put(sector, at, &bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTOR_OF_TWO: BootSector = BootSector {
        load_at: 0x20_0000,
        sectors: 0x1_2345,
        entry: 0x20_1040,
        command_line_at: 0x30_0000,
        bundle: Some((0x30_1000, 77)),
    };

    fn u32_at(sector: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(sector[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn the_code_ends_before_its_data_and_reads_the_fields_that_are_written() {
        assert!(CODE.len() <= SEGMENTS_POINTER);
        let sector = SECTOR_OF_TWO.bytes();
        assert_eq!(sector[SIGNATURE..], [0x55, 0xaa]);
        // `lgdt`, the two `mov reg, [address]`, `mov ebx, START_INFO` and `jmp [address]`, found by their opcodes.
        let operand = |opcode: &[u8]| {
            let at = CODE
                .windows(opcode.len())
                .position(|bytes| bytes == opcode)
                .unwrap();
            &CODE[at + opcode.len()..]
        };
        assert_eq!(operand(&[0x0f, 0x01, 0x16])[..2], [0x40, 0x7d]);
        let field = |opcode: &[u8]| u32_at(operand(opcode), 0) - AT;
        assert_eq!(u32_at(&sector, field(&[0x8b, 0x3d]) as usize), 0x20_0000);
        assert_eq!(u32_at(&sector, field(&[0x8b, 0x35]) as usize), 0x1_2345);
        assert_eq!(u32_at(&sector, field(&[0xff, 0x25]) as usize), 0x20_1040);
        assert_eq!(field(&[0x9a, 0xbb]) as usize, START_INFO);
        assert_eq!(u32_at(&sector, START_INFO), START_MAGIC);
    }

    #[test]
    fn the_start_information_names_the_module_and_the_command_line() {
        let sector = SECTOR_OF_TWO.bytes();
        assert_eq!(u32_at(&sector, START_INFO + 12), 1);
        assert_eq!(u32_at(&sector, START_INFO + 16), AT + 0x1c0);
        assert_eq!(u32_at(&sector, START_INFO + 24), 0x30_0000);
        assert_eq!(u32_at(&sector, MODULE), 0x30_1000);
        assert_eq!(u32_at(&sector, MODULE + 8), 77);
        let alone = BootSector {
            bundle: None,
            ..SECTOR_OF_TWO
        };
        assert_eq!(u32_at(&alone.bytes(), START_INFO + 12), 0);
    }
}
