//! Talks about event channels: a domain alone, its channels leading to itself or to nobody.

use core::fmt;

use xenvisor_abi::event_channel::*;
use xenvisor_abi::xen::{DOMID_SELF, HYPERVISOR_event_channel_op, SharedInfo, VcpuInfo};
use zerocopy::IntoBytes;

use crate::talk::{SHARED_INFO, Talk};

/// Ports below are furniture: the console's and the like, as many as there are. No talk touches them.
const FIRST: u32 = 8;
/// Ports up to here are looked at.
const LAST: u32 = 63;
/// Where the queues' control blocks and event words are put.
const CONTROL: u64 = 2;
const WORDS: u64 = 3;
/// Nobody has this number.
const NOBODY: u16 = 0x100;

const DOMAINS: [u16; 8] = [
    DOMID_SELF, DOMID_SELF, DOMID_SELF, DOMID_SELF, 1, NOBODY, 0x7ff4, 0xffff,
];
const VCPUS: [u32; 6] = [0, 0, 0, 1, 128, u32::MAX];
const PRIORITIES: [u32; 6] = [0, 7, 8, 15, 16, u32::MAX];

/// What of the events can be seen.
#[derive(PartialEq, Eq, Clone, Copy, Default)]
struct Sight {
    pending: u64,
    masked: u64,
    upcall: u8,
}

/// A talk in the 2-level way.
pub(crate) fn hold(talk: &mut Talk<'_>, calls: u32) -> fmt::Result {
    furnish(talk)?;
    chat(talk, calls, false)
}

/// A talk in the FIFO way.
pub(crate) fn hold_fifo(talk: &mut Talk<'_>, calls: u32) -> fmt::Result {
    furnish(talk)?;
    for (gfn, offset, vcpu) in [
        (Talk::page(CONTROL) >> 12, 4, 0),
        (Talk::page(CONTROL) >> 12, 4096 - 64, 0),
        (Talk::page(CONTROL) >> 12, 0, 1),
        (0x30_0000, 0, 0),
        (Talk::page(CONTROL) >> 12, 0, 0),
        (Talk::page(CONTROL) >> 12, 0, 0),
    ] {
        let mut argument = InitControl {
            control_gfn: gfn,
            offset,
            vcpu,
            ..InitControl::default()
        };
        op(talk, "init_control", EVTCHNOP_init_control, &mut argument)?;
    }
    for page in [0x30_0000, Talk::page(WORDS) >> 12] {
        let mut argument = ExpandArray { array_gfn: page };
        op(talk, "expand_array", EVTCHNOP_expand_array, &mut argument)?;
    }
    chat(talk, calls, true)
}

/// Takes all ports below the first that talks touch.
fn furnish(talk: &mut Talk<'_>) -> fmt::Result {
    loop {
        let mut argument = AllocUnbound {
            dom: DOMID_SELF,
            remote_dom: DOMID_SELF,
            ..AllocUnbound::default()
        };
        talk.put(Talk::page(0), &argument);
        let command = EVTCHNOP_alloc_unbound.into();
        let result = talk.ask_quietly(HYPERVISOR_event_channel_op, [command, Talk::page(0), 0, 0, 0]);
        argument = talk.get(Talk::page(0));
        if result < 0 {
            return talk.remark(format_args!("no port: {result}"));
        }
        if argument.port + 1 >= FIRST {
            return Ok(());
        }
    }
}

fn chat(talk: &mut Talk<'_>, calls: u32, fifo: bool) -> fmt::Result {
    let mut before = sight(talk, fifo);
    for _ in 0..calls {
        turn(talk, fifo)?;
        let after = sight(talk, fifo);
        if after != before {
            talk.remark(format_args!(
                "pending {:x} masked {:x} upcall {}",
                after.pending, after.masked, after.upcall
            ))?;
        }
        before = after;
        // The guest's part: it masks, and takes events.
        if talk.chance.once_in(6) {
            before = meddle(talk, fifo)?;
        }
    }
    Ok(())
}

fn port(talk: &mut Talk<'_>) -> u32 {
    let wild = [LAST, 64, 1023, 4095, 4096, 131_071, 131_072, u32::MAX, 0];
    if talk.chance.once_in(12) {
        talk.chance.of(&wild)
    } else {
        FIRST + talk.chance.below(16)
    }
}

fn op<T>(talk: &mut Talk<'_>, name: &str, command: u32, argument: &mut T) -> Result<i64, fmt::Error>
where
    T: xenvisor_abi::describe::Described + zerocopy::FromBytes + IntoBytes + zerocopy::Immutable + Copy,
{
    talk.ask(name, HYPERVISOR_event_channel_op, command.into(), argument)
}

fn turn(talk: &mut Talk<'_>, fifo: bool) -> fmt::Result {
    let port = port(talk);
    let vcpu = talk.chance.of(&VCPUS);
    let domain = talk.chance.of(&DOMAINS);
    let remote = talk.chance.of(&DOMAINS);
    match talk.chance.below(30) {
        0..4 => {
            let mut argument = AllocUnbound {
                dom: domain,
                remote_dom: remote,
                ..AllocUnbound::default()
            };
            op(talk, "alloc_unbound", EVTCHNOP_alloc_unbound, &mut argument)?;
        }
        4..7 => {
            let mut argument = BindInterdomain {
                remote_dom: remote,
                remote_port: port,
                ..BindInterdomain::default()
            };
            op(talk, "bind_interdomain", EVTCHNOP_bind_interdomain, &mut argument)?;
        }
        7..9 => {
            let virq = if talk.chance.once_in(8) {
                talk.chance.of(&[24, 31, 255, u32::MAX])
            } else {
                talk.chance.below(24)
            };
            let mut argument = BindVirq { virq, vcpu, port: 0 };
            op(talk, "bind_virq", EVTCHNOP_bind_virq, &mut argument)?;
        }
        9 | 10 => {
            let mut argument = BindIpi { vcpu, port: 0 };
            op(talk, "bind_ipi", EVTCHNOP_bind_ipi, &mut argument)?;
        }
        11 => {
            let mut argument = BindPirq {
                pirq: talk.chance.of(&[0, 1, 9, 16, 255, 256, u32::MAX]),
                flags: talk.chance.of(&[0, 1, 2, u32::MAX]),
                port: 0,
            };
            op(talk, "bind_pirq", EVTCHNOP_bind_pirq, &mut argument)?;
        }
        12..16 => {
            op(talk, "close", EVTCHNOP_close, &mut Close { port })?;
        }
        16..20 => {
            op(talk, "send", EVTCHNOP_send, &mut Send { port })?;
        }
        20..23 => {
            let mut argument = Status {
                dom: domain,
                port,
                ..Status::default()
            };
            op(talk, "status", EVTCHNOP_status, &mut argument)?;
        }
        23 | 24 => {
            op(
                talk,
                "bind_vcpu",
                EVTCHNOP_bind_vcpu,
                &mut BindVcpu { port, vcpu },
            )?;
        }
        25 | 26 => {
            op(talk, "unmask", EVTCHNOP_unmask, &mut Unmask { port })?;
        }
        27 => {
            let priority = talk.chance.of(&PRIORITIES);
            let mut argument = SetPriority { port, priority };
            op(talk, "set_priority", EVTCHNOP_set_priority, &mut argument)?;
        }
        28 => {
            let command = talk.chance.of(&[14, 15, 16, 99, u32::MAX]);
            op(talk, "unknown", command, &mut Reset { dom: NOBODY })?;
        }
        _ => {
            // Not one's own: that would take the console away.
            let dom = talk.chance.of(&[NOBODY, 0x7ff4, 0xffff]);
            op(talk, "reset", EVTCHNOP_reset, &mut Reset { dom })?;
        }
    }
    // Now and then with an argument that is nowhere.
    if !fifo && talk.chance.once_in(40) {
        let command = u64::from(talk.chance.below(14));
        if command != u64::from(EVTCHNOP_reset) {
            let nowhere = talk
                .chance
                .of(&[0x3000_0000_u64, 0x1_0000_0000, 0x8000_0000_0000, u64::MAX]);
            let arguments = [command, nowhere, 0, 0, 0];
            talk.ask_raw("event_channel_op", HYPERVISOR_event_channel_op, arguments)?;
        }
    }
    Ok(())
}

/// What the guest itself does to the words it shares.
fn meddle(talk: &mut Talk<'_>, fifo: bool) -> Result<Sight, fmt::Error> {
    let which = talk.chance.word();
    let mask = talk.chance.once_in(2);
    if fifo {
        let port = u64::from(FIRST) + which % 16;
        let at = Talk::page(WORDS) + port * 4;
        let word: u32 = talk.get(at);
        // A guest takes an event by clearing its bit, wherever the port is in its queue.
        let changed = if mask {
            word ^ (1 << EVTCHN_FIFO_MASKED)
        } else {
            word & !(1 << EVTCHN_FIFO_PENDING)
        };
        talk.put(at, &changed);
    } else {
        let field = if mask {
            core::mem::offset_of!(SharedInfo, evtchn_mask)
        } else {
            core::mem::offset_of!(SharedInfo, evtchn_pending)
        };
        let at = SHARED_INFO + field as u64;
        let word: u64 = talk.get(at);
        let changed = if mask {
            word ^ (which << FIRST)
        } else {
            word & !(which << FIRST)
        };
        talk.put(at, &changed);
        let upcall = SHARED_INFO + core::mem::offset_of!(VcpuInfo, evtchn_upcall_pending) as u64;
        let selector = SHARED_INFO + core::mem::offset_of!(VcpuInfo, evtchn_pending_sel) as u64;
        talk.put(upcall, &0_u8);
        talk.put(selector, &0_u64);
    }
    let sight = sight(talk, fifo);
    talk.remark(format_args!(
        "the guest: pending {:x} masked {:x}",
        sight.pending, sight.masked
    ))?;
    Ok(sight)
}

fn sight(talk: &mut Talk<'_>, fifo: bool) -> Sight {
    let upcall = talk.get(SHARED_INFO + core::mem::offset_of!(VcpuInfo, evtchn_upcall_pending) as u64);
    let mut sight = Sight {
        upcall,
        ..Sight::default()
    };
    if fifo {
        for port in FIRST..=LAST {
            let word: u32 = talk.get(Talk::page(WORDS) + u64::from(port) * 4);
            sight.pending |= u64::from(word >> EVTCHN_FIFO_PENDING & 1) << port;
            sight.masked |= u64::from(word >> EVTCHN_FIFO_MASKED & 1) << port;
        }
    } else {
        let furniture = u64::MAX << FIRST;
        let at = |field: usize| SHARED_INFO + field as u64;
        let pending: u64 = talk.get(at(core::mem::offset_of!(SharedInfo, evtchn_pending)));
        let masked: u64 = talk.get(at(core::mem::offset_of!(SharedInfo, evtchn_mask)));
        sight.pending = pending & furniture;
        sight.masked = masked & furniture;
    }
    sight
}
