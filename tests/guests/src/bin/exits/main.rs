//! Raises every exit that a hypervisor intercepts, and says what it saw: of each instruction where it went on, which
//! exceptions came with which codes, and which registers changed; alone, step by step, and outside level 0.
//!
//! What it says depends on the processor only where CPUID does: lines that begin with `cpuid`. It is for 64-bit code, in
//! a guest of at least 64 MiB. With `end=NAME` on the command line it ends with that, and does nothing else.
#![cfg_attr(bare, no_std, no_main)]

use xenvisor_guests::prelude::*;

#[cfg(all(bare, target_arch = "x86_64"))]
mod control;
#[cfg(all(bare, target_arch = "x86_64"))]
mod endings;
#[cfg(all(bare, target_arch = "x86_64"))]
mod events;
#[cfg(all(bare, target_arch = "x86_64"))]
mod identity;
#[cfg(all(bare, target_arch = "x86_64"))]
mod instructions;
#[cfg(all(bare, target_arch = "x86_64"))]
mod log;
#[cfg(all(bare, target_arch = "x86_64"))]
mod memory;
#[cfg(all(bare, target_arch = "x86_64"))]
mod msrs;
#[cfg(all(bare, target_arch = "x86_64"))]
mod ports;
#[cfg(all(bare, target_arch = "x86_64"))]
mod strict;
#[cfg(all(bare, target_arch = "x86_64"))]
mod trial;

#[cfg(all(bare, target_arch = "x86_64"))]
fn exits(guest: &mut Guest) -> Shutdown {
    let mut walk = trial::Walk::begin(guest);
    if let Some(how) = walk.word("end") {
        return endings::end(&mut walk, how);
    }
    identity::all(&mut walk);
    instructions::all(&mut walk);
    msrs::all(&mut walk);
    ports::all(&mut walk);
    control::all(&mut walk);
    memory::all(&mut walk);
    events::all(&mut walk);
    strict::all(&mut walk);
    walk.say(format_args!("all exits raised"));
    Shutdown::PowerOff
}

/// Nothing else has these exits.
#[cfg(not(all(bare, target_arch = "x86_64")))]
fn exits(guest: &mut Guest) -> Shutdown {
    guest.say(format_args!("this is for 64-bit code"));
    Shutdown::Crash
}

xenvisor_guests::guest!(exits);
