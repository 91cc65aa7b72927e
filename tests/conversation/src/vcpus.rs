//! Talks about processors, scheduling and timers. The only vcpu stays up, and no interrupt reaches it.

use core::fmt;

use xenvisor_abi::GuestHandle64;
use xenvisor_abi::hvm::hvm_vcpu::Context;
use xenvisor_abi::sched::*;
use xenvisor_abi::vcpu::*;
use xenvisor_abi::xen::{
    DOMID_SELF, HYPERVISOR_sched_op, HYPERVISOR_set_timer_op, HYPERVISOR_vcpu_op, HYPERVISOR_vm_assist,
};

use crate::talk::Talk;

const AREA: u64 = 2;
const LIST: u64 = 3;
const NOWHERE: u64 = 0x3000_0000;
const OTHERS: [u64; 6] = [1, 2, 127, 128, 0x1_0000_0000, u64::MAX];
/// Far in the future, in nanoseconds.
const FAR: u64 = 1 << 60;

pub(crate) fn hold(talk: &mut Talk<'_>, calls: u32) -> fmt::Result {
    // The first reason that is noted stays: the talk is to end well.
    let mut well = Shutdown {
        reason: SHUTDOWN_poweroff,
    };
    let command = SCHEDOP_shutdown_code.into();
    talk.ask("shutdown_code", HYPERVISOR_sched_op, command, &mut well)?;
    for _ in 0..calls {
        if talk.chance.once_in(2) {
            vcpu(talk)?;
        } else {
            schedule(talk)?;
        }
    }
    Ok(())
}

fn vcpu(talk: &mut Talk<'_>) -> fmt::Result {
    let number = HYPERVISOR_vcpu_op;
    let own_or_other = if talk.chance.once_in(2) {
        0
    } else {
        talk.chance.of(&OTHERS)
    };
    // The number of a vcpu has 32 bits: beyond them, it is the only vcpu again.
    let other = talk.chance.of(&[1, 2, 127, 128]);
    match talk.chance.below(16) {
        0 => {
            let mut argument = Context {
                mode: talk.chance.of(&[0, 1, 2, u32::MAX]),
                padding: talk.chance.of(&[0, 0, 1]),
                ..Context::default()
            };
            let command = VCPUOP_initialise.into();
            talk.ask_third("initialise", number, [command, own_or_other], &mut argument)
                .map(drop)
        }
        1 => talk
            .ask_raw("up", number, [VCPUOP_up.into(), own_or_other, 0, 0, 0])
            .map(drop),
        2 => talk
            .ask_raw("down", number, [VCPUOP_down.into(), other, 0, 0, 0])
            .map(drop),
        3 => talk
            .ask_raw("is_up", number, [VCPUOP_is_up.into(), own_or_other, 0, 0, 0])
            .map(drop),
        4 => {
            let at = talk.chance.of(&[Talk::page(AREA), NOWHERE, u64::MAX]);
            let command = VCPUOP_get_runstate_info.into();
            talk.ask_raw("get_runstate_info", number, [command, own_or_other, at, 0, 0])
                .map(drop)
        }
        5 | 6 => {
            let at = talk.chance.of(&[
                Talk::page(AREA),
                Talk::page(AREA) + 4,
                Talk::page(AREA) + 4090,
                NOWHERE,
                0,
                1 << 47,
                u64::MAX,
            ]);
            if talk.chance.once_in(2) {
                let mut argument = RegisterRunstateMemoryArea {
                    addr: GuestHandle64(at),
                };
                let command = VCPUOP_register_runstate_memory_area.into();
                talk.ask_third("runstate_area", number, [command, own_or_other], &mut argument)
                    .map(drop)
            } else {
                let mut argument = RegisterTimeMemoryArea {
                    addr: GuestHandle64(at),
                };
                let command = VCPUOP_register_vcpu_time_memory_area.into();
                talk.ask_third("time_area", number, [command, own_or_other], &mut argument)
                    .map(drop)
            }
        }
        7 | 8 => {
            let mut argument = SetPeriodicTimer {
                period_ns: talk
                    .chance
                    .of(&[0, 1, 999_999, 1_000_000, 1 << 40, 1 << 62, 1 << 63, u64::MAX]),
            };
            let command = VCPUOP_set_periodic_timer.into();
            talk.ask_third(
                "set_periodic_timer",
                number,
                [command, own_or_other],
                &mut argument,
            )?;
            let stop = [VCPUOP_stop_periodic_timer.into(), own_or_other, 0, 0, 0];
            talk.ask_raw("stop_periodic_timer", number, stop).map(drop)
        }
        9 | 10 => {
            let mut argument = SetSingleshotTimer {
                timeout_abs_ns: talk.chance.of(&[0, 1, FAR, 1 << 63, u64::MAX]),
                flags: talk.chance.of(&[0, 1, 2, u32::MAX]),
                ..SetSingleshotTimer::default()
            };
            let command = VCPUOP_set_singleshot_timer.into();
            talk.ask_third(
                "set_singleshot_timer",
                number,
                [command, own_or_other],
                &mut argument,
            )?;
            let stop = [VCPUOP_stop_singleshot_timer.into(), own_or_other, 0, 0, 0];
            talk.ask_raw("stop_singleshot_timer", number, stop).map(drop)
        }
        11 | 12 => {
            let mut argument = RegisterVcpuInfo {
                mfn: talk.chance.of(&[Talk::page(AREA) >> 12, 0x30_0000, u64::MAX]),
                offset: talk
                    .chance
                    .of(&[0, 4, 8, 64, 4096 - 64, 4096 - 60, 4096, u32::MAX]),
                rsvd: talk.chance.of(&[0, 1]),
            };
            let command = VCPUOP_register_vcpu_info.into();
            talk.ask_third(
                "register_vcpu_info",
                number,
                [command, own_or_other],
                &mut argument,
            )
            .map(drop)
        }
        13 => talk
            .ask_raw("send_nmi", number, [VCPUOP_send_nmi.into(), other, 0, 0, 0])
            .map(drop),
        14 => {
            let mut argument = GetPhysid::default();
            let command = VCPUOP_get_physid.into();
            talk.ask_third("get_physid", number, [command, own_or_other], &mut argument)
                .map(drop)
        }
        _ => {
            let command = talk.chance.of(&[14, 15, 16, 99, u64::from(u32::MAX)]);
            let arguments = [command, own_or_other, Talk::page(AREA), 0, 0];
            talk.ask_raw("vcpu_op", number, arguments).map(drop)
        }
    }
}

fn schedule(talk: &mut Talk<'_>) -> fmt::Result {
    let number = HYPERVISOR_sched_op;
    match talk.chance.below(14) {
        0 => talk
            .ask_raw("yield", number, [SCHEDOP_yield.into(), 0, 0, 0, 0])
            .map(drop),
        1..5 => {
            for at in 0..4 {
                let port = talk.chance.of(&[0_u32, 5, 1000, 4095, 4096, 131_072, u32::MAX]);
                talk.put(Talk::page(LIST) + at * 4, &port);
                talk.remark(format_args!("port {port:x}"))?;
            }
            let mut argument = Poll {
                ports: GuestHandle64(talk.chance.of(&[Talk::page(LIST), Talk::page(LIST), NOWHERE])),
                nr_ports: talk.chance.of(&[0, 1, 2, 4, 128, 129, u32::MAX]),
                // Long ago: nothing is waited for.
                timeout: 1,
                ..Poll::default()
            };
            if argument.nr_ports == 128 {
                argument.ports = GuestHandle64(NOWHERE);
            }
            talk.ask("poll", number, SCHEDOP_poll.into(), &mut argument)
                .map(drop)
        }
        5 => {
            let mut argument = RemoteShutdown {
                domain_id: talk.chance.of(&[0x100, DOMID_SELF, 0x7ff4]),
                reason: 3,
                ..RemoteShutdown::default()
            };
            let command = SCHEDOP_remote_shutdown.into();
            talk.ask("remote_shutdown", number, command, &mut argument)
                .map(drop)
        }
        6 => {
            let mut argument = Shutdown {
                reason: talk.chance.of(&[6, 7, 255, 256, u32::MAX]),
            };
            if talk.chance.once_in(2) {
                let command = SCHEDOP_shutdown_code.into();
                talk.ask("shutdown_code", number, command, &mut argument)
                    .map(drop)
            } else {
                talk.ask_raw("shutdown", number, [SCHEDOP_shutdown.into(), NOWHERE, 0, 0, 0])
                    .map(drop)
            }
        }
        7..10 => {
            let id = talk.chance.of(&[0, 1, 2, 3, u32::MAX]);
            let timeout = talk.chance.of(&[0, 1000, 100_000]);
            // A new one of no time bites at once.
            let timeout = if id == 0 { 100_000 } else { timeout };
            let mut argument = Watchdog { id, timeout };
            let set = talk.ask("watchdog", number, SCHEDOP_watchdog.into(), &mut argument)?;
            if set > 0 {
                let mut stop = Watchdog {
                    id: u32::try_from(set).unwrap_or(0),
                    timeout: 0,
                };
                talk.ask("watchdog", number, SCHEDOP_watchdog.into(), &mut stop)?;
            }
            Ok(())
        }
        10 => {
            let mut argument = PinOverride {
                pcpu: talk.chance.of(&[0, -1, 1, i32::MAX]),
            };
            let command = SCHEDOP_pin_override.into();
            talk.ask("pin_override", number, command, &mut argument).map(drop)
        }
        11 => {
            let command = talk.chance.of(&[8, 9, 99, u64::from(u32::MAX)]);
            talk.ask_raw("sched_op", number, [command, Talk::page(AREA), 0, 0, 0])
                .map(drop)
        }
        12 => {
            let at = talk.chance.of(&[0, 1, FAR, 1 << 63, u64::MAX]);
            talk.ask_raw("set_timer_op", HYPERVISOR_set_timer_op, [at, 0, 0, 0, 0])?;
            talk.ask_raw("set_timer_op", HYPERVISOR_set_timer_op, [0, 0, 0, 0, 0])
                .map(drop)
        }
        _ => {
            let command = talk.chance.of(&[0, 1, 2, u64::from(u32::MAX)]);
            let kind = talk.chance.of(&[0, 1, 2, 3, 4, 5, 6, 31, 32, 63, 64, u64::MAX]);
            talk.ask_raw("vm_assist", HYPERVISOR_vm_assist, [command, kind, 0, 0, 0])
                .map(drop)
        }
    }
}
