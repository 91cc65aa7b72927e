//! A fault of the host: told in plain text on COM1, then the machine ends.
//!
//! The report goes around all locks and touches no memory but the stack it walks, so that it works whatever
//! is broken. A fault while reporting a fault ends the machine without another word.

use core::fmt::Write;

use x86::controlregs::{cr0, cr2, cr3, cr4};
use x86::irq::EXCEPTIONS;

use super::end::{End, end};
use super::pcpu::current;
use super::traps::TrapFrame;
use crate::console::serial::LastWords;
use crate::panic::first_failure;

/// Most return addresses a backtrace shows.
const MOST_FRAMES: usize = 48;

/// Tells what happened, and ends the machine.
pub(crate) fn report(frame: &TrapFrame) -> ! {
    if !first_failure() {
        end(End::HostFailed);
    }
    let known = usize::try_from(frame.vector)
        .ok()
        .and_then(|vector| EXCEPTIONS.get(vector));
    let (short, long) = known.map_or(("#??", "unknown"), |known| (known.mnemonic, known.description));
    // SAFETY: reading control registers at privilege level 0 changes nothing.
    let (cr0, cr2, cr3, cr4) = unsafe { (cr0().bits(), cr2(), cr3(), cr4().bits()) };
    let f = frame;
    // Writing to the line cannot fail.
    let _ = write!(
        LastWords,
        "\nxenvisor: host fault: {short} {long} (vector {}), error code {:#x}\n\
         rip {:#018x}  cs {:#06x}  rflags {:#010x}\n\
         rsp {:#018x}  ss {:#06x}\n\
         rax {:#018x}  rbx {:#018x}  rcx {:#018x}\n\
         rdx {:#018x}  rsi {:#018x}  rdi {:#018x}\n\
         rbp {:#018x}   r8 {:#018x}   r9 {:#018x}\n\
         r10 {:#018x}  r11 {:#018x}  r12 {:#018x}\n\
         r13 {:#018x}  r14 {:#018x}  r15 {:#018x}\n\
         cr0 {cr0:#x}  cr2 {cr2:#018x}  cr3 {cr3:#x}  cr4 {cr4:#x}\n",
        f.vector,
        f.error,
        f.rip,
        f.cs,
        f.rflags,
        f.rsp,
        f.ss,
        f.rax,
        f.rbx,
        f.rcx,
        f.rdx,
        f.rsi,
        f.rdi,
        f.rbp,
        f.r8,
        f.r9,
        f.r10,
        f.r11,
        f.r12,
        f.r13,
        f.r14,
        f.r15,
    );
    if current()
        .stacks()
        .guards()
        .any(|guard| guard == (cr2 as u64) & !0xfff)
    {
        let _ = writeln!(LastWords, "a stack has run into its guard page");
    }
    let _ = write!(LastWords, "backtrace: {:#x}", frame.rip);
    walk(frame.rbp);
    end(End::HostFailed)
}

/// Prints the calls that led here, as raw addresses.
pub(crate) fn backtrace() {
    let rbp: u64;
    // SAFETY: copies a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags)) };
    let _ = write!(LastWords, "backtrace:");
    walk(rbp);
}

/// Prints the return addresses of a chain of frames, as far as it stays on one stack and leads upwards.
fn walk(rbp: u64) {
    let mut at = super::direct_map::word(rbp);
    let stack = current().stacks().holding(at);
    for _ in 0..MOST_FRAMES {
        let Some(stack) = &stack else { break };
        let fits = at.is_multiple_of(8) && stack.contains(&at) && stack.contains(&at.wrapping_add(15));
        if !fits {
            break;
        }
        let pair = core::ptr::with_exposed_provenance::<[u64; 2]>(at);
        // SAFETY: `at` and the 15 bytes after it lie on one of our stacks, which are mapped and aligned.
        // Whatever is there, numbers are only printed or checked again before use.
        let [next, back] = unsafe { pair.read_volatile() };
        if back == 0 {
            break;
        }
        let _ = write!(LastWords, " {back:#x}");
        let next = super::direct_map::word(next);
        if next <= at {
            break;
        }
        at = next;
    }
    let _ = writeln!(LastWords);
}
