//! More vcpus: started by hypercall, in the mode that this guest is in.

use core::arch::asm;
use core::sync::atomic::AtomicU64;

use xenvisor_abi::hvm::hvm_vcpu::{self, Context};
use xenvisor_abi::vcpu::{VCPUOP_down, VCPUOP_initialise, VCPUOP_is_up, VCPUOP_up};
use xenvisor_abi::xen::HYPERVISOR_vcpu_op;
use zerocopy::IntoBytes;

use crate::guest::Guest;
use crate::hypercall::call;
use crate::layout::Word;

/// The one stack there is for another vcpu.
static STACK: [AtomicU64; 2048] = [const { AtomicU64::new(0) }; 2048];

/// What another vcpu runs. It has no interrupts, and never returns: [`vcpu_is_done`] is its end.
pub type Entry = extern "C" fn() -> !;

impl Guest {
    /// Starts vcpu `number` of this guest. One at a time: there is one stack for it.
    ///
    /// # Errors
    /// Xen's error number, negative.
    pub fn start_vcpu(&self, number: u32, entry: Entry) -> Result<(), i64> {
        // As after a call: on both widths, a return address would be there.
        let stack = STACK.as_ptr().expose_provenance() + size_of_val(&STACK) - size_of::<Word>();
        let mut context = Context::default();
        let entry = (entry as *const ()).expose_provenance();
        begin(&mut context, entry as Word, stack as Word);
        vcpu_op(
            VCPUOP_initialise,
            number,
            (&raw const context).expose_provenance(),
        )?;
        vcpu_op(VCPUOP_up, number, 0).map(drop)
    }

    /// Whether a vcpu of this guest is up.
    ///
    /// # Errors
    /// Xen's error number, negative.
    pub fn vcpu_is_up(&self, number: u32) -> Result<bool, i64> {
        vcpu_op(VCPUOP_is_up, number, 0).map(|up| up != 0)
    }
}

/// Stops the vcpu that calls, which is this one.
pub fn vcpu_is_done(number: u32) -> ! {
    loop {
        let _stopped = vcpu_op(VCPUOP_down, number, 0);
    }
}

fn vcpu_op(command: u32, number: u32, at: usize) -> Result<i64, i64> {
    let result = call(
        HYPERVISOR_vcpu_op,
        [command.into(), number.into(), at as u64, 0, 0],
    );
    if result < 0 { Err(result) } else { Ok(result) }
}

/// The control registers as this vcpu has them.
fn control() -> [Word; 3] {
    let (cr0, cr3, cr4): (Word, Word, Word);
    // SAFETY: reading changes nothing.
    unsafe { asm!("mov {}, cr0", "mov {}, cr3", "mov {}, cr4", out(reg) cr0, out(reg) cr3, out(reg) cr4) }
    [cr0, cr3, cr4]
}

#[cfg(target_arch = "x86")]
fn begin(context: &mut Context, eip: u32, esp: u32) {
    let [cr0, cr3, cr4] = control();
    let registers = hvm_vcpu::X86_32 {
        eip,
        esp,
        cr0,
        cr3,
        cr4,
        cs_limit: u32::MAX,
        ds_limit: u32::MAX,
        ss_limit: u32::MAX,
        es_limit: u32::MAX,
        tr_limit: 0x67,
        cs_ar: 0xc9b,
        ds_ar: 0xc93,
        ss_ar: 0xc93,
        es_ar: 0xc93,
        tr_ar: 0x8b,
        ..Default::default()
    };
    fill(context, hvm_vcpu::VCPU_HVM_MODE_32B, registers.as_bytes());
}

#[cfg(target_arch = "x86_64")]
fn begin(context: &mut Context, rip: u64, rsp: u64) {
    const EFER: u32 = 0xc000_0080;
    let [cr0, cr3, cr4] = control();
    let registers = hvm_vcpu::X86_64 {
        rip,
        rsp,
        cr0,
        cr3,
        cr4,
        efer: crate::processor::read_msr(EFER),
        ..Default::default()
    };
    fill(context, hvm_vcpu::VCPU_HVM_MODE_64B, registers.as_bytes());
}

fn fill(context: &mut Context, mode: u32, registers: &[u8]) {
    context.mode = mode;
    context.cpu_regs.as_mut_bytes()[..registers.len()].copy_from_slice(registers);
}
