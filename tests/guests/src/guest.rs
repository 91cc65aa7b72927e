//! A guest's handle on itself.

use core::arch::asm;

use xenvisor_abi::hvm::hvm_op::{HVMOP_get_param, Param};
use xenvisor_abi::memory::{AddToPhysmap, XENMAPSPACE_shared_info, XENMEM_add_to_physmap};
use xenvisor_abi::xen::{DOMID_SELF, HYPERVISOR_hvm_op, HYPERVISOR_memory_op};

use crate::Shutdown;
use crate::console::{Console, Line};
use crate::hypercall;

/// A page of this guest that the hypervisor or another guest writes to.
#[repr(C, align(4096))]
pub(crate) struct Page(pub(crate) core::cell::UnsafeCell<[u8; 4096]>);

// SAFETY: one vcpu, and whoever else writes is reached by volatile and atomic accesses alone.
unsafe impl Sync for Page {}

impl Page {
    pub(crate) const fn new() -> Self {
        Self(core::cell::UnsafeCell::new([0; 4096]))
    }

    pub(crate) fn address(&self) -> u64 {
        self.0.get().expose_provenance() as u64
    }
}

pub(crate) static SHARED_INFO: Page = Page::new();

/// A guest's handle on itself.
pub struct Guest {
    start_info: u64,
    console: Option<Console>,
}

impl Guest {
    /// The guest that was given this start info. Once.
    pub fn new(start_info: u32) -> Self {
        let mut argument = AddToPhysmap {
            domid: DOMID_SELF,
            space: XENMAPSPACE_shared_info,
            gpfn: SHARED_INFO.address() >> 12,
            ..AddToPhysmap::default()
        };
        hypercall::with(HYPERVISOR_memory_op, XENMEM_add_to_physmap, &mut argument);
        Self {
            start_info: start_info.into(),
            console: Console::open(),
        }
    }

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

    /// The command line.
    pub fn command_line(&self) -> &'static str {
        // SAFETY: the builder put the start info there (public header `hvm/hvm_start_info.h`), with the address of the
        // command line, a string that ends with a zero, at offset 24. Nobody writes to either.
        unsafe {
            let at =
                core::ptr::with_exposed_provenance::<u64>((self.start_info + 24) as usize).read_unaligned();
            if at == 0 {
                return "";
            }
            let text = core::ffi::CStr::from_ptr(core::ptr::with_exposed_provenance(at as usize));
            text.to_str().unwrap_or("")
        }
    }

    /// The number behind `key=` on the command line.
    pub fn option(&self, key: &str) -> Option<u16> {
        let mut words = self.command_line().split_ascii_whitespace();
        words.find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
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
