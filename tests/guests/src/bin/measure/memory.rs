//! Memory that comes and goes, and memory that is not there.

use core::hint::black_box;
use core::ptr::with_exposed_provenance_mut;
use core::sync::atomic::Ordering;

use xenvisor_abi::GuestHandle64;
use xenvisor_abi::memory::{Reservation, XENMEM_decrease_reservation, XENMEM_populate_physmap};
use xenvisor_abi::xen::{DOMID_SELF, HYPERVISOR_memory_op};
use xenvisor_guests::hypercall;

use crate::clock::Clock;
use crate::pages::Pages;

/// Nothing is there in a guest of less than 2 GiB.
const NOWHERE: usize = 0xa000_0000;

static PAGE: Pages<1> = Pages::new();

pub(crate) fn all(clock: &mut Clock<'_>) {
    clock.count_many("decrease-populate", 10, |_| renew());
    clock.count_many("decrease-populate-touch", 10, |_| {
        renew();
        PAGE.word(0, 0).store(1, Ordering::Relaxed);
    });
    let nowhere = with_exposed_provenance_mut::<u32>(NOWHERE);
    clock.count("read-unmapped", |_| {
        // SAFETY: mapped to itself, and nobody's.
        black_box(unsafe { nowhere.read_volatile() });
    });
    clock.count("write-unmapped", |_| {
        // SAFETY: as above.
        unsafe { nowhere.write_volatile(0) };
    });
}

/// Gives the page back, and gets another in its place.
fn renew() {
    let frame = [PAGE.frame(0)];
    let mut argument = Reservation {
        extent_start: GuestHandle64(frame.as_ptr().expose_provenance() as u64),
        nr_extents: 1,
        domid: DOMID_SELF,
        ..Reservation::default()
    };
    for command in [XENMEM_decrease_reservation, XENMEM_populate_physmap] {
        let done = hypercall::with(HYPERVISOR_memory_op, command, &mut argument);
        if done != 1 {
            panic!("memory operation {command}: {done}");
        }
    }
}
