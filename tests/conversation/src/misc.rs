//! Talks about everything that only answers or refuses: parameters, versions, and every other number.

use core::fmt;

use xenvisor_abi::hvm::hvm_op::*;
use xenvisor_abi::hvm::params::{
    HVM_PARAM_CALLBACK_IRQ, HVM_PARAM_CONSOLE_EVTCHN, HVM_PARAM_CONSOLE_PFN, HVM_PARAM_STORE_EVTCHN,
    HVM_PARAM_STORE_PFN,
};
use xenvisor_abi::physdev;
use xenvisor_abi::version::FeatureInfo;
use xenvisor_abi::xen::*;

use crate::talk::Talk;

const PLACE: u64 = 2;
const NOBODY: u16 = 0x100;
const NOWHERE: u64 = 0x3000_0000;
const DOMAINS: [u16; 6] = [DOMID_SELF, DOMID_SELF, DOMID_SELF, NOBODY, 0x7ff4, 0xffff];
/// Parameters that say where the toolstack has put something.
const FURNITURE: [u32; 4] = [
    HVM_PARAM_STORE_PFN,
    HVM_PARAM_STORE_EVTCHN,
    HVM_PARAM_CONSOLE_PFN,
    HVM_PARAM_CONSOLE_EVTCHN,
];
/// What a guest may set without harm to this talk.
const HARMLESS: [u32; 2] = [HVM_PARAM_CALLBACK_IRQ, 34];

pub(crate) fn hold(talk: &mut Talk<'_>, calls: u32) -> fmt::Result {
    features(talk)?;
    params(talk)?;
    numbers(talk)?;
    versions(talk)?;
    for _ in 0..calls {
        turn(talk)?;
    }
    params(talk)
}

/// Every feature word.
fn features(talk: &mut Talk<'_>) -> fmt::Result {
    for submap_idx in [0, 1, u32::MAX] {
        let mut argument = FeatureInfo {
            submap_idx,
            ..FeatureInfo::default()
        };
        talk.ask("get_features", HYPERVISOR_xen_version, 6, &mut argument)?;
    }
    Ok(())
}

/// Every parameter of one's own.
fn params(talk: &mut Talk<'_>) -> fmt::Result {
    for index in (0..45).chain([64, 255, u32::MAX]) {
        let argument = Param {
            domid: DOMID_SELF,
            index,
            ..Param::default()
        };
        get_param(talk, &argument)?;
    }
    Ok(())
}

/// Asks for a parameter. Where console and xenstore are is the toolstack's affair.
fn get_param(talk: &mut Talk<'_>, argument: &Param) -> fmt::Result {
    let (number, command) = (HYPERVISOR_hvm_op, HVMOP_get_param.into());
    talk.ask_hiding("get_param", number, command, argument, |answer| {
        if FURNITURE.contains(&answer.index) {
            answer.value = 0;
        }
    })
}

/// Every hypercall there could be, with nothing as its arguments. Domain 0 is somebody on Xen: the last argument, which
/// may be a domain, is nobody.
fn numbers(talk: &mut Talk<'_>) -> fmt::Result {
    for number in (0..130).chain([0x4000_0000, 0x8000_0000, u32::MAX]) {
        talk.ask_raw("hypercall", number, [NOBODY.into(), 0, 0, NOBODY.into(), 0])?;
        // A multicall of so many would be one of the whole memory.
        if ![HYPERVISOR_sched_op, HYPERVISOR_multicall, HYPERVISOR_vcpu_op].contains(&number) {
            talk.ask_raw("hypercall", number, [1, u64::MAX, 0, NOBODY.into(), 0])?;
        }
    }
    Ok(())
}

fn versions(talk: &mut Talk<'_>) -> fmt::Result {
    for command in (0..16).chain([99, u64::from(u32::MAX)]) {
        for at in [0, Talk::page(PLACE), NOWHERE, u64::MAX] {
            // Where it is and how long its text is are a build's own.
            let result = talk.ask_quietly(HYPERVISOR_xen_version, [command, at, 0, 0, 0]);
            let sign = result.min(1);
            talk.remark(format_args!("xen_version {command:x} {at:x} = {sign}"))?;
        }
    }
    let result = talk.ask_quietly(HYPERVISOR_xen_version, [0, 0, 0, 0, 0]);
    talk.remark(format_args!("version {result:x}"))
}

fn turn(talk: &mut Talk<'_>) -> fmt::Result {
    let domid = talk.chance.of(&DOMAINS);
    let number = HYPERVISOR_hvm_op;
    match talk.chance.below(24) {
        0..5 => {
            let index = talk.chance.below(48);
            let own = domid == DOMID_SELF;
            // Not its console, and not what has a meaning to the processor.
            // The last two: a task state segment that is nowhere ends the domain.
            if own && FURNITURE.contains(&index)
                || own && !HARMLESS.contains(&index) && [0, 1, 5, 12, 15, 17, 37].contains(&index)
            {
                return Ok(());
            }
            let value = match index {
                HVM_PARAM_CALLBACK_IRQ => {
                    talk.chance
                        .of(&[0, 1 << 56, 2 << 56, (2 << 56) + 0xf3, 3 << 56, 4 << 56])
                }
                _ => talk.chance.of(&[0, 1, 2, 8, 1 << 32, u64::MAX]),
            };
            let mut argument = Param {
                domid,
                index,
                value,
                ..Param::default()
            };
            talk.ask("set_param", number, HVMOP_set_param.into(), &mut argument)
                .map(drop)
        }
        5..8 => {
            let argument = Param {
                domid,
                index: talk.chance.below(48),
                value: 5,
                padding: talk.chance.of(&[0, 0, 1]),
            };
            get_param(talk, &argument)
        }
        8 => {
            let at = talk.chance.of(&[0, 0, 1, Talk::page(PLACE)]);
            let command = HVMOP_flush_tlbs.into();
            talk.ask_raw("flush_tlbs", number, [command, at, 0, 0, 0])
                .map(drop)
        }
        9 => {
            let mut argument = PagetableDying {
                domid,
                ..PagetableDying::default()
            };
            let command = HVMOP_pagetable_dying.into();
            talk.ask("pagetable_dying", number, command, &mut argument)
                .map(drop)
        }
        10 | 11 => {
            let mut argument = GetMemType {
                domid,
                pfn: talk
                    .chance
                    .of(&[0, 0x1000, 0x1001, 0x1fff, 0x9000, 0xfee00, 0x30_0000, u64::MAX]),
                ..GetMemType::default()
            };
            let command = HVMOP_get_mem_type.into();
            talk.ask("get_mem_type", number, command, &mut argument).map(drop)
        }
        12 | 13 => {
            let mut argument = EvtchnUpcallVector {
                vcpu: talk.chance.of(&[0, 0, 1, 128, u32::MAX]),
                vector: talk.chance.of(&[0, 1, 15, 16, 0xf3, 255]),
                ..EvtchnUpcallVector::default()
            };
            let command = HVMOP_set_evtchn_upcall_vector.into();
            talk.ask("set_evtchn_upcall_vector", number, command, &mut argument)
                .map(drop)
        }
        14 | 15 => {
            let command = talk.chance.of(&[
                2, 3, 4, 6, 7, 8, 11, 12, 13, 14, 16, 17, 18, 19, 20, 21, 22, 24, 26, 99,
            ]);
            let at = talk.chance.of(&[0, Talk::page(PLACE), NOWHERE]);
            for word in 0..8 {
                talk.put(Talk::page(PLACE) + word * 8, &0_u64);
            }
            talk.ask_raw("hvm_op", number, [command, at, 0, 0, 0]).map(drop)
        }
        16 | 17 => {
            let command = u64::from(talk.chance.below(34));
            let at = talk.chance.of(&[0, Talk::page(PLACE), NOWHERE]);
            let irq = physdev::IrqStatusQuery {
                irq: talk.chance.of(&[0, 9, u32::MAX]),
                ..physdev::IrqStatusQuery::default()
            };
            talk.put(Talk::page(PLACE), &irq);
            let arguments = [command, at, 0, 0, 0];
            talk.ask_raw("physdev_op", HYPERVISOR_physdev_op, arguments)
                .map(drop)
        }
        18 => {
            let command = talk.chance.of(&[0, 1, 2, u64::from(u32::MAX)]);
            let count = talk.chance.of(&[0, 1, 16, u64::from(u32::MAX)]);
            let at = talk.chance.of(&[Talk::page(PLACE), NOWHERE]);
            let arguments = [command, count, at, 0, 0];
            talk.ask_raw("console_io", HYPERVISOR_console_io, arguments)
                .map(drop)
        }
        19..22 => multicall(talk),
        _ => {
            let other = talk.chance.of(&[
                HYPERVISOR_platform_op,
                HYPERVISOR_mmuext_op,
                HYPERVISOR_xsm_op,
                HYPERVISOR_sysctl,
                HYPERVISOR_domctl,
                HYPERVISOR_kexec_op,
                HYPERVISOR_argo_op,
                HYPERVISOR_xenpmu_op,
                HYPERVISOR_dm_op,
                HYPERVISOR_hypfs_op,
                HYPERVISOR_arch_0,
                HYPERVISOR_arch_1,
            ]);
            let arguments = [
                talk.chance.of(&[
                    NOBODY.into(),
                    DOMID_SELF.into(),
                    Talk::page(PLACE) | u64::from(NOBODY),
                ]),
                talk.chance.of(&[0, 1, Talk::page(PLACE), NOWHERE]),
                talk.chance.of(&[0, 1, Talk::page(PLACE)]),
                talk.chance.of(&[NOBODY.into(), DOMID_SELF.into()]),
                0,
            ];
            for word in 0..32 {
                talk.put(Talk::page(PLACE) + word * 8, &u64::from(NOBODY));
            }
            talk.remark(format_args!("number {other}"))?;
            talk.ask_raw("other", other, arguments).map(drop)
        }
    }
}

fn multicall(talk: &mut Talk<'_>) -> fmt::Result {
    let count = u64::from(talk.chance.below(5));
    let size = size_of::<MulticallEntry>() as u64;
    for at in 0..count {
        let op = talk.chance.of(&[
            HYPERVISOR_xen_version.into(),
            HYPERVISOR_vm_assist.into(),
            HYPERVISOR_event_channel_op.into(),
            HYPERVISOR_iret.into(),
            HYPERVISOR_multicall.into(),
            99,
            1 << 32,
            u64::MAX,
        ]);
        let entry = MulticallEntry {
            op,
            result: 0x5a,
            args: [talk.chance.of(&[0, 7, 99]), NOWHERE, 1, 0, 0, 0],
        };
        talk.put(Talk::page(PLACE) + at * size, &entry);
        talk.remark(format_args!("entry {:x} {:x}", entry.op, entry.args[0]))?;
    }
    let (at, asked) = match talk.chance.below(8) {
        0 => (NOWHERE, count),
        1 => (Talk::page(PLACE), 1 << 32),
        _ => (Talk::page(PLACE), count),
    };
    if asked == 1 << 32 && count == 0 {
        return Ok(());
    }
    let arguments = [at, asked.min(count), 0, 0, 0];
    talk.ask_raw("multicall", HYPERVISOR_multicall, arguments)?;
    for number in 0..count {
        let entry: MulticallEntry = talk.get(Talk::page(PLACE) + number * size);
        let result = entry.result.cast_signed();
        talk.remark(format_args!("result {result} op {:x}", entry.op))?;
    }
    Ok(())
}
