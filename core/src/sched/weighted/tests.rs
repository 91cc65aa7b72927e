//! Shares of one pcpu, by simulation of the queue alone.

use std::collections::BTreeMap;

use super::*;
use crate::sched::queues::tests::claim;

/// Lets these run for 10 s of simulated time; how long each did. `sleeps`: how long it runs before it sleeps for as long.
fn run(of: &[(Share, Option<u64>)]) -> Vec<u64> {
    let mut scheduler = Weighted::new();
    let mut asleep: Vec<(u64, Claim)> = Vec::new();
    let mut ran: BTreeMap<u16, u64> = BTreeMap::new();
    for (n, (share, _)) in (0..).zip(of) {
        scheduler.add(claim(n).key).unwrap();
        let share = *share;
        scheduler.put(Claim { share, ..claim(n) }, Arrival::Woken, Instant::ZERO);
    }
    let mut now = 0;
    while now < 10_000_000_000 {
        asleep.retain(|(until, claim)| {
            if *until <= now {
                scheduler.put(*claim, Arrival::Woken, Instant::from_ns(now));
            }
            *until > now
        });
        let Some((mut claim, slice)) = scheduler.next(Instant::from_ns(now)) else {
            let waker = asleep.iter().map(|(until, _)| *until).min();
            let ripe = scheduler.ripe().map(Instant::as_ns);
            now = waker.into_iter().chain(ripe).min().unwrap().max(now + 1);
            continue;
        };
        let n = claim.key.domain.raw();
        let burst = of[usize::from(n)].1;
        let ns = slice.ns.min(burst.unwrap_or(u64::MAX));
        now += ns;
        *ran.entry(n).or_default() += ns;
        scheduler.charge(&mut claim, ns, Instant::from_ns(now));
        match burst {
            Some(burst) => asleep.push((now + burst, claim)),
            None => scheduler.put(claim, Arrival::Again, Instant::from_ns(now)),
        }
    }
    (0..).zip(of).map(|(n, _)| ran[&n]).collect()
}

fn share(weight: u32, cap: u32) -> Share {
    Share { weight, cap }
}

/// Within 1 % of the whole.
fn about(ran: u64, percent: u64) {
    assert!(
        ran.abs_diff(percent * 100_000_000) <= 100_000_000,
        "{ran} ns is not {percent} %"
    );
}

#[test]
fn time_goes_by_weight() {
    let ran = run(&[
        (share(256, 0), None),
        (share(512, 0), None),
        (share(256, 0), None),
    ]);
    for (ran, percent) in ran.into_iter().zip([25, 50, 25]) {
        about(ran, percent);
    }
}

#[test]
fn a_cap_holds_even_where_nobody_else_wants_the_time() {
    about(run(&[(share(256, 30), None)])[0], 30);
    let ran = run(&[(share(1024, 20), None), (share(256, 0), None)]);
    about(ran[0], 20);
    about(ran[1], 80);
}

#[test]
fn sleeping_gains_nobody_more_than_a_share() {
    for burst in [10_000, 300_000, 1_000_000, 20_000_000] {
        let ran = run(&[(share(256, 0), Some(burst)), (share(256, 0), None)]);
        assert!(ran[0] <= 5_100_000_000, "bursts of {burst} ns got {} ns", ran[0]);
    }
}

#[test]
fn one_that_wakes_takes_the_place_of_one_that_has_had_its_share_and_of_no_other() {
    let mut scheduler = Weighted::new();
    let (mut hog, sleeper) = (claim(0), claim(1));
    scheduler.charge(&mut hog, 50_000_000, Instant::ZERO);
    assert_eq!(
        scheduler.preempts(&sleeper, &hog, 100),
        Some(Slice { ns: SHORTEST_NS })
    );
    assert_eq!(scheduler.preempts(&hog, &sleeper, 100), None);
}

#[test]
fn whoever_yields_lets_the_next_in_line_go_first_however_little_it_has_had() {
    let mut scheduler = Weighted::new();
    for n in 0..2 {
        scheduler.add(claim(n).key).unwrap();
    }
    let score = |n, score| Claim { score, ..claim(n) };
    scheduler.put(score(1, 5_000_000), Arrival::Again, Instant::ZERO);
    scheduler.put(score(0, 1_000_000), Arrival::Yields, Instant::ZERO);
    let order = [(); 2].map(|()| scheduler.next(Instant::ZERO).unwrap().0.key.domain.raw());
    assert_eq!(order, [1, 0]);
}
