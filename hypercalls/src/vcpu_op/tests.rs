//! What a guest hears about its vcpus.

use alloc::vec::Vec;

use xenvisor_abi::GuestHandle64;
use xenvisor_abi::hvm::hvm_vcpu as context;
use xenvisor_abi::vcpu as abi;
use xenvisor_abi::xen::HYPERVISOR_vcpu_op;
use xenvisor_core::clock::Instant;
use xenvisor_core::domain::life::{Life, Reason};
use xenvisor_core::machine::Width;
use xenvisor_core::policy::XenDefault;
use xenvisor_core::vcpu::Activity;
use xenvisor_core::vcpu::mail::News;
use zerocopy::{FromZeros, IntoBytes};

use crate::answer::{After, Answer, Served};
use crate::errno::Errno;
use crate::testing::{NOWHERE, World};

const ARGUMENT: u64 = 0x1000;
const PLACE: u64 = 0x3000;
/// A vcpu beyond those that the shared info page has room for.
const BEYOND: u64 = 32;

/// Vcpu 0 of domain 1 runs.
fn world() -> World {
    let world = World::new(1, 34, XenDefault::default(), Vec::new());
    world.domains[0].begin();
    world.domains[0].vcpus[0].note_begun();
    world
}

fn call(world: &World, command: u32, vcpu: u64, at: u64) -> Served {
    world.call(1, HYPERVISOR_vcpu_op, &[command.into(), vcpu, at])
}

fn with<T: IntoBytes + zerocopy::Immutable>(world: &World, command: u32, vcpu: u64, argument: &T) -> Served {
    world.put(1, ARGUMENT, argument);
    call(world, command, vcpu, ARGUMENT)
}

/// A state in long mode.
fn state() -> context::Context {
    let registers = context::X86_64 {
        cr0: 0x8000_0001,
        cr4: 1 << 5,
        efer: 1 << 8,
        rip: 0x1000,
        ..Default::default()
    };
    let mut state = context::Context::new_zeroed();
    state.mode = context::VCPU_HVM_MODE_64B;
    let bytes = registers.as_bytes();
    state.cpu_regs.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
    state
}

fn register_info(world: &World, vcpu: u64, mfn: u64, offset: u32) -> Served {
    let argument = abi::RegisterVcpuInfo { mfn, offset, rsvd: 0 };
    with(world, abi::VCPUOP_register_vcpu_info, vcpu, &argument)
}

#[test]
fn a_vcpu_is_initialised_once_brought_up_and_down_and_up_again() {
    let world = world();
    let up = |vcpu| call(&world, abi::VCPUOP_up, vcpu, 0);
    let is_up = |vcpu| call(&world, abi::VCPUOP_is_up, vcpu, 0);
    assert_eq!(up(1), Err(Errno::INVALID), "it has no state");
    assert_eq!(is_up(1), Ok(Answer::Done(0)));
    let initialise = |vcpu, state: &context::Context| with(&world, abi::VCPUOP_initialise, vcpu, state);
    assert_eq!(initialise(1, &state()), Ok(Answer::OK));
    assert_eq!(initialise(1, &state()), Err(Errno::EXISTS));
    assert_eq!(is_up(1), Ok(Answer::Done(0)), "it waits to be brought up");
    assert_eq!(up(1), Ok(Answer::OK));
    assert_eq!(up(1), Ok(Answer::OK), "twice is as good as once");
    assert_eq!(is_up(1), Ok(Answer::Done(1)));
    assert_eq!(call(&world, abi::VCPUOP_down, 1, 0), Ok(Answer::OK));
    assert_eq!((is_up(1), is_up(0)), (Ok(Answer::Done(0)), Ok(Answer::Done(1))));
    assert_eq!(up(1), Ok(Answer::OK));
}

#[test]
fn what_is_wrong_with_a_first_state_is_found_in_xens_order() {
    let world = world();
    let broken = context::Context {
        padding: 1,
        ..state()
    };
    let initialise = |vcpu, state: &context::Context| with(&world, abi::VCPUOP_initialise, vcpu, state);
    let unreadable = |vcpu| call(&world, abi::VCPUOP_initialise, vcpu, NOWHERE);
    assert_eq!(unreadable(BEYOND), Err(Errno::INVALID), "it has no vcpu_info");
    assert_eq!(unreadable(0), Err(Errno::FAULT));
    assert_eq!(initialise(0, &broken), Err(Errno::EXISTS), "it runs");
    assert_eq!(initialise(1, &broken), Err(Errno::INVALID));
    let mode = context::Context { mode: 2, ..state() };
    assert_eq!(initialise(1, &mode), Err(Errno::INVALID));
    assert_eq!(register_info(&world, BEYOND, 3, 0), Ok(Answer::OK));
    assert_eq!(initialise(BEYOND, &state()), Ok(Answer::OK));
}

#[test]
fn the_last_vcpu_that_goes_down_powers_the_domain_off() {
    let world = world();
    assert_eq!(
        call(&world, abi::VCPUOP_down, 1, 0),
        Ok(Answer::OK),
        "it is down already"
    );
    assert_eq!(*world.domains[0].life.lock(), Life::Running);
    assert_eq!(
        call(&world, abi::VCPUOP_down, 0, 0),
        Ok(Answer::Then(0, After::Ended))
    );
    assert_eq!(*world.domains[0].life.lock(), Life::ShutDown(Reason::PowerOff));
}

#[test]
fn a_period_is_no_shorter_than_a_millisecond_and_does_not_overflow() {
    let world = world();
    let start = |period_ns| {
        let argument = abi::SetPeriodicTimer { period_ns };
        with(&world, abi::VCPUOP_set_periodic_timer, 1, &argument)
    };
    assert_eq!(start(999_999), Err(Errno::INVALID));
    assert_eq!(start((u64::MAX >> 2) + 1), Err(Errno::INVALID));
    assert_eq!(start(1_000_000), Ok(Answer::OK), "of another vcpu, too");
    let next = || world.domains[0].vcpus[1].timers.lock().next();
    assert_eq!(next().map(Instant::as_ns), Some(1_001_000));
    assert_eq!(
        call(&world, abi::VCPUOP_stop_periodic_timer, 1, 0),
        Ok(Answer::OK)
    );
    assert_eq!(next(), None);
}

#[test]
fn a_deadline_is_the_callers_own() {
    let world = world();
    let set = |vcpu, timeout_abs_ns| {
        let argument = abi::SetSingleshotTimer {
            timeout_abs_ns,
            // That the deadline be ahead is asked for in vain since 4.17.7.
            flags: 1,
            ..Default::default()
        };
        with(&world, abi::VCPUOP_set_singleshot_timer, vcpu, &argument)
    };
    let deadline = || world.domains[0].vcpus[0].timers.lock().singleshot;
    assert_eq!(set(1, 5), Err(Errno::INVALID));
    assert_eq!(
        call(&world, abi::VCPUOP_set_singleshot_timer, 1, NOWHERE),
        Err(Errno::INVALID)
    );
    assert_eq!(
        call(&world, abi::VCPUOP_set_singleshot_timer, 0, NOWHERE),
        Err(Errno::FAULT)
    );
    assert_eq!(set(0, 5), Ok(Answer::OK), "it has passed");
    assert_eq!(deadline().map(Instant::as_ns), Some(5));
    assert_eq!(set(0, u64::MAX), Ok(Answer::OK));
    assert_eq!(deadline(), Some(Instant::ZERO), "negative: it has passed");
    let stop = |vcpu| call(&world, abi::VCPUOP_stop_singleshot_timer, vcpu, 0);
    assert_eq!((stop(1), stop(0)), (Err(Errno::INVALID), Ok(Answer::OK)));
    assert_eq!(deadline(), None);
}

#[test]
fn run_states_are_told_at_once_for_any_vcpu_and_a_bad_place_is_no_error() {
    let world = world();
    let register = |vcpu, place| {
        let argument = abi::RegisterRunstateMemoryArea {
            addr: GuestHandle64(place),
        };
        with(&world, abi::VCPUOP_register_runstate_memory_area, vcpu, &argument)
    };
    world.put(1, PLACE, &[0xff_u8; 48]);
    assert_eq!(register(1, PLACE), Ok(Answer::OK));
    let told: abi::RunstateInfo = world.get(1, PLACE);
    assert_eq!((told.state, told.time[0]), (3, 0), "it is off");
    assert_eq!(register(1, NOWHERE), Ok(Answer::OK));
    let command = abi::VCPUOP_get_runstate_info;
    assert_eq!(call(&world, command, 1, PLACE), Ok(Answer::OK));
    assert_eq!(call(&world, command, 1, NOWHERE), Err(Errno::FAULT));
    let time = abi::RegisterTimeMemoryArea {
        addr: GuestHandle64(PLACE),
    };
    let command = abi::VCPUOP_register_vcpu_time_memory_area;
    assert_eq!(with(&world, command, 0, &time), Ok(Answer::OK));
    assert_eq!(call(&world, command, 0, NOWHERE), Err(Errno::FAULT));
}

#[test]
fn a_vcpu_info_moves_once_to_an_aligned_place_in_the_guests_own_memory() {
    let world = world();
    let invalid = Err(Errno::INVALID);
    let nowhere = Err(Errno::NO_SUCH_ADDRESS);
    assert_eq!(register_info(&world, 0, 3, 4096 - 56), nowhere, "across pages");
    assert_eq!(register_info(&world, 0, 3, 4), nowhere, "not aligned");
    assert_eq!(register_info(&world, 0, 0x900, 0), invalid, "nothing is there");
    assert_eq!(register_info(&world, 0, u64::MAX, 0), invalid);
    assert_eq!(
        call(&world, abi::VCPUOP_register_vcpu_info, 0, NOWHERE),
        Err(Errno::FAULT)
    );
    assert_eq!(register_info(&world, 0, 3, 64), Ok(Answer::OK));
    world.put(1, PLACE + 128, &[7_u8; 64]);
    assert_eq!(register_info(&world, 0, 3, 128), invalid, "once is all");
    assert_eq!(
        world.get::<[u8; 64]>(1, PLACE + 128),
        [7; 64],
        "and nothing is touched"
    );
    world.domains[0].vcpus[1].activity.start();
    assert_eq!(register_info(&world, 1, 3, 192), invalid, "it is up, and another");
    world.domains[0].latch_width(Width::Bits32);
    assert_eq!(register_info(&world, 2, 3, 260), Ok(Answer::OK), "32-bit words");
}

#[test]
fn a_vcpu_without_a_place_begins_with_upcalls_masked() {
    let world = world();
    world.put(1, PLACE, &[0xff_u8; 64]);
    assert_eq!(register_info(&world, BEYOND, 3, 0), Ok(Answer::OK));
    assert_eq!(world.get::<[u8; 2]>(1, PLACE), [1, 1], "told, and masked");
    assert_eq!(world.get::<u64>(1, PLACE + 8), u64::MAX);
    assert_eq!(world.get::<u64>(1, PLACE + 16), 0);
}

#[test]
fn a_non_maskable_interrupt_takes_no_argument() {
    let world = world();
    let send = |at| call(&world, abi::VCPUOP_send_nmi, 1, at);
    assert_eq!(send(ARGUMENT), Err(Errno::INVALID));
    assert!(world.domains[0].vcpus[1].mail.is_empty());
    assert_eq!(send(0), Ok(Answer::OK));
    assert!(world.domains[0].vcpus[1].mail.take().contains(News::NMI));
    assert_eq!(world.domains[0].vcpus[1].activity.get(), Activity::Offline);
}

#[test]
fn vcpus_and_commands_that_are_not_there_are_told_apart() {
    let world = world();
    for command in [0, 5, 12, 99] {
        assert_eq!(
            call(&world, command, 34, NOWHERE),
            Err(Errno::NO_ENTRY),
            "{command}"
        );
    }
    assert_eq!(
        call(&world, abi::VCPUOP_get_physid, 0, ARGUMENT),
        Err(Errno::INVALID)
    );
    // 14 and 15 are of later versions.
    for command in [14, 15, 16, 99] {
        assert_eq!(
            call(&world, command, 0, ARGUMENT),
            Err(Errno::NO_CALL),
            "{command}"
        );
    }
}
