//! The order of events, and windows for what stays behind.

use super::*;

const OPEN: Openness = Openness {
    interrupts_enabled: true,
    in_shadow: false,
    nmi_blocked: false,
};
const CLOSED: Openness = Openness {
    interrupts_enabled: false,
    ..OPEN
};
const GP: Event = Event::Exception {
    vector: 13,
    code: Some(0),
};
const TIMER: Vector = Vector::new(0xec);
const UPCALL: Vector = Vector::new(0xf3);

fn apic(vector: Vector) -> Waiting {
    Waiting {
        apic: Some(vector),
        apic_requested: Some(vector),
        ..Waiting::default()
    }
}

#[test]
fn an_instruction_that_makes_an_event_makes_it_again_by_itself() {
    assert_eq!(Event::Software(Vector::new(0x80)).to_deliver_again(), None);
    assert_eq!(
        Event::Exception {
            vector: 3,
            code: None
        }
        .to_deliver_again(),
        None
    );
    assert_eq!(GP.to_deliver_again(), Some(GP));
    assert_eq!(Event::Nmi.to_deliver_again(), Some(Event::Nmi));
}

#[test]
fn an_interrupt_that_can_be_taken_is_injected_and_leaves_no_window() {
    let plan = Plan::make(&apic(TIMER), OPEN);
    assert_eq!(plan.inject, Some((Event::Interrupt(TIMER), Source::Apic(TIMER))));
    assert_eq!(plan.window, None);
}

#[test]
fn an_interrupt_that_cannot_be_taken_leaves_a_window() {
    for open in [
        CLOSED,
        Openness {
            in_shadow: true,
            ..OPEN
        },
    ] {
        let plan = Plan::make(&apic(TIMER), open);
        assert_eq!(plan.inject, None);
        assert_eq!(plan.window, Some(Window::Open));
    }
}

#[test]
fn the_upcall_goes_before_the_apic_and_the_apic_waits_at_a_window() {
    let waiting = Waiting {
        upcall: Some(UPCALL),
        ..apic(TIMER)
    };
    let plan = Plan::make(&waiting, OPEN);
    assert_eq!(plan.inject, Some((Event::Interrupt(UPCALL), Source::Upcall)));
    assert_eq!(plan.window, Some(Window::Open));
}

#[test]
fn an_exception_goes_before_everything_even_with_interrupts_off() {
    let waiting = Waiting {
        exception: Some(GP),
        interrupted: Some(Event::Interrupt(TIMER)),
        nmi: true,
        upcall: Some(UPCALL),
        ..Waiting::default()
    };
    let plan = Plan::make(&waiting, CLOSED);
    assert_eq!(plan.inject, Some((GP, Source::Exception)));
    assert_eq!(plan.window, Some(Window::Open));
}

#[test]
fn what_was_cut_short_is_delivered_again_before_anything_new() {
    let waiting = Waiting {
        interrupted: Some(Event::Interrupt(TIMER)),
        upcall: Some(UPCALL),
        ..Waiting::default()
    };
    let plan = Plan::make(&waiting, OPEN);
    assert_eq!(plan.inject, Some((Event::Interrupt(TIMER), Source::Interrupted)));
    assert_eq!(plan.window, Some(Window::Open));
    let alone = Waiting {
        upcall: None,
        ..waiting
    };
    assert_eq!(Plan::make(&alone, OPEN).window, None);
    assert_eq!(Plan::make(&alone, CLOSED).inject, None);
    assert_eq!(Plan::make(&alone, CLOSED).window, Some(Window::Open));
}

#[test]
fn a_priority_that_hides_a_vector_is_watched() {
    let waiting = Waiting {
        apic: None,
        apic_requested: Some(Vector::new(0x51)),
        ..Waiting::default()
    };
    let plan = Plan::make(&waiting, OPEN);
    assert_eq!(plan.inject, None);
    assert_eq!(plan.window, Some(Window::AbovePriority(5)));
}

#[test]
fn a_non_maskable_interrupt_ignores_the_flag_but_not_its_own_kind() {
    let waiting = Waiting {
        nmi: true,
        ..Waiting::default()
    };
    assert_eq!(
        Plan::make(&waiting, CLOSED).inject,
        Some((Event::Nmi, Source::Nmi))
    );
    let blocked = Openness {
        nmi_blocked: true,
        ..OPEN
    };
    let waits = Plan {
        nmi_window: true,
        ..Plan::default()
    };
    assert_eq!(Plan::make(&waiting, blocked), waits);
}

#[test]
fn a_halted_guest_wakes_for_what_it_would_take() {
    assert!(apic(TIMER).would_wake(OPEN));
    assert!(!apic(TIMER).would_wake(CLOSED));
    let nmi = Waiting {
        nmi: true,
        ..Waiting::default()
    };
    assert!(nmi.would_wake(CLOSED));
    assert!(!Waiting::default().would_wake(OPEN));
}
