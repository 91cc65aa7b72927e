//! Where a vcpu keeps its books in guest memory: `vcpu_info`, run states, time.

use xenvisor_abi::vcpu as abi;
use xenvisor_core::memory::guest_page::GuestPage;
use xenvisor_core::number::{FRAME_SIZE, Gfn, LinearAddr};
use xenvisor_core::vcpu::{Activity, Vcpu};

use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::errno::Errno;
use crate::run::books;

/// Bytes in a `vcpu_info` (public header `xen.h`).
const INFO_BYTES: u64 = 64;
/// Offset of the byte that masks upcalls in it.
const UPCALL_MASK: u64 = 1;

/// The account of a vcpu as it stands now.
pub(super) fn get_runstate_info(cx: &Context<'_>, vcpu: &Vcpu, at: u64) -> Served {
    let account = vcpu.runstate.lock().at(cx.now);
    cx.write_shaped(at, &books::runstate_record(&account))?;
    Ok(Answer::OK)
}

/// The guest wants its run states written at a linear address, from now on.
pub(super) fn register_runstate(cx: &Context<'_>, vcpu: &Vcpu, at: u64) -> Served {
    let area = cx.read_shaped::<abi::RegisterRunstateMemoryArea>(at)?.addr.0;
    vcpu.areas.lock().runstate = (area != 0).then_some(LinearAddr::new(area));
    if area != 0 {
        let account = vcpu.runstate.lock().at(cx.now);
        // In the caller's layout now, in the domain's from then on. A place that is not memory is the guest's affair.
        let _unwritten = cx.write_shaped(area, &books::runstate_record(&account));
    }
    Ok(Answer::OK)
}

/// The guest wants its time at a linear address too.
pub(super) fn register_time(cx: &Context<'_>, vcpu: &Vcpu, at: u64) -> Served {
    let area = cx.read_shaped::<abi::RegisterTimeMemoryArea>(at)?.addr.0;
    vcpu.areas.lock().time = (area != 0).then_some(LinearAddr::new(area));
    if area != 0 && vcpu.key == cx.vcpu.key {
        books::publish_time(cx.caller, vcpu, cx.cpu);
    }
    Ok(Answer::OK)
}

/// Moves a vcpu's `vcpu_info` into guest memory, once, with all it says.
///
/// `NO_SUCH_ADDRESS` for a place that crosses a page or is not aligned; `INVALID` for one that is not the guest's own
/// memory, for a second time, and for another vcpu that is not off.
pub(super) fn register_vcpu_info(cx: &Context<'_>, vcpu: &Vcpu, at: u64) -> Served {
    let argument: abi::RegisterVcpuInfo = cx.read(at)?;
    let offset = u64::from(argument.offset);
    let alignment = if cx.caller.is_wide() { 8 } else { 4 };
    if offset > FRAME_SIZE - INFO_BYTES || !offset.is_multiple_of(alignment) {
        return Err(Errno::NO_SUCH_ADDRESS);
    }
    let is_other = vcpu.key != cx.vcpu.key;
    if vcpu.info.is_registered() || is_other && vcpu.activity.get() != Activity::Offline {
        return Err(Errno::INVALID);
    }
    let caller = cx.caller;
    let memory = &caller.memory;
    let page = GuestPage::hold(memory.frames(), memory.stage(), caller.id, Gfn::new(argument.mfn));
    let page = page.map_err(|_| Errno::INVALID)?;
    let place = page.address(offset);
    let machine_memory = cx.hypervisor.machine.memory();
    match vcpu.info.get() {
        Some(old) => machine_memory.copy(old, place, INFO_BYTES),
        None => {
            machine_memory.zero(place, INFO_BYTES);
            // A vcpu without a place for it has had its upcalls masked.
            machine_memory.write(page.address(offset.saturating_add(UPCALL_MASK)), &[1]);
        }
    }
    let switch = || vcpu.info.register(place);
    if !caller
        .ports
        .lock()
        .move_vcpu_info(caller.as_ref(), vcpu.key.vcpu, switch)
    {
        return Err(Errno::INVALID);
    }
    *vcpu.info_page.lock() = Some(page);
    books::write_time(cx.caller, vcpu);
    Ok(Answer::OK)
}
