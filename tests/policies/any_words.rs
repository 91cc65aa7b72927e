//! A domain that says anything at all, mostly about another, under a policy that denies all.

use std::sync::atomic::Ordering;

use xenvisor::abi::xen::{HYPERVISOR_console_io, HYPERVISOR_multicall, HYPERVISOR_vcpu_op};
use xenvisor::model::number::GuestAddr;

use crate::every_act::{CALLER, Gate, OTHER};
use crate::world::{ARGUMENTS, World};
use crate::{grant, offer};

/// A sequence of numbers that looks random and is not.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        // Xorshift, with Marsaglia's shifts.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Everything of this kind that a guest could say, mostly about the other domain.
fn random_call(numbers: &mut Numbers, world: &World) {
    let mut words = [0_u16; 32];
    for word in &mut words {
        *word = match numbers.below(6) {
            0..3 => OTHER,
            3 => 0,
            4 => u16::try_from(numbers.below(16)).unwrap(),
            _ => u16::try_from(numbers.below(1 << 16)).unwrap(),
        };
    }
    let memory = world.domain(CALLER);
    // The caller may have lost the frame; then the call has no argument.
    let _lost = memory
        .guest_memory()
        .write_value(GuestAddr::new(ARGUMENTS), &words);
    let number = u32::try_from(numbers.below(42)).unwrap();
    let command = numbers.below(33);
    let few = numbers.below(5);
    let arguments = match number {
        number if number == HYPERVISOR_multicall => [ARGUMENTS, few, 0],
        number if number == HYPERVISOR_vcpu_op => [command, few, ARGUMENTS],
        number if number == HYPERVISOR_console_io => [command, few, ARGUMENTS],
        _ => [command, ARGUMENTS, few],
    };
    world.call(CALLER, number, &arguments);
}

#[test]
fn whatever_a_domain_says_under_a_closed_gate_another_stays_as_it_is() {
    const WORLDS: u64 = 20;
    const CALLS: u64 = 10_000;
    let mut denied = 0;
    for seed in 1..=WORLDS {
        let gate = Gate::default();
        let world = World::new(2, gate.clone());
        offer(&world, OTHER, CALLER);
        grant(&world, OTHER, CALLER);
        gate.0.store(true, Ordering::Relaxed);
        let before = world.state();
        let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for _ in 0..CALLS {
            random_call(&mut numbers, &world);
        }
        let (before, after) = (before.of(OTHER), world.state());
        assert_eq!(after.of(OTHER), before, "seed {seed}");
        denied += world.domain(CALLER).denials.tally().total();
    }
    assert!(
        denied > WORLDS * CALLS / 50,
        "only {denied} of the calls got as far as the policy"
    );
}
