//! Who gets how much: by weight and cap, on one pcpu and on several, whatever the neighbours do.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly; that is what it is for"
)]

#[allow(dead_code, reason = "an image has a main function, which is not called here")]
#[path = "../examples/foreground/main.rs"]
mod foreground;
mod world;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use world::{guest, run_as_described};
use xenvisor::abi::memory::XENMAPSPACE_shared_info;
use xenvisor::abi::sched::SHUTDOWN_poweroff;
use xenvisor::abi::vcpu::{RunstateInfo, VCPUOP_get_runstate_info};
use xenvisor::abi::version::XENVER_version;
use xenvisor::abi::xen::{HYPERVISOR_vcpu_op, HYPERVISOR_xen_version, VIRQ_TIMER};
use xenvisor::hypercalls::launch::Ended;
use xenvisor::prelude::*;
use xenvisor::sim::guest::{Delivery, Ending, Events, Trouble};
use xenvisor::sim::kernel;
use xenvisor::sim::machine::DEFAULT_BYTES;
use xenvisor::sim::programs::Programs;
use xenvisor::sim::{SimGuest, SimMachine};

/// How long everybody runs.
const END_NS: u64 = 240_000_000;
/// Ticks of the simulated counter in a nanosecond.
const TICKS_PER_NS: u64 = 2;
/// A piece of work.
const PIECE_NS: u64 = 20_000;
const FREE: u64 = kernel::PAGES >> 12;
const VECTOR: u8 = 0xf3;

/// How much of the time of one pcpu each domain worked, by number.
type Work = Arc<Mutex<BTreeMap<u16, f64>>>;

async fn is_over(guest: &SimGuest) -> bool {
    guest.counter().await >= END_NS * TICKS_PER_NS
}

/// Works piece by piece until it is over.
async fn work(guest: &SimGuest, done: &Work) -> Ending {
    let mut pieces = 0_u32;
    while !is_over(guest).await {
        guest.compute(PIECE_NS).await;
        pieces += 1;
    }
    let part = f64::from(pieces) * PIECE_NS as f64 / END_NS as f64;
    done.lock().unwrap().insert(guest.domain().raw(), part);
    guest.shut_down(SHUTDOWN_poweroff).await
}

fn add_worker(programs: &mut Programs) -> Work {
    let done = Work::default();
    let noted = done.clone();
    programs.add("worker", move |guest: SimGuest| {
        let noted = noted.clone();
        async move { work(&guest, &noted).await }
    });
    done
}

fn run(programs: Programs, pcpus: u32, mut system: System) {
    system.schedule(Weighted::new());
    run_with_its_own(programs, pcpus, system);
}

fn run_with_its_own(programs: Programs, pcpus: u32, system: System) {
    let machine = SimMachine::with_pcpus(1, programs, DEFAULT_BYTES, pcpus);
    let run = run_as_described(machine, system);
    if run.finished.ended != Ended::Well || !run.all_frames_are_back() {
        run.fail(1, "it did not end well");
    }
}

/// What workers of these weights and caps get.
fn parts(pcpus: u32, workers: &[(u32, u32)]) -> Vec<f64> {
    let mut programs = Programs::new();
    let done = add_worker(&mut programs);
    let mut system = System::default();
    for (n, (weight, cap)) in workers.iter().enumerate() {
        system.guest(guest(&format!("worker{n}"), "worker").weight(*weight).cap(*cap));
    }
    run(programs, pcpus, system);
    done.lock().unwrap().values().copied().collect()
}

fn must_be(parts: &[f64], wanted: &[f64]) {
    assert_eq!(parts.len(), wanted.len());
    for (part, wanted) in parts.iter().zip(wanted) {
        assert!(
            (part - wanted).abs() < 0.05 * wanted,
            "{parts:?} instead of {wanted:?}"
        );
    }
}

#[test]
fn work_is_done_by_weight() {
    must_be(&parts(1, &[(256, 0), (256, 0)]), &[0.5, 0.5]);
    must_be(&parts(1, &[(256, 0), (768, 0)]), &[0.25, 0.75]);
    must_be(&parts(1, &[(100, 0), (200, 0), (500, 0)]), &[0.125, 0.25, 0.625]);
}

#[test]
fn work_is_done_by_weight_on_several_pcpus() {
    must_be(&parts(2, &[(256, 0); 3]), &[2.0 / 3.0; 3]);
    must_be(&parts(2, &[(256, 0); 16]), &[0.125; 16]);
    must_be(&parts(4, &[(256, 0), (256, 0), (256, 0)]), &[1.0; 3]);
    must_be(
        &parts(2, &[(256, 0), (256, 0), (512, 0), (512, 0)]),
        &[1.0 / 3.0, 1.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0],
    );
}

#[test]
fn a_cap_holds_whether_or_not_others_want_the_time() {
    must_be(&parts(1, &[(256, 40)]), &[0.4]);
    must_be(&parts(2, &[(256, 25), (256, 0), (256, 0)]), &[0.25, 0.875, 0.875]);
}

#[test]
fn guests_stay_on_the_pcpus_they_may_run_on_and_in_their_pools() {
    let mut programs = Programs::new();
    let done = add_worker(&mut programs);
    let mut system = System::default();
    system.pool(PcpuSet::of([2]), Pinned::new());
    // Two share pcpu 0, one has pcpu 1 for itself, and one the pool of pcpu 2.
    for (n, pcpus) in [
        PcpuSet::of([0]),
        PcpuSet::of([0]),
        PcpuSet::of([1]),
        PcpuSet::of([2]),
    ]
    .into_iter()
    .enumerate()
    {
        system.guest(guest(&format!("worker{n}"), "worker").pcpus(pcpus));
    }
    run(programs, 3, system);
    let done: Vec<f64> = done.lock().unwrap().values().copied().collect();
    must_be(&done, &[0.5, 0.5, 1.0, 1.0]);
}

#[test]
fn an_image_has_a_scheduler_of_its_own_in_less_than_60_lines() {
    let source = include_str!("../examples/foreground/main.rs");
    let (_, own) = source.split_once("/// Those that wait").unwrap();
    let (own, _) = own.split_once("/// What the image describes").unwrap();
    assert!(own.lines().count() < 60);

    let module = |name: &'static str| Module {
        name,
        bytes: kernel::file(name).leak(),
    };
    let boot = Boot {
        command_line: "",
        modules: vec![module("ping"), module("pong")],
    };
    // As it is described, its guests talk to their end.
    run_with_its_own(Programs::standard(), 1, foreground::describe(&boot).unwrap());
    run_with_its_own(Programs::standard(), 2, foreground::describe(&boot).unwrap());

    // Two that both want all: the first has it.
    let mut programs = Programs::new();
    let done = add_worker(&mut programs);
    let mut system = System::default();
    system.schedule(foreground::Foreground::default());
    system.guest(guest("first", "worker"));
    system.guest(guest("second", "worker"));
    run_with_its_own(programs, 1, system);
    let done = done.lock().unwrap();
    assert!(done[&1] > 0.99 && done[&2] < 0.01, "{done:?}");
}

/// Lets a hostile guest run beside a victim of the same weight, which works. What the victim got.
fn beside<F>(pcpus: u32, hostile: impl Fn(SimGuest) -> F + Send + Sync + 'static) -> f64
where
    F: Future<Output = Ending> + Send + 'static,
{
    let mut programs = Programs::new();
    let done = add_worker(&mut programs);
    programs.add("hostile", hostile);
    let mut system = System::default();
    system.guest(guest("victim", "worker"));
    for n in 0..pcpus {
        system.guest(guest(&format!("hostile{n}"), "hostile"));
    }
    // As many as there are pcpus are hostile, so that one shares a pcpu with the victim.
    run(programs, pcpus, system);
    let done = done.lock().unwrap();
    done[&1]
}

fn must_have_its_share(pcpus: u32, part: f64) {
    let share = f64::from(pcpus) / f64::from(pcpus + 1);
    assert!(part > 0.95 * share, "{part} of a pcpu instead of {share}");
}

#[test]
fn one_that_makes_hypercalls_without_end_costs_its_neighbour_no_more_than_its_share() {
    for pcpus in [1, 2] {
        let part = beside(pcpus, async |guest: SimGuest| {
            while !is_over(&guest).await {
                for _ in 0..20 {
                    guest
                        .call("version", HYPERVISOR_xen_version, [XENVER_version.into(), 0, 0])
                        .await?;
                }
            }
            guest.shut_down(SHUTDOWN_poweroff).await
        });
        must_have_its_share(pcpus, part);
    }
}

#[test]
fn one_that_yields_and_exits_without_end_costs_its_neighbour_no_more_than_its_share() {
    for pcpus in [1, 2] {
        let part = beside(pcpus, async |guest: SimGuest| {
            while !is_over(&guest).await {
                guest.port_read(0x80, 1).await;
                guest.give_way().await;
                // Memory that is not there.
                let _nothing: u64 = guest.get(1 << 40).await;
            }
            guest.shut_down(SHUTDOWN_poweroff).await
        });
        must_have_its_share(pcpus, part);
    }
}

#[test]
fn one_that_changes_its_memory_map_without_end_costs_its_neighbour_no_more_than_its_share() {
    for pcpus in [1, 2] {
        let part = beside(pcpus, async |guest: SimGuest| {
            while !is_over(&guest).await {
                for frame in [FREE, FREE + 1] {
                    guest.add_to_physmap(XENMAPSPACE_shared_info, 0, frame).await?;
                }
            }
            guest.shut_down(SHUTDOWN_poweroff).await
        });
        must_have_its_share(pcpus, part);
    }
}

#[test]
fn one_that_sets_timers_without_end_costs_its_neighbour_no_more_than_its_share() {
    for pcpus in [1, 2] {
        let part = beside(pcpus, async |guest: SimGuest| {
            let events = Events::set_up(&guest, Delivery::Fifo, FREE, VECTOR).await?;
            let timer = guest.bind_virq(VIRQ_TIMER).await?;
            events.open(&guest, timer).await?;
            while !is_over(&guest).await {
                let now = guest.counter().await / TICKS_PER_NS;
                guest.set_timer(now + 2_000).await?;
                events.next(&guest).await;
            }
            guest.shut_down(SHUTDOWN_poweroff).await
        });
        must_have_its_share(pcpus, part);
    }
}

/// Whether the victim of a storm takes each event, or masks the port after the first and looks when it likes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Takes {
    All,
    Masked,
}

/// A victim that works while as many others as there are pcpus send events to it. How much of a pcpu it worked, and how
/// much of one it had.
fn in_a_storm(pcpus: u32, takes: Takes) -> (f64, f64) {
    let mut programs = Programs::new();
    let done = Work::default();
    let had = Arc::new(Mutex::new(0.0));
    let (noted, account) = (done.clone(), had.clone());
    programs.add("victim", move |guest: SimGuest| {
        let (noted, account) = (noted.clone(), account.clone());
        async move {
            let events = Events::set_up(&guest, Delivery::Fifo, FREE, VECTOR).await?;
            for sender in 2..2 + pcpus {
                let port = bind_soon(&guest, u16::try_from(sender).unwrap()).await?;
                // A port that is not opened stays masked.
                if takes == Takes::All {
                    events.open(&guest, port).await?;
                }
            }
            let (mut pieces, began) = (0_u32, guest.counter().await);
            while !is_over(&guest).await {
                guest.compute(PIECE_NS).await;
                pieces += 1;
            }
            let all = (guest.counter().await - began) as f64 / TICKS_PER_NS as f64;
            let me = guest.scratch();
            guest.put(me, &RunstateInfo::default()).await;
            let arguments = [VCPUOP_get_runstate_info.into(), 0, me];
            guest.call("runstate", HYPERVISOR_vcpu_op, arguments).await?;
            let runstate: RunstateInfo = guest.get(me).await;
            *account.lock().unwrap() = runstate.time[0] as f64 / runstate.time.iter().sum::<u64>() as f64;
            noted
                .lock()
                .unwrap()
                .insert(1, f64::from(pieces) * PIECE_NS as f64 / all);
            guest.shut_down(SHUTDOWN_poweroff).await
        }
    });
    programs.add("storm", async |guest: SimGuest| {
        let port = guest.offer_port(1).await?;
        while !is_over(&guest).await {
            for _ in 0..20 {
                guest.send_event(port).await?;
            }
        }
        guest.shut_down(SHUTDOWN_poweroff).await
    });
    let mut system = System::default();
    system.guest(guest("victim", "victim"));
    for n in 0..pcpus {
        system.guest(guest(&format!("storm{n}"), "storm"));
    }
    run(programs, pcpus, system);
    let worked = done.lock().unwrap()[&1];
    let had = *had.lock().unwrap();
    (worked, had)
}

#[test]
fn a_storm_of_events_costs_the_one_it_comes_to_no_more_than_the_share_of_its_sender() {
    for pcpus in [1, 2] {
        let (worked, _) = in_a_storm(pcpus, Takes::Masked);
        must_have_its_share(pcpus, worked);
        // Taking events is work as well, which the victim has chosen to do: in its own time, of which it has its share.
        let (_, had) = in_a_storm(pcpus, Takes::All);
        must_have_its_share(pcpus, had);
    }
    let (worked, _) = in_a_storm(1, Takes::All);
    must_have_its_share(1, worked);
}

#[test]
fn one_that_only_yields_leaves_its_time_to_the_others() {
    for pcpus in [1, 2] {
        let part = beside(pcpus, async |guest: SimGuest| {
            while !is_over(&guest).await {
                guest.give_way().await;
            }
            guest.shut_down(SHUTDOWN_poweroff).await
        });
        must_have_its_share(pcpus, part);
    }
}

/// Binds to the first port that a domain offers beside its console's.
async fn bind_soon(guest: &SimGuest, remote: u16) -> Result<u32, Trouble> {
    for _ in 0..20_000 {
        if let Ok(own) = guest.bind_port(remote, 2).await {
            return Ok(own);
        }
        guest.give_way().await;
    }
    Err(Trouble::new("no port is offered"))
}
