//! The books of a vcpu, and their copies in guest memory: run states and time.

use xenvisor_abi::vcpu as abi;
use xenvisor_abi::{CompatU64, vcpu::XEN_RUNSTATE_UPDATE};
use xenvisor_core::clock::Instant;
use xenvisor_core::domain::Domain;
use xenvisor_core::machine::{Access, GuestRam, VirtCpu, Width};
use xenvisor_core::number::{FRAME_SIZE, GuestAddr, LinearAddr};
use xenvisor_core::vcpu::runstate::{Runstate, State};
use xenvisor_core::vcpu::{Vcpu, time};
use zerocopy::{Immutable, IntoBytes};

/// The vcpu changes state.
pub fn enter(vcpu: &Vcpu, state: State, now: Instant) {
    vcpu.runstate.lock().enter(state, now);
}

/// An account as 64-bit guests read it.
#[must_use]
pub fn runstate_record(account: &Runstate) -> abi::RunstateInfo {
    abi::RunstateInfo {
        state: account.state.raw().cast_signed(),
        padding: 0,
        state_entry_time: account.since.as_ns(),
        time: account.spent_ns,
    }
}

/// An account as 32-bit guests read it.
#[must_use]
pub fn runstate_record_32(account: &Runstate) -> abi::compat::RunstateInfo {
    abi::compat::RunstateInfo {
        state: account.state.raw().cast_signed(),
        state_entry_time: split(account.since.as_ns()),
        time: account.spent_ns.map(split),
    }
}

fn split(number: u64) -> CompatU64 {
    let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
    CompatU64 {
        low: u32::from_le_bytes([a, b, c, d]),
        high: u32::from_le_bytes([e, f, g, h]),
    }
}

/// Writes the vcpu's account to where the guest wants it. A guest that has unmapped the place does without.
pub fn publish_runstate(domain: &Domain, vcpu: &Vcpu, cpu: &dyn VirtCpu, now: Instant) {
    let Some((at, width)) = vcpu.areas.lock().runstate else {
        return;
    };
    let account = vcpu.runstate.lock().at(now);
    let marks = domain.settings.lock().runstate_update_flag;
    match width {
        Width::Bits64 => {
            let mut record = runstate_record(&account);
            if marks {
                record.state_entry_time |= XEN_RUNSTATE_UPDATE;
                // Marked before anything else changes, unmarked after everything has: readers in between retry.
                put(domain, cpu, at, 8, &record.state_entry_time);
                put(domain, cpu, at, 0, &record);
                put(domain, cpu, at, 8, &account.since.as_ns());
            } else {
                put(domain, cpu, at, 0, &record);
            }
        }
        Width::Bits32 => {
            let mut record = runstate_record_32(&account);
            if marks {
                record.state_entry_time = split(account.since.as_ns() | XEN_RUNSTATE_UPDATE);
                put(domain, cpu, at, 4, &record.state_entry_time);
                put(domain, cpu, at, 0, &record);
                put(domain, cpu, at, 4, &split(account.since.as_ns()));
            } else {
                put(domain, cpu, at, 0, &record);
            }
        }
    }
}

/// Writes the time to where the guest wants a second copy of it.
pub fn publish_time(domain: &Domain, vcpu: &Vcpu, cpu: &dyn VirtCpu) {
    let Some(at) = vcpu.areas.lock().time else { return };
    let scale = domain.machine.time_scale();
    if let Ok(gaddr) = cpu.translate(&domain.guest_memory(), at, Access::ReadWrite)
        && gaddr.offset() <= FRAME_SIZE - 32
        && let Ok(place) = domain.guest_memory().pin(gaddr, Access::ReadWrite)
    {
        time::write(domain.machine.memory().as_ref(), place.address(), &scale);
    }
}

/// Writes the time into the vcpu's `vcpu_info`.
pub fn write_time(domain: &Domain, vcpu: &Vcpu) {
    if let Some(at) = vcpu.info.get().and_then(|info| info.checked_add(time::OFFSET)) {
        time::write(domain.machine.memory().as_ref(), at, &domain.machine.time_scale());
    }
}

/// Writes a value at `offset` behind a linear address, page by page. What cannot be written is left out.
fn put<T: IntoBytes + Immutable>(domain: &Domain, cpu: &dyn VirtCpu, at: LinearAddr, offset: u64, value: &T) {
    let bytes = value.as_bytes();
    let memory = domain.guest_memory();
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        let here = LinearAddr::new(at.raw().wrapping_add(offset).wrapping_add(done as u64));
        let Ok(gaddr) = cpu.translate(&memory, here, Access::ReadWrite) else {
            return;
        };
        let piece = rest.get(..rest.len().min(left_in_page(gaddr))).unwrap_or(rest);
        if memory.write(gaddr, piece).is_err() {
            return;
        }
        done = done.saturating_add(piece.len());
    }
}

fn left_in_page(at: GuestAddr) -> usize {
    usize::try_from(FRAME_SIZE - at.offset()).unwrap_or(1)
}
