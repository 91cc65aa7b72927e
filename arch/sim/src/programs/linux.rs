//! What a Linux kernel says to its hypervisor while it boots, in its order, and a sleep.
//!
//! Each answer is checked as the kernel relies on it; one that is not as it should be ends the guest with a sentence.

use xenvisor_abi::GuestHandle64;
use xenvisor_abi::event_channel::{self as event, BindIpi, SetPriority};
use xenvisor_abi::hvm::hvm_op::{HVMOP_pagetable_dying, PagetableDying};
use xenvisor_abi::hvm::params::{HVM_PARAM_CALLBACK_IRQ, HVM_PARAM_STORE_EVTCHN, HVM_PARAM_STORE_PFN};
use xenvisor_abi::memory::XENMAPSPACE_shared_info;
use xenvisor_abi::sched::SHUTDOWN_poweroff;
use xenvisor_abi::vcpu::{self, RegisterRunstateMemoryArea, RunstateInfo};
use xenvisor_abi::version::{FeatureInfo, XENVER_get_features, XENVER_version};
use xenvisor_abi::xen::{
    DOMID_SELF, HYPERVISOR_hvm_op, HYPERVISOR_vcpu_op, HYPERVISOR_vm_assist, HYPERVISOR_xen_version,
    VIRQ_DEBUG, VIRQ_TIMER, VMASST_CMD_enable, VMASST_TYPE_runstate_update_flag, VcpuTimeInfo,
};

use crate::guest::{Delivery, Ending, Events, GrantTable, PvConsole, SimGuest, Trouble};
use crate::kernel;

/// Guest frames of its own.
const SHARED_INFO: u64 = kernel::PAGES >> 12;
const EVENTS: u64 = SHARED_INFO + 1;
const TABLE: u64 = EVENTS + 4;
const RUNSTATE: u64 = (TABLE + 1) << 12;
/// The vector for upcalls.
const VECTOR: u8 = 0xf3;
/// How long it sleeps.
const SLEEP_NS: u64 = 5_000_000_000;
/// How far a sleep may be off: a hundredth.
const SLEEP_TOLERANCE_NS: u64 = SLEEP_NS / 100;
/// Offset of the time in a `vcpu_info`.
const TIME: u64 = 32;

pub(super) async fn run(guest: SimGuest) -> Ending {
    let guest = &guest;
    let version = identify(guest).await?;
    guest
        .add_to_physmap(XENMAPSPACE_shared_info, 0, SHARED_INFO)
        .await?;
    probe_paging(guest).await?;
    // Moves its vcpu_info out of the shared page, and turns event queues on.
    let events = Events::set_up(guest, Delivery::Fifo, EVENTS, VECTOR).await?;
    guest.set_param(HVM_PARAM_CALLBACK_IRQ, 1).await?;
    watch_runstate(guest).await?;
    let timer = start_timer(guest, &events).await?;
    bind_others(guest, &events).await?;

    let console = PvConsole::find(guest).await?;
    events.open(guest, console.port()).await?;
    let say = async |text: String| console.line(guest, &text).await;
    say(format!("Linux, in so many words, on Xen {version}")).await?;
    say(format!("Command line: {}", guest.command_line().await?)).await?;
    for entry in guest.memory_map().await? {
        let end = entry.addr.saturating_add(entry.size);
        say(format!(
            "memory {:#012x}..{end:#012x} type {}",
            entry.addr, entry.kind
        ))
        .await?;
    }
    match guest.initrd().await? {
        Some((at, bytes)) => say(format!("initrd: {bytes} bytes at {at:#x}")).await?,
        None => say("no initrd".to_owned()).await?,
    }
    let table = GrantTable::set_up(guest, TABLE).await?;
    say(format!("grant table: up to {} frames", table.most_frames)).await?;
    let store = (
        guest.param(HVM_PARAM_STORE_PFN).await?,
        guest.param(HVM_PARAM_STORE_EVTCHN).await?,
    );
    say(if store.0 == 0 {
        "no store".to_owned()
    } else {
        format!("store: frame {:#x}, port {}", store.0, store.1)
    })
    .await?;

    let slept = sleep(guest, &events, timer).await?;
    say(format!(
        "slept {}.{:03} s",
        slept / 1_000_000_000,
        slept / 1_000_000 % 1000
    ))
    .await?;
    let account: RunstateInfo = guest.get(RUNSTATE).await;
    let [running, runnable, blocked, _] = account.time;
    say(format!(
        "ran {} us, waited {} us, slept {} ms",
        running / 1000,
        runnable / 1000,
        blocked / 1_000_000
    ))
    .await?;
    say("reboot: Power down".to_owned()).await?;
    guest.shut_down(SHUTDOWN_poweroff).await
}

/// Asks which hypervisor it is and what it can do.
async fn identify(guest: &SimGuest) -> Result<String, Trouble> {
    let version = guest
        .call("version", HYPERVISOR_xen_version, [XENVER_version.into(), 0, 0])
        .await?;
    let mut features = FeatureInfo::default();
    guest
        .call_with(
            "get_features",
            HYPERVISOR_xen_version,
            XENVER_get_features,
            &mut features,
        )
        .await?;
    let needed = 1 << xenvisor_abi::features::XENFEAT_auto_translated_physmap;
    if features.submap & needed == 0 {
        return Err(Trouble::new(format!(
            "features {:#x} are not those of a PVH guest",
            features.submap
        )));
    }
    Ok(format!("{}.{}", version >> 16, version & 0xffff))
}

/// Finds out that the hypervisor does not shadow page tables.
async fn probe_paging(guest: &SimGuest) -> Ending {
    let mut argument = PagetableDying {
        domid: DOMID_SELF,
        ..PagetableDying::default()
    };
    let probe = guest
        .call_with(
            "pagetable_dying",
            HYPERVISOR_hvm_op,
            HVMOP_pagetable_dying,
            &mut argument,
        )
        .await;
    match probe {
        Err(refused) if i32::from(refused.number) == xenvisor_abi::errno::EINVAL => Ok(()),
        other => Err(Trouble::new(format!(
            "pagetable_dying should be invalid, and is {other:?}"
        ))),
    }
}

/// Has its run states written to memory, marked while they change.
async fn watch_runstate(guest: &SimGuest) -> Ending {
    let area = RegisterRunstateMemoryArea {
        addr: GuestHandle64(RUNSTATE),
    };
    let command = vcpu::VCPUOP_register_runstate_memory_area;
    guest
        .vcpu_op("register_runstate_memory_area", command, 0, &area)
        .await?;
    let assist = [
        VMASST_CMD_enable.into(),
        VMASST_TYPE_runstate_update_flag.into(),
        0,
    ];
    guest.call("vm_assist", HYPERVISOR_vm_assist, assist).await?;
    Ok(())
}

/// Binds the timer, with the highest priority; its port.
async fn start_timer(guest: &SimGuest, events: &Events) -> Result<u32, Trouble> {
    let stop = [vcpu::VCPUOP_stop_periodic_timer.into(), 0, 0];
    guest
        .call("stop_periodic_timer", HYPERVISOR_vcpu_op, stop)
        .await?;
    let port = guest.bind_virq(VIRQ_TIMER).await?;
    let mut priority = SetPriority {
        port,
        priority: event::EVTCHN_FIFO_PRIORITY_MAX,
    };
    guest
        .event_op("set_priority", event::EVTCHNOP_set_priority, &mut priority)
        .await?;
    events.open(guest, port).await?;
    Ok(port)
}

/// Binds what each processor of a Linux guest has beside the timer.
async fn bind_others(guest: &SimGuest, events: &Events) -> Ending {
    // Rescheduling, function calls, single function calls, the lock kicker.
    for _ in 0..4 {
        let mut ipi = BindIpi { vcpu: 0, port: 0 };
        guest
            .event_op("bind_ipi", event::EVTCHNOP_bind_ipi, &mut ipi)
            .await?;
        events.open(guest, ipi.port).await?;
    }
    let debug = guest.bind_virq(VIRQ_DEBUG).await?;
    Ok(events.open(guest, debug).await?)
}

/// The time as guests compute it: the counter, scaled as the hypervisor says.
async fn time_ns(guest: &SimGuest, info: u64) -> Result<u64, Trouble> {
    let time: VcpuTimeInfo = guest.get(info + TIME).await;
    if time.version & 1 != 0 || time.version == 0 {
        return Err(Trouble::new(format!(
            "the time is not valid: version {}",
            time.version
        )));
    }
    let ticks = u128::from(guest.counter().await.wrapping_sub(time.tsc_timestamp));
    let by = u32::from(time.tsc_shift.unsigned_abs());
    let shifted = if time.tsc_shift < 0 {
        ticks >> by
    } else {
        ticks << by
    };
    let ns = (shifted * u128::from(time.tsc_to_system_mul)) >> 32;
    Ok(time
        .system_time
        .wrapping_add(u64::try_from(ns).unwrap_or(u64::MAX)))
}

/// Sleeps by the one-shot timer; how long by the guest's own clock.
async fn sleep(guest: &SimGuest, events: &Events, timer: u32) -> Result<u64, Trouble> {
    let before = time_ns(guest, events.info()).await?;
    guest.set_timer(before + SLEEP_NS).await?;
    events.wait(guest, timer).await;
    let slept = time_ns(guest, events.info()).await?.saturating_sub(before);
    if slept.abs_diff(SLEEP_NS) > SLEEP_TOLERANCE_NS {
        return Err(Trouble::new(format!("slept {slept} ns instead of {SLEEP_NS}")));
    }
    Ok(slept)
}
