//! The way into a hypercall, and out of it: who may call, what registers and addresses may hold, how long a turn lasts.

use xenvisor::abi::GuestHandle64;
use xenvisor::abi::errno::EPERM;
use xenvisor::abi::grant_table::GNTTABOP_copy;
use xenvisor::abi::hvm::hvm_vcpu;
use xenvisor::abi::memory::{
    AddToPhysmap, Reservation, XENMAPSPACE_gmfn_range, XENMEM_add_to_physmap, XENMEM_decrease_reservation,
    XENMEM_increase_reservation, XENMEM_populate_physmap, compat,
};
use xenvisor::abi::vcpu::{VCPUOP_initialise, VCPUOP_up};
use xenvisor::abi::xen;
use xenvisor::abi::xen::{
    DOMID_SELF, HYPERVISOR_grant_table_op, HYPERVISOR_memory_op, HYPERVISOR_multicall, HYPERVISOR_vcpu_op,
};
use xenvisor::hypercalls::answer::Answer;
use xenvisor::model::machine::{Call, Width};
use xenvisor::prelude::*;

use super::world::{ARGUMENTS as AT, FREE, State, World};

/// Numbers there can be in the table, and a few beyond.
const NUMBERS: std::ops::Range<u64> = 0..70;
const COMMANDS: [u64; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const WIDTHS: [Width; 2] = [Width::Bits64, Width::Bits32];

fn call(number: u64, arguments: [u64; 6], width: Width) -> Call {
    Call {
        number,
        arguments,
        width,
        privileged: true,
    }
}

/// What there is to see of the world, but for arguments.
fn state(world: &World) -> State {
    world.put(1, AT, &[0_u8; 4096]);
    world.state()
}

#[test]
fn xsa_76_user_code_makes_no_hypercall_whatever_its_number() {
    let world = World::new(2, XenDefault::default());
    let before = state(&world);
    for width in WIDTHS {
        for number in NUMBERS.chain([u64::from(u32::MAX), u64::MAX]) {
            for command in COMMANDS {
                let call = Call {
                    privileged: false,
                    ..call(number, [command, AT, 1, 0, 0, 0], width)
                };
                let refused = world.serve(1, &call).unwrap_err();
                assert_eq!(refused.raw(), EPERM, "hypercall {number}, command {command}");
            }
        }
    }
    assert_eq!(state(&world).difference(&before), "");
}

#[test]
fn xsa_454_no_answer_to_32_bit_code_needs_more_than_32_bits_of_a_register() {
    let world = World::with_memory(1, 64 * MIB, XenDefault::default());
    let mut again = 0;
    let mut serve = |number: u32, arguments: [u64; 6]| {
        if let Ok(Answer::Again(next) | Answer::AgainAfter(next, _)) =
            world.serve(1, &call(number.into(), arguments, Width::Bits32))
        {
            again += 1;
            assert!(
                next.iter().all(|argument| u32::try_from(*argument).is_ok()),
                "hypercall {number}: {next:x?}"
            );
        }
    };
    // The most extents there can be, all of them the same frame of a list that is long enough for a slice.
    for progress in [0, 1, (1 << 26) - 2] {
        let reservation = compat::Reservation {
            nr_extents: (1 << 26) - 1,
            domid: DOMID_SELF,
            ..Default::default()
        };
        world.put(1, AT, &reservation);
        let command = u64::from(XENMEM_increase_reservation) | progress << 6;
        serve(HYPERVISOR_memory_op, [command, AT, 0, 0, 0, 0]);
    }
    let range = compat::AddToPhysmap {
        domid: DOMID_SELF,
        size: u16::MAX,
        space: XENMAPSPACE_gmfn_range,
        idx: u32::try_from(FREE).unwrap(),
        gpfn: u32::try_from(FREE).unwrap(),
    };
    world.put(1, AT, &range);
    for start in [0, 100] {
        let command = u64::from(XENMEM_add_to_physmap) | start << 6;
        serve(HYPERVISOR_memory_op, [command, AT, 0, 0, 0, 0]);
    }
    // Lists as long as a register can say.
    let copies = [
        GNTTABOP_copy.into(),
        FREE << 12,
        u64::from(u32::MAX >> 1),
        0,
        0,
        0,
    ];
    serve(HYPERVISOR_grant_table_op, copies);
    serve(
        HYPERVISOR_multicall,
        [FREE << 12, u64::from(u32::MAX), 0, 0, 0, 0],
    );
    assert!(again >= 4, "{again} calls went on");
}

#[test]
fn xsa_296_a_call_that_says_it_goes_on_where_it_never_was_does_nothing() {
    let world = World::new(1, XenDefault::default());
    let reservation = Reservation {
        extent_start: GuestHandle64(AT + 512),
        nr_extents: 2,
        domid: DOMID_SELF,
        ..Reservation::default()
    };
    let range = AddToPhysmap {
        domid: DOMID_SELF,
        size: 2,
        space: XENMAPSPACE_gmfn_range,
        idx: FREE,
        gpfn: FREE + 8,
    };
    let before = state(&world);
    for start in [3, 64, 0xffff, 0x1_0000, 0x3ff_ffff, u64::MAX >> 6] {
        for command in [
            XENMEM_increase_reservation,
            XENMEM_decrease_reservation,
            XENMEM_populate_physmap,
        ] {
            world.put(1, AT, &reservation);
            world.call(1, HYPERVISOR_memory_op, &[u64::from(command) | start << 6, AT]);
        }
        world.put(1, AT, &range);
        let moved = world.call(
            1,
            HYPERVISOR_memory_op,
            &[u64::from(XENMEM_add_to_physmap) | start << 6, AT],
        );
        assert!(moved < 0, "from {start}");
    }
    assert_eq!(state(&world).difference(&before), "");
}

#[test]
fn xsa_296_a_vcpu_that_could_not_be_initialised_is_as_it_was() {
    let world = World::new(1, XenDefault::default());
    let before = state(&world);
    let broken = [
        hvm_vcpu::Context {
            mode: 7,
            ..hvm_vcpu::Context::default()
        },
        hvm_vcpu::Context {
            padding: 1,
            ..hvm_vcpu::Context::default()
        },
        hvm_vcpu::Context::default(),
    ];
    let vcpus = world.domain(1).vcpus.len() as u64;
    for width in WIDTHS {
        for vcpu in [0, 1, vcpus, u64::from(u32::MAX)] {
            for context in &broken {
                world.put(1, AT, context);
                for at in [AT, u64::from(u32::MAX) - 8, 0xffff_ffff_ffff_fff0] {
                    let initialise = [VCPUOP_initialise.into(), vcpu, at, 0, 0, 0];
                    let served = world.serve(1, &call(HYPERVISOR_vcpu_op.into(), initialise, width));
                    assert!(served.is_err(), "vcpu {vcpu} at {at:#x}: {served:?}");
                }
            }
        }
        if vcpus > 1 {
            let up = [VCPUOP_up.into(), 1, 0, 0, 0, 0];
            let served = world.serve(1, &call(HYPERVISOR_vcpu_op.into(), up, width));
            assert!(served.is_err(), "it has no state to begin in");
        }
    }
    assert_eq!(state(&world).difference(&before), "");
}

#[test]
fn xsa_22_30_31_158_an_extent_is_no_larger_than_can_be_done_in_one_turn() {
    let world = World::new(1, XenDefault::default());
    let before = state(&world);
    for order in (10..80).chain([0x100, 0x8000_0000, u32::MAX]) {
        for command in [
            XENMEM_increase_reservation,
            XENMEM_decrease_reservation,
            XENMEM_populate_physmap,
        ] {
            world.put(1, AT + 512, &0_u64);
            let reservation = Reservation {
                extent_start: GuestHandle64(AT + 512),
                nr_extents: 1,
                extent_order: order,
                domid: DOMID_SELF,
                ..Reservation::default()
            };
            world.put(1, AT, &reservation);
            let done = world.call(1, HYPERVISOR_memory_op, &[command.into(), AT]);
            assert_eq!(done, 0, "command {command}, order {order}");
        }
    }
    assert_eq!(state(&world).difference(&before), "");
}

#[test]
fn xsa_29_212_an_argument_at_the_end_of_all_addresses_is_an_error_and_changes_nothing() {
    let world = World::new(1, XenDefault::default());
    let before = state(&world);
    for width in WIDTHS {
        let ends = match width {
            Width::Bits64 => [
                u64::MAX,
                u64::MAX - 7,
                0xffff_ffff_ffff_f000,
                0x7fff_ffff_ffff_fffc,
            ],
            Width::Bits32 => [0xffff_ffff, 0xffff_fff8, 0xffff_f000, 0xf000_0000],
        };
        for number in [
            HYPERVISOR_memory_op,
            HYPERVISOR_grant_table_op,
            xen::HYPERVISOR_event_channel_op,
            xen::HYPERVISOR_hvm_op,
        ] {
            for at in ends {
                for command in COMMANDS {
                    let served = world.serve(1, &call(number.into(), [command, at, 1, 0, 0, 0], width));
                    let nothing = matches!(served, Err(_) | Ok(Answer::Done(0)));
                    let asks_no_memory = matches!(served, Ok(Answer::Done(_))) && command == 2;
                    assert!(
                        nothing || asks_no_memory,
                        "hypercall {number}, {command} at {at:#x}: {served:?}"
                    );
                }
            }
        }
        let served = world.serve(
            1,
            &call(HYPERVISOR_multicall.into(), [ends[1], 4, 0, 0, 0, 0], width),
        );
        assert!(served.is_err());
    }
    // Lists inside of a good argument.
    for list in [u64::MAX, u64::MAX - 7, 0x7fff_ffff_ffff_fffc] {
        let reservation = Reservation {
            extent_start: GuestHandle64(list),
            nr_extents: 3,
            domid: DOMID_SELF,
            ..Reservation::default()
        };
        world.put(1, AT, &reservation);
        for command in [XENMEM_decrease_reservation, XENMEM_populate_physmap] {
            assert_eq!(world.call(1, HYPERVISOR_memory_op, &[command.into(), AT]), 0);
        }
    }
    assert_eq!(state(&world).difference(&before), "");
}

#[test]
fn xsa_454_arguments_of_an_entry_of_a_32_bit_batch_end_where_its_words_end() {
    let world = World::new(1, XenDefault::default());
    // The second entry begins where a 64-bit one would still have arguments.
    let entries: [[u32; 8]; 2] = [[
        u32::MAX,
        7,
        u32::MAX,
        u32::MAX,
        u32::MAX,
        u32::MAX,
        u32::MAX,
        u32::MAX,
    ]; 2];
    for (at, entry) in (AT..).step_by(32).zip(entries) {
        world.put(1, at, &entry);
    }
    let served = world.serve(
        1,
        &call(HYPERVISOR_multicall.into(), [AT, 2, 0, 0, 0, 0], Width::Bits32),
    );
    assert_eq!(served, Ok(Answer::Done(0)));
    for at in [AT, AT + 32] {
        let [_, result, first, ..]: [u32; 8] = world.get(1, at);
        assert_eq!((result, first), (38_u32.wrapping_neg(), u32::MAX));
    }
}
