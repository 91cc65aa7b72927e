//! Calls of 32-bit code about events, vcpus and the rest, and what a domain of 32-bit code shares with its hypervisor.

use alloc::vec::Vec;

use xenvisor_abi::event_channel::{
    AllocUnbound, BindInterdomain, EVTCHNOP_alloc_unbound, EVTCHNOP_bind_interdomain, EVTCHNOP_send,
    EVTCHNOP_status, Send, Status,
};
use xenvisor_abi::hvm::hvm_op::{HVMOP_set_param, Param};
use xenvisor_abi::hvm::params::HVM_PARAM_CALLBACK_IRQ;
use xenvisor_abi::xen::{self, DOMID_SELF};
use xenvisor_abi::{sched, vcpu, version};
use xenvisor_core::clock::Instant;
use xenvisor_core::event::Upcalls;
use xenvisor_core::number::Port;
use xenvisor_core::policy::XenDefault;

use super::super::*;
use super::narrow::{ARGUMENT, LIST, NOISE, NOISE_WORD, Narrow};
use crate::answer::{After, Answer};
use crate::exit;
use crate::run::books;
use crate::testing::{NOWHERE, World};

#[test]
fn a_poll_has_its_deadline_in_the_two_words_behind_its_list() {
    let guest = Narrow::new();
    let port = open_port(&guest);
    let argument = sched::compat::Poll {
        ports: guest.list(LIST, &[port]),
        nr_ports: 1,
        timeout: CompatU64 { low: 5, high: 1 },
    };
    guest.0.put(1, ARGUMENT, &argument);
    let command = u64::from(sched::SCHEDOP_poll);
    let served = guest.call(xen::HYPERVISOR_sched_op, &[command, ARGUMENT]);
    assert!(matches!(served, Ok(Answer::Then(0, After::Poll))), "{served:?}");
    let poll = guest.0.domains[0].vcpus[0].timers.lock().poll;
    assert_eq!(poll, Some(Instant::from_ns(1 << 32 | 5)));
}

fn open_port(guest: &Narrow) -> u32 {
    let argument = AllocUnbound {
        dom: DOMID_SELF,
        remote_dom: 2,
        port: 0,
    };
    guest.0.put(1, ARGUMENT, &argument);
    let command = u64::from(EVTCHNOP_alloc_unbound);
    guest
        .call(xen::HYPERVISOR_event_channel_op, &[command, ARGUMENT])
        .unwrap();
    guest.get::<AllocUnbound>(ARGUMENT).port
}

#[test]
fn a_one_shot_timer_has_its_flags_behind_two_words_of_time() {
    let guest = Narrow::new();
    let argument = vcpu::compat::SetSingleshotTimer {
        timeout_abs_ns: CompatU64 { low: 7, high: 1 },
        flags: 0,
    };
    // At the very end of memory: a 64-bit argument would not fit.
    let at = NOWHERE - 12;
    guest.0.put(1, at, &argument);
    let command = u64::from(vcpu::VCPUOP_set_singleshot_timer);
    let served = guest.call(xen::HYPERVISOR_vcpu_op, &[command, 0, at]);
    let timer = guest.0.domains[0].vcpus[0].timers.lock().singleshot;
    assert_eq!(
        (served, timer),
        (Ok(Answer::OK), Some(Instant::from_ns(1 << 32 | 7)))
    );
}

#[test]
fn run_states_are_told_in_44_bytes_and_kept_up_to_date_in_the_layout_of_the_domain() {
    let guest = Narrow::new();
    let served = guest.vcpu_op(vcpu::VCPUOP_get_runstate_info, &[NOISE; 64]);
    let told: vcpu::compat::RunstateInfo = guest.get(ARGUMENT);
    let behind: [u8; 4] = guest.get(ARGUMENT + 44);
    assert_eq!((served, behind), (Ok(Answer::OK), [NOISE; 4]));
    assert_eq!(told.state, vcpu::RUNSTATE_offline.cast_signed());

    for (layout, bytes) in [(Width::Bits32, 44), (Width::Bits64, 48)] {
        let guest = Narrow::new();
        guest.0.domains[0].latch_width(layout);
        let area = guest.list(LIST, &[]);
        // Four bytes are read, although the union has eight.
        let argument = [area.0, u32::MAX];
        assert_eq!(
            guest.vcpu_op(vcpu::VCPUOP_register_runstate_memory_area, &argument),
            Ok(Answer::OK)
        );
        guest.0.put(1, LIST, &[NOISE_WORD; 16]);
        let domain = &guest.0.domains[0];
        let processor = domain.vcpus[0].cpu.lock();
        books::publish_runstate(
            domain,
            &domain.vcpus[0],
            processor.cpu.as_ref(),
            Instant::from_ns(9_000),
        );
        let record: [u8; 64] = guest.get(LIST);
        let first_noise = record.windows(8).position(|window| window == [NOISE; 8]);
        assert_eq!(first_noise, Some(bytes), "{layout:?}");
    }
}

#[test]
fn the_time_is_kept_where_the_lower_half_of_the_argument_says() {
    let guest = Narrow::new();
    let argument = [guest.list(LIST, &[0; 8]).0, u32::MAX];
    let served = guest.vcpu_op(vcpu::VCPUOP_register_vcpu_time_memory_area, &argument);
    let time: xen::VcpuTimeInfo = guest.get(LIST);
    assert_eq!(served, Ok(Answer::OK));
    assert!(time.version != 0 && time.version.is_multiple_of(2) && time.tsc_to_system_mul != 0);
}

#[test]
fn a_timer_has_its_deadline_in_two_registers() {
    let guest = Narrow::new();
    let served = guest.call(xen::HYPERVISOR_set_timer_op, &[3, 2]);
    let timer = guest.0.domains[0].vcpus[0].timers.lock().singleshot;
    assert_eq!(
        (served, timer),
        (Ok(Answer::OK), Some(Instant::from_ns(2 << 32 | 3)))
    );
}

#[test]
fn a_multicall_of_32_byte_entries_gets_32_bit_results() {
    let guest = Narrow::new();
    let entry = |op, args| xen::compat::MulticallEntry { op, result: 7, args };
    let entries = [
        entry(
            xen::HYPERVISOR_xen_version,
            [version::XENVER_version, 0, 0, 0, 0, 0],
        ),
        entry(63, [0; 6]),
        entry(xen::HYPERVISOR_set_timer_op, [9, 1, 0, 0, 0, 0]),
    ];
    for (at, entry) in (ARGUMENT..).step_by(32).zip(&entries) {
        guest.0.put(1, at, entry);
    }
    assert_eq!(
        guest.call(xen::HYPERVISOR_multicall, &[ARGUMENT, 3]),
        Ok(Answer::OK)
    );
    let results =
        [0, 32, 64].map(|offset| guest.get::<xen::compat::MulticallEntry>(ARGUMENT + offset).result);
    assert_eq!(results, [4 << 16 | 17, 38_u32.wrapping_neg(), 0]);
    let timer = guest.0.domains[0].vcpus[0].timers.lock().singleshot;
    assert_eq!(
        timer,
        Some(Instant::from_ns(1 << 32 | 9)),
        "64 bits in two arguments"
    );
}

#[test]
fn platform_parameters_are_one_32_bit_word() {
    let guest = Narrow::new();
    let command = u64::from(version::XENVER_platform_parameters);
    let served = guest.call(xen::HYPERVISOR_xen_version, &[command, ARGUMENT]);
    let after: [u32; 2] = guest.get(ARGUMENT);
    assert_eq!((served, after), (Ok(Answer::OK), [0, NOISE_WORD]));
}

#[test]
fn setting_the_callback_from_32_bit_code_moves_masks_selector_and_wall_clock() {
    let guest = Narrow::new();
    assert_eq!(guest.0.domains[0].width(), Width::Bits64);
    let callback = Param {
        domid: DOMID_SELF,
        index: HVM_PARAM_CALLBACK_IRQ,
        value: 2 << 56 | 0x40,
        ..Param::default()
    };
    guest.0.put(1, ARGUMENT, &callback);
    let command = u64::from(HVMOP_set_param);
    assert_eq!(
        guest.call(xen::HYPERVISOR_hvm_op, &[command, ARGUMENT]),
        Ok(Answer::OK)
    );
    let domain = &guest.0.domains[0];
    assert_eq!(domain.width(), Width::Bits32);
    let shared = |offset| {
        let page = domain.shared_info.mfn().address().unwrap();
        let mut word = [0; 4];
        domain
            .machine
            .memory()
            .read(page.checked_add(offset).unwrap(), &mut word);
        u32::from_le_bytes(word)
    };
    let wall_clock = core::mem::offset_of!(xen::compat::SharedInfo, wc_version) as u64;
    assert_eq!(wall_clock, 2304);
    assert!(shared(wall_clock) != 0 && shared(wall_clock).is_multiple_of(2));

    let port = loop {
        let port = open_port(&guest);
        if port >= 33 {
            break port;
        }
    };
    let page = domain.shared_info.mfn().address().unwrap();
    domain.vcpus[0].info.set_default(page);
    let event = |port: u32| {
        let ports = domain.ports.lock();
        ports.is_pending(&**domain, Port::new(port))
    };
    assert!(!event(port));
    // The peer binds, which makes nothing pending at this end; it sends.
    let bind = BindInterdomain {
        remote_dom: 1,
        remote_port: port,
        ..Default::default()
    };
    guest.0.put(2, ARGUMENT, &bind);
    let bind_command = u64::from(EVTCHNOP_bind_interdomain);
    guest
        .0
        .call(2, xen::HYPERVISOR_event_channel_op, &[bind_command, ARGUMENT])
        .unwrap();
    let local: BindInterdomain = guest.0.get(2, ARGUMENT);
    guest.0.put(
        2,
        ARGUMENT,
        &Send {
            port: local.local_port,
        },
    );
    let send_command = u64::from(EVTCHNOP_send);
    guest
        .0
        .call(2, xen::HYPERVISOR_event_channel_op, &[send_command, ARGUMENT])
        .unwrap();
    assert!(event(port));
    let pending = core::mem::offset_of!(xen::compat::SharedInfo, evtchn_pending) as u64;
    assert_eq!(shared(pending + u64::from(port / 32) * 4), 1 << (port % 32));
    let selector = core::mem::offset_of!(xen::compat::VcpuInfo, evtchn_pending_sel) as u64;
    assert_eq!((selector, shared(selector)), (4, 1 << (port / 32)));
}

#[test]
fn a_32_bit_domain_has_1024_ports() {
    // Nothing else limits them.
    let world = World::with_ports(2, 1, XenDefault::default(), Vec::new(), u32::MAX);
    let guest = Narrow(world);
    guest.latch();
    let status = |port: u32| {
        let argument = Status {
            dom: DOMID_SELF,
            port,
            ..Default::default()
        };
        guest.0.put(1, ARGUMENT, &argument);
        let command = u64::from(EVTCHNOP_status);
        guest.call(xen::HYPERVISOR_event_channel_op, &[command, ARGUMENT])
    };
    let mut highest = 0;
    let full = loop {
        let argument = AllocUnbound {
            dom: DOMID_SELF,
            remote_dom: 2,
            port: 0,
        };
        guest.0.put(1, ARGUMENT, &argument);
        let command = u64::from(EVTCHNOP_alloc_unbound);
        match guest.call(xen::HYPERVISOR_event_channel_op, &[command, ARGUMENT]) {
            Ok(_) => highest = guest.get::<AllocUnbound>(ARGUMENT).port,
            Err(errno) => break errno,
        }
    };
    assert_eq!((highest, full), (1023, Errno::NO_SPACE));
    assert_eq!(status(1023), Ok(Answer::OK));
    assert!(status(1024).is_err());
}

#[test]
fn a_vcpu_info_of_a_32_bit_domain_needs_4_byte_alignment_only() {
    let place = |guest: &Narrow| {
        let argument = vcpu::RegisterVcpuInfo {
            mfn: 50,
            offset: 20,
            rsvd: 0,
        };
        guest.vcpu_op(vcpu::VCPUOP_register_vcpu_info, &argument)
    };
    let (wide, narrow) = (Narrow::new(), Narrow::new());
    narrow.latch();
    assert!(place(&wide).is_err());
    assert_eq!(place(&narrow), Ok(Answer::OK));
}

#[test]
fn an_error_of_a_32_bit_call_is_32_bits_wide() {
    let guest = Narrow::new();
    let domain = &guest.0.domains[0];
    let mut processor = domain.vcpus[0].cpu.lock();
    let call = xenvisor_core::machine::Call {
        number: 63,
        arguments: [0; 6],
        width: Width::Bits32,
        privileged: true,
    };
    let exit = xenvisor_core::machine::Exit::Hypercall(call);
    let now = Instant::from_ns(1_000);
    exit::serve(
        &guest.0.hypervisor,
        domain,
        &domain.vcpus[0],
        &mut processor,
        exit,
        now,
    );
    assert_eq!(processor.cpu.registers().rax, u64::from(38_u32.wrapping_neg()));
}
