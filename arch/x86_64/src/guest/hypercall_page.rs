//! The page of stubs that a guest asks for through MSR 0x40000000 and then calls into.
//!
//! Stub `n` is at `n * 32`: load `n`, trap, return. `iret` (23) exists for PV guests only and is an invalid
//! instruction here; the rest of the page is breakpoints. Public header: `arch-x86/xen.h`, `hypercall page`.

use super::cpuid::Vendor;

/// Bytes of the page.
pub const BYTES: usize = 4096;
const STUB_BYTES: usize = 32;
const IRET: u32 = 23;
const BREAKPOINT: u8 = 0xcc;

/// Writes the page for guests of this vendor's processors: VMMCALL on AMD, VMCALL on Intel.
pub fn fill(page: &mut [u8; BYTES], vendor: Vendor) {
    page.fill(BREAKPOINT);
    let trap = match vendor {
        Vendor::Amd => 0xd9,
        Vendor::Intel => 0xc1,
    };
    for (number, stub) in (0_u32..).zip(page.chunks_exact_mut(STUB_BYTES)) {
        let [a, b, c, d] = number.to_le_bytes();
        // mov $number, %eax; vmmcall; ret
        let code = [0xb8, a, b, c, d, 0x0f, 0x01, trap, 0xc3];
        let code: &[u8] = if number == IRET { &[0x0f, 0x0b] } else { &code };
        for (byte, new) in stub.iter_mut().zip(code) {
            *byte = *new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stub_traps_with_its_number() {
        let mut page = [0; BYTES];
        fill(&mut page, Vendor::Amd);
        assert_eq!(
            page[17 * 32..17 * 32 + 10],
            [0xb8, 17, 0, 0, 0, 0x0f, 0x01, 0xd9, 0xc3, 0xcc]
        );
        assert_eq!(
            page[127 * 32..127 * 32 + 9],
            [0xb8, 127, 0, 0, 0, 0x0f, 0x01, 0xd9, 0xc3]
        );
        assert_eq!(page[23 * 32..23 * 32 + 3], [0x0f, 0x0b, 0xcc]);
        fill(&mut page, Vendor::Intel);
        assert_eq!(page[5..9], [0x0f, 0x01, 0xc1, 0xc3]);
    }
}
