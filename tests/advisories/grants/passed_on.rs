//! Grants that are passed on.

use super::*;

#[test]
fn xsa_226_chains_and_rings_of_passed_on_grants_end_at_the_second_link() {
    let world = world(3);
    for n in [1, 2, 3] {
        set_version(&world, n, 2);
    }
    // A ring of three, a ring of two, and one that passes on to itself.
    pass_on(&world, 1, 9, 2, 3, 9);
    pass_on(&world, 3, 9, 1, 2, 9);
    pass_on(&world, 2, 9, 3, 1, 9);
    pass_on(&world, 1, 10, 2, 2, 10);
    pass_on(&world, 2, 10, 1, 1, 10);
    pass_on(&world, 1, 11, 2, 1, 11);
    for reference in [9, 10, 11] {
        assert_eq!(
            copy_from(&world, 2, 1, reference, FRAME, 8),
            GENERAL,
            "{reference}"
        );
    }
    // A domain that has been taken apart passes nothing on, and nothing is passed on of it.
    offer_wide(&world, 3, 12, 1, FRAME);
    pass_on(&world, 1, 12, 2, 3, 12);
    assert_eq!(copy_from(&world, 2, 1, 12, FRAME, 8), OKAY);
    nothing_is_pinned(&world, &[1, 2, 3]);
    world.destroy(3);
    assert_eq!(copy_from(&world, 2, 1, 12, FRAME, 8), GENERAL);
    nothing_is_pinned(&world, &[1, 2]);
    end(&world, &[1, 2]);
}

#[test]
fn xsa_226_while_a_passed_on_grant_is_copied_from_both_offers_are_in_use() {
    let world = world(3);
    for n in [1, 3] {
        set_version(&world, n, 2);
    }
    offer_wide(&world, 3, 12, 1, FRAME);
    pass_on(&world, 1, 12, 2, 3, 12);
    let (outer, inner) = (world.domain(1), world.domain(3));
    let reference = GrantRef::new(12);
    let held = match End::granted(outer.party(), reference, DomainId::new(2), Access::Read) {
        Ok(Reached::Onward(onward)) => onward.through(inner.party()).unwrap(),
        _ => panic!("it is passed on"),
    };
    for domain in [&outer, &inner] {
        let refused = domain.change(|leaving| {
            let mut table = domain.grants.lock();
            assert!(table.is_pinned(reference));
            table.set_version(Version::V1, &domain.memory, leaving)
        });
        assert!(refused.is_err(), "an offer in use keeps its version");
        assert!(domain.grants.lock().swap(reference, GrantRef::new(13)).is_err());
    }
    drop(held);
    nothing_is_pinned(&world, &[1, 3]);
    drop((outer, inner));
    end(&world, &[1, 2, 3]);
}

#[test]
fn xsa_226_a_refusal_says_which_offer_was_the_wrong_one() {
    let world = world(2);
    set_version(&world, 1, 2);
    pass_on(&world, 1, 9, 2, 1, 9);
    let domain = world.domain(1);
    let reference = GrantRef::new(9);
    let reached = End::granted(domain.party(), reference, DomainId::new(2), Access::Read);
    assert!(matches!(reached, Err(PinError::PassedOn(wrong)) if wrong == reference));
}
