//! The books of a vcpu, and their copies in guest memory: run states and time.

use xenvisor_abi::vcpu as abi;
use xenvisor_abi::vcpu::XEN_RUNSTATE_UPDATE;
use xenvisor_core::clock::Instant;
use xenvisor_core::domain::Domain;
use xenvisor_core::event::Upcalls;
use xenvisor_core::machine::{Access, GuestRam, VirtCpu, Width};
use xenvisor_core::number::{FRAME_SIZE, GuestAddr, LinearAddr};
use xenvisor_core::vcpu::runstate::Runstate;
use xenvisor_core::vcpu::{Vcpu, time};
use zerocopy::{Immutable, IntoBytes};

use crate::shape::{Shape, field_at};

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

/// Writes the vcpu's account to where the guest wants it, in the layout that the guest's shared structures have now. A
/// guest that has unmapped the place does without.
pub fn publish_runstate(domain: &Domain, vcpu: &Vcpu, cpu: &dyn VirtCpu, now: Instant) {
    let Some(at) = vcpu.areas.lock().runstate else {
        return;
    };
    let account = vcpu.runstate.lock().at(now);
    let marks = domain.settings.lock().runstate_update_flag;
    let record = runstate_record(&account);
    let since = record.state_entry_time;
    let since_at = field_at!(domain.width(), abi::RunstateInfo, state_entry_time);
    let put_record = |record: &abi::RunstateInfo| match domain.width() {
        Width::Bits64 => put(domain, cpu, at, 0, record),
        Width::Bits32 => put(domain, cpu, at, 0, &record.narrow()),
    };
    if !marks {
        return put_record(&record);
    }
    // Marked before anything else changes, unmarked after everything has: readers in between retry.
    let marked = since | XEN_RUNSTATE_UPDATE;
    put(domain, cpu, at, since_at, &marked);
    put_record(&abi::RunstateInfo {
        state_entry_time: marked,
        ..record
    });
    put(domain, cpu, at, since_at, &since);
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
