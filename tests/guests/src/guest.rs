//! A guest's handle on itself.

use core::arch::asm;
use core::mem::size_of;
use core::sync::atomic::{AtomicU8, AtomicU32};

use xenvisor_abi::hvm::hvm_op::{HVMOP_get_param, Param};
use xenvisor_abi::memory::{XENMAPSPACE_shared_info, XENMEM_add_to_physmap};
use xenvisor_abi::xen::{DOMID_SELF, HYPERVISOR_hvm_op, HYPERVISOR_memory_op};

use crate::console::{Console, Line};
use crate::layout::{AddToPhysmap, Word};
use crate::{Shutdown, Way, hypercall, interrupts};

/// A page of this guest that the hypervisor or another guest writes to.
#[repr(C, align(4096))]
pub(crate) struct Page(core::cell::UnsafeCell<[u8; 4096]>);

// SAFETY: one vcpu, and whoever else writes is reached by volatile and atomic accesses alone.
unsafe impl Sync for Page {}

impl Page {
    pub(crate) const fn new() -> Self {
        Self(core::cell::UnsafeCell::new([0; 4096]))
    }

    pub(crate) fn address(&self) -> usize {
        self.0.get().expose_provenance()
    }

    /// Its frame number: memory is mapped to itself.
    pub(crate) fn frame(&self) -> Word {
        (self.address() >> 12) as Word
    }

    /// A word of 32 bits in it.
    pub(crate) fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset < 4096);
        // SAFETY: aligned, in the page, and there as long as the guest is; whoever writes it does so atomically.
        unsafe { AtomicU32::from_ptr(self.0.get().cast::<u8>().add(offset).cast()) }
    }

    /// A byte in it.
    pub(crate) fn byte(&self, offset: usize) -> &AtomicU8 {
        assert!(offset < 4096);
        // SAFETY: as in `word`.
        unsafe { AtomicU8::from_ptr(self.0.get().cast::<u8>().add(offset)) }
    }
}

pub(crate) static SHARED_INFO: Page = Page::new();

/// A guest's handle on itself.
pub struct Guest {
    start_info: usize,
    console: Option<Console>,
}

impl Guest {
    /// The guest that was given this start info. Once.
    pub fn new(start_info: u32) -> Self {
        // Before anything is shared: it decides the layout.
        hypercall::ask_for_page();
        interrupts::catch_exceptions();
        place_page(XENMAPSPACE_shared_info, &SHARED_INFO);
        Self {
            start_info: start_info as usize,
            console: Console::open(),
        }
    }

    /// How wide this guest's code is, in bits.
    pub fn bits(&self) -> u32 {
        size_of::<Word>() as u32 * 8
    }

    /// Makes hypercalls go this way from now on. At first they are made by the instruction.
    pub fn call_by(&self, way: Way) {
        hypercall::go(way);
    }

    /// Turns paging on in a 32-bit guest; a 64-bit guest has it from the start.
    #[cfg(target_arch = "x86_64")]
    pub fn turn_on_paging(&self, _paging: crate::Paging) {}

    /// Says a line on the console.
    pub fn say(&mut self, line: core::fmt::Arguments<'_>) {
        use core::fmt::Write;
        if let Some(console) = &mut self.console {
            // In one piece, so that lines of two guests do not mix.
            let mut whole = Line::new();
            let _too_long = whole.write_fmt(line);
            let _infallible = console.write_str(whole.end());
        }
    }

    /// Has the host log a line.
    pub fn log(&self, line: core::fmt::Arguments<'_>) {
        use core::fmt::Write;
        struct Port;
        impl Write for Port {
            fn write_str(&mut self, text: &str) -> core::fmt::Result {
                for byte in text.bytes() {
                    // SAFETY: nothing but a console of the hypervisor is at this port.
                    unsafe { asm!("out 0xe9, al", in("al") byte, options(nomem, nostack, preserves_flags)) };
                }
                Ok(())
            }
        }
        let _infallible = writeln!(Port, "{line}");
    }

    /// The command line.
    pub fn command_line(&self) -> &'static str {
        // SAFETY: the builder put the start info there (public header `hvm/hvm_start_info.h`), with the address of the
        // command line, a string that ends with a zero, at offset 24. Nobody writes to either.
        unsafe {
            let at = core::ptr::with_exposed_provenance::<u64>(self.start_info + 24).read_unaligned();
            if at == 0 {
                return "";
            }
            let text = core::ffi::CStr::from_ptr(core::ptr::with_exposed_provenance(at as usize));
            text.to_str().unwrap_or("")
        }
    }

    /// What stands behind `key=` on the command line.
    pub fn word(&self, key: &str) -> Option<&'static str> {
        let mut words = self.command_line().split_ascii_whitespace();
        words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    /// The number behind `key=` on the command line.
    pub fn option(&self, key: &str) -> Option<u16> {
        self.word(key)?.parse().ok()
    }

    /// Moves the shared info page to another place in memory, and back.
    pub fn move_shared_info(&self) {
        static ELSEWHERE: Page = Page::new();
        place_page(XENMAPSPACE_shared_info, &ELSEWHERE);
        place_page(XENMAPSPACE_shared_info, &SHARED_INFO);
    }

    /// Ends the guest by an exception that cannot be delivered.
    pub fn triple_fault(&self) -> ! {
        let nothing = [0_u8; 10];
        // SAFETY: it is what the caller wants.
        unsafe { asm!("lidt [{}]", "ud2", in(reg) &nothing, options(noreturn)) }
    }

    /// Ends the guest, once all it has said was heard.
    pub fn shut_down(&mut self, how: Shutdown) -> ! {
        if let Some(console) = &mut self.console {
            console.flush();
        }
        hypercall::shut_down(how)
    }
}

/// Has the hypervisor put a page of its own in the place of one of ours.
pub(crate) fn place_page(space: u32, at: &Page) -> i64 {
    let mut argument = AddToPhysmap {
        domid: DOMID_SELF,
        space,
        gpfn: at.frame(),
        ..AddToPhysmap::default()
    };
    hypercall::with(HYPERVISOR_memory_op, XENMEM_add_to_physmap, &mut argument)
}

/// A parameter of this guest.
pub(crate) fn param(index: u32) -> Result<u64, i64> {
    let mut argument = Param {
        domid: DOMID_SELF,
        index,
        ..Param::default()
    };
    hypercall::checked(HYPERVISOR_hvm_op, HVMOP_get_param, &mut argument)?;
    Ok(argument.value)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    use core::fmt::Write;
    if let Some(mut console) = Console::open() {
        let _infallible = write!(console, "{info}\r\n");
        console.flush();
    }
    hypercall::shut_down(Shutdown::Crash)
}
