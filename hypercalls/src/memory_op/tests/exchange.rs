//! Frames for other frames: refused, with the number that have gone.

use super::*;

type Change = fn(&mut abi::Exchange);

fn list(domid: u16, nr_extents: u64, extent_order: u32) -> abi::Reservation {
    abi::Reservation {
        extent_start: GuestHandle64(LIST),
        nr_extents,
        extent_order,
        domid,
        ..Default::default()
    }
}

/// The answer, and how many frames have gone by it.
fn exchange(guest: &Guest, change: impl Fn(&mut abi::Exchange)) -> (Served, u64) {
    let mut argument = abi::Exchange {
        input: list(DOMID_SELF, 4, 0),
        output: list(DOMID_SELF, 4, 0),
        nr_exchanged: 0,
    };
    change(&mut argument);
    let answer = guest.call(abi::XENMEM_exchange, &argument);
    (answer, guest.0.get::<abi::Exchange>(1, ARGUMENT).nr_exchanged)
}

#[test]
fn no_frame_of_a_translated_guest_is_taken() {
    let guest = Guest::new();
    for n in 0..4 {
        guest.0.put(1, LIST + n * 8, &(20 + n));
    }
    assert_eq!(exchange(&guest, |_| ()), (Err(Errno::NOT_SUPPORTED), 0));
    assert_eq!(
        exchange(&guest, |e| e.nr_exchanged = 3),
        (Err(Errno::NOT_SUPPORTED), 3)
    );
    assert!(guest.behind(20).is_some());
    // Chunks of four: three of the first have gone, so that none of the chunk has.
    let chunks = |e: &mut abi::Exchange| {
        e.output = list(DOMID_SELF, 1, 2);
        e.nr_exchanged = 3;
    };
    assert_eq!(exchange(&guest, chunks), (Err(Errno::NOT_SUPPORTED), 0));
}

#[test]
fn an_exchange_of_nothing_is_done() {
    let guest = Guest::new();
    let nothing = |e: &mut abi::Exchange| {
        e.input.nr_extents = 0;
        e.output.nr_extents = 0;
    };
    assert_eq!(exchange(&guest, nothing), (Ok(Answer::OK), 0));
    assert_eq!(exchange(&guest, |e| e.nr_exchanged = 4), (Ok(Answer::OK), 4));
}

#[test]
fn what_is_wrong_with_an_exchange_is_found_in_xens_order() {
    let guest = Guest::new();
    #[rustfmt::skip]
    let rows: [(&str, Change, Errno); 10] = [
        ("too large",            |e| { e.input.extent_order = 10; e.input.domid = 9; }, Errno::NOT_PERMITTED),
        ("given too large",      |e| e.output.extent_order = u32::MAX,                  Errno::NOT_PERMITTED),
        ("further than the end", |e| e.nr_exchanged = 5,                                Errno::INVALID),
        ("of two domains",       |e| e.output.domid = 2,                                Errno::INVALID),
        ("of two sizes",         |e| e.output.extent_order = 1,                         Errno::INVALID),
        ("more than there are",  |e| { e.input.nr_extents = u64::MAX; e.input.extent_order = 1; }, Errno::INVALID),
        ("on a node",            |e| e.output.mem_flags = 0x100 | abi::MemoryFlags::EXACT_NODE_REQUEST.bits(), Errno::INVALID),
        ("of nobody",            |e| { e.input.domid = 9; e.output.domid = 9; },        Errno::NO_DOMAIN),
        ("of another",           |e| { e.input.domid = 2; e.output.domid = 2; },        Errno::NOT_PERMITTED),
        ("unreadable",           |e| e.input.extent_start = GuestHandle64(NOWHERE),     Errno::FAULT),
    ];
    for (name, change, errno) in rows {
        let (answer, _) = exchange(&guest, change);
        assert_eq!(answer, Err(errno), "{name}");
    }
    guest.0.put(1, LIST, &0x900_u64);
    assert_eq!(
        exchange(&guest, |_| ()).0,
        Err(Errno::INVALID),
        "nothing is there"
    );
    let goes_on = guest.0.call(1, HYPERVISOR_memory_op, &[11 | 1 << 6, NOWHERE]);
    assert_eq!(goes_on, Err(Errno::INVALID));
    let unreadable = guest.0.call(1, HYPERVISOR_memory_op, &[11, NOWHERE]);
    assert_eq!(unreadable, Err(Errno::FAULT));
}
