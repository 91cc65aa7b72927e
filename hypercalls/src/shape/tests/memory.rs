//! Calls of 32-bit code about memory and grants, structure by structure.

use xenvisor_abi::grant_table as grant;
use xenvisor_abi::memory as abi;
use xenvisor_abi::xen::{self, DOMID_SELF};

use super::super::*;
use super::narrow::{ARGUMENT, ERRORS, LIST, NOISE, Narrow, OTHER_LIST};
use crate::answer::Answer;
use crate::testing::NOWHERE;

fn reservation(extents: GuestHandle32, count: u32) -> abi::compat::Reservation {
    abi::compat::Reservation {
        extent_start: extents,
        nr_extents: count,
        domid: DOMID_SELF,
        ..Default::default()
    }
}

#[test]
fn add_to_physmap_places_the_frame_that_a_16_byte_argument_names() {
    let guest = Narrow::new();
    let argument = abi::compat::AddToPhysmap {
        domid: DOMID_SELF,
        size: 0,
        space: abi::XENMAPSPACE_shared_info,
        idx: 0,
        gpfn: 0x500,
    };
    assert_eq!(
        guest.memory_op(abi::XENMEM_add_to_physmap, &argument),
        Ok(Answer::OK)
    );
    assert!(guest.is_mapped(0x500));
}

#[test]
fn add_to_physmap_batch_reads_lists_of_32_bit_frame_numbers() {
    let guest = Narrow::new();
    let argument = abi::compat::AddToPhysmapBatch {
        domid: DOMID_SELF,
        space: u16::try_from(abi::XENMAPSPACE_gmfn).unwrap(),
        size: 3,
        foreign_domid: 0,
        idxs: guest.list(LIST, &[20, 0x900, 21]),
        gpfns: guest.list(OTHER_LIST, &[0x800, 0x801, 0x802]),
        errs: guest.list(ERRORS, &[7, 7, 7, 7]),
    };
    let served = guest.memory_op(abi::XENMEM_add_to_physmap_batch, &argument);
    assert_eq!(served, Ok(Answer::OK));
    assert_eq!(
        [0x800, 0x801, 0x802].map(|gfn| guest.is_mapped(gfn)),
        [true, false, true]
    );
    let [first, second, third, untouched]: [i32; 4] = guest.get(ERRORS);
    assert_eq!((first, third, untouched), (0, 0, 7));
    assert!(second < 0, "there is nothing at the second index");
}

#[test]
fn remove_from_physmap_takes_the_frame_that_an_8_byte_argument_names() {
    let guest = Narrow::new();
    let argument = abi::compat::RemoveFromPhysmap {
        domid: DOMID_SELF,
        padding: 0,
        gpfn: 9,
    };
    let served = guest.memory_op(abi::XENMEM_remove_from_physmap, &argument);
    assert_eq!((served, guest.is_mapped(9)), (Ok(Answer::OK), false));
}

#[test]
fn a_reservation_shrinks_and_grows_by_lists_of_32_bit_frame_numbers() {
    let guest = Narrow::new();
    let there = || [30, 31, 32].map(|gfn| guest.is_mapped(gfn));
    let extents = guest.list(LIST, &[30, 32]);
    let shrunk = guest.memory_op(abi::XENMEM_decrease_reservation, &reservation(extents, 2));
    assert_eq!((shrunk, there()), (Ok(Answer::Done(2)), [false, true, false]));
    let grown = guest.memory_op(abi::XENMEM_populate_physmap, &reservation(extents, 2));
    assert_eq!((grown, there()), (Ok(Answer::Done(2)), [true; 3]));
    let more = guest.memory_op(
        abi::XENMEM_increase_reservation,
        &reservation(GuestHandle32(0), 3),
    );
    assert_eq!(more, Ok(Answer::Done(3)));
}

#[test]
fn an_exchange_answers_how_far_it_came_in_the_32_bit_word_behind_its_two_lists() {
    let guest = Narrow::new();
    let argument = abi::compat::Exchange {
        input: reservation(guest.list(LIST, &[33]), 1),
        output: reservation(guest.list(OTHER_LIST, &[33]), 1),
        nr_exchanged: 0,
    };
    let served = guest.memory_op(abi::XENMEM_exchange, &argument);
    assert_eq!(served, Err(Errno::NOT_SUPPORTED), "its input is there, and stays");
    let after: abi::compat::Exchange = guest.get(ARGUMENT);
    assert_eq!(after.nr_exchanged, 0);
    let behind: [u8; 4] = guest.get(ARGUMENT + size_of::<abi::compat::Exchange>() as u64);
    assert_eq!(behind, [NOISE; 4], "nothing is written behind the word");
}

#[test]
fn a_memory_map_is_set_and_read_by_8_and_12_byte_arguments() {
    let guest = Narrow::new();
    let entries: [u32; 5] = [0x1000, 0, 0x8000, 0, 1];
    let map = |count| abi::compat::MemoryMap {
        nr_entries: count,
        buffer: guest.list(LIST, &entries),
    };
    let foreign = abi::compat::ForeignMemoryMap {
        domid: DOMID_SELF,
        padding: 0,
        map: map(1),
    };
    assert_eq!(
        guest.memory_op(abi::XENMEM_set_memory_map, &foreign),
        Ok(Answer::OK)
    );
    let room = abi::compat::MemoryMap {
        nr_entries: 9,
        buffer: guest.list(OTHER_LIST, &[0; 5]),
    };
    assert_eq!(guest.memory_op(abi::XENMEM_memory_map, &room), Ok(Answer::OK));
    let after: abi::compat::MemoryMap = guest.get(ARGUMENT);
    assert_eq!(
        (after.nr_entries, guest.get::<[u32; 5]>(OTHER_LIST)),
        (1, entries)
    );
    assert_eq!(after.buffer, room.buffer);
}

#[test]
fn an_answer_about_devices_keeps_within_the_32_bit_structure() {
    let guest = Narrow::new();
    let devices = abi::compat::ReservedDeviceMemoryMap {
        nr_entries: 5,
        buffer: guest.list(LIST, &[0]),
        ..Default::default()
    };
    let served = guest.memory_op(abi::XENMEM_reserved_device_memory_map, &devices);
    let after: abi::compat::ReservedDeviceMemoryMap = guest.get(ARGUMENT);
    assert_eq!(
        (served, after.nr_entries, after.buffer),
        (Ok(Answer::OK), 0, devices.buffer)
    );
    let behind: [u8; 4] = guest.get(ARGUMENT + size_of_val(&devices) as u64);
    assert_eq!(behind, [NOISE; 4]);
}

#[test]
fn what_is_refused_is_refused_for_what_the_32_bit_structure_says() {
    let guest = Narrow::new();
    // Each names a domain that does not exist: with the 64-bit layout, it would be another number.
    let nobody = 0x1234;
    let pod = abi::compat::PodTarget {
        domid: nobody,
        ..Default::default()
    };
    assert_eq!(
        guest.memory_op(abi::XENMEM_get_pod_target, &pod),
        Err(Errno::NO_DOMAIN)
    );
    let own = abi::compat::PodTarget {
        domid: DOMID_SELF,
        ..Default::default()
    };
    assert_eq!(
        guest.memory_op(abi::XENMEM_get_pod_target, &own),
        Err(Errno::NOT_PERMITTED)
    );
    // Commands that 32-bit code does not have.
    let nothing = &[0_u32; 4];
    assert_eq!(
        guest.memory_op(abi::XENMEM_claim_pages, nothing),
        Err(Errno::NO_CALL)
    );
    for list in [
        abi::XENMEM_machphys_mfn_list,
        abi::XENMEM_machphys_compat_mfn_list,
    ] {
        assert_eq!(guest.memory_op(list, nothing), Err(Errno::NOT_SUPPORTED));
    }
    let nodes = abi::compat::VnumaTopologyInfo {
        domid: DOMID_SELF,
        ..Default::default()
    };
    assert_eq!(
        guest.memory_op(abi::XENMEM_get_vnumainfo, &nodes),
        Err(Errno::NOT_SUPPORTED)
    );
    let access = toolstack::AccessOp {
        domid: nobody,
        ..Default::default()
    };
    let refused = guest.memory_op(abi::XENMEM_access_op, &access);
    assert_eq!(refused, Err(Errno::NO_DOMAIN));
    // Four bytes before the end of memory there is room for a 32-bit argument's pointers, and for no other.
    let at = NOWHERE - size_of::<abi::compat::AcquireResource>() as u64;
    guest.0.put(1, at, &abi::compat::AcquireResource::default());
    let command = u64::from(abi::XENMEM_acquire_resource);
    let refused = guest.call(xen::HYPERVISOR_memory_op, &[command, at]);
    assert_eq!(refused, Err(Errno::ACCESS));
    let refused = guest.call(xen::HYPERVISOR_memory_op, &[command, at + 4]);
    assert_eq!(refused, Err(Errno::FAULT));
}

#[test]
fn a_grant_table_says_its_frames_in_32_bit_words() {
    let guest = Narrow::new();
    let place = abi::compat::AddToPhysmap {
        domid: DOMID_SELF,
        size: 0,
        space: abi::XENMAPSPACE_grant_table,
        idx: 0,
        gpfn: 0x600,
    };
    assert_eq!(
        guest.memory_op(abi::XENMEM_add_to_physmap, &place),
        Ok(Answer::OK)
    );
    let argument = grant::compat::SetupTable {
        dom: DOMID_SELF,
        nr_frames: 1,
        status: 9,
        frame_list: guest.list(LIST, &[7, 7]),
        ..Default::default()
    };
    let served = guest.grant_op(grant::GNTTABOP_setup_table, &argument);
    let after: grant::compat::SetupTable = guest.get(ARGUMENT);
    assert_eq!((served, after.status), (Ok(Answer::OK), grant::GNTST_okay));
    assert_eq!(guest.get::<[u32; 2]>(LIST), [0x600, 7]);
}

#[test]
fn a_copy_of_24_bytes_is_done_and_so_is_the_next_one_in_the_list() {
    let guest = Narrow::new();
    let pointer = |u, offset| grant::compat::CopyPointer {
        u,
        domid: DOMID_SELF,
        offset,
    };
    guest.0.put(1, 40 << 12, &[1, 2]);
    let copies = [0, 4].map(|offset| grant::compat::CopyOp {
        source: pointer(40, offset),
        dest: pointer(41, offset),
        len: 4,
        status: 77,
        ..Default::default()
    });
    for (at, copy) in (ARGUMENT..).step_by(24).zip(&copies) {
        guest.0.put(1, at, copy);
    }
    let command = u64::from(grant::GNTTABOP_copy);
    let served = guest.call(xen::HYPERVISOR_grant_table_op, &[command, ARGUMENT, 2]);
    assert_eq!(served, Ok(Answer::OK));
    for at in [ARGUMENT, ARGUMENT + 24] {
        let after: grant::compat::CopyOp = guest.get(at);
        assert_eq!((after.status, after.len), (grant::GNTST_okay, 4));
    }
    assert_eq!(guest.get::<[u32; 2]>(41 << 12), [1, 2]);
}
