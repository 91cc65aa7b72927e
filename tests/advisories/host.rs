//! The host: what guests leave behind, which locks are held while a policy is asked, and interfaces that are not there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use xenvisor::abi::errno::{EINVAL, EPERM};
use xenvisor::abi::event_channel::{BindPirq, EVTCHNOP_bind_pirq};
use xenvisor::abi::hvm::hvm_op::{HVMOP_set_param, Param};
use xenvisor::abi::xen::{
    HYPERVISOR_dm_op, HYPERVISOR_domctl, HYPERVISOR_event_channel_op, HYPERVISOR_hvm_op,
    HYPERVISOR_multicall, HYPERVISOR_physdev_op, HYPERVISOR_platform_op, HYPERVISOR_sysctl,
};
use xenvisor::model::domain::params::{Index, Rule};
use xenvisor::model::lock::{Rank, Ranked};
use xenvisor::model::machine::GuestRam;
use xenvisor::model::number::{FRAME_SIZE, Gfn, GuestAddr};
use xenvisor::prelude::*;

use crate::world::{FREE, World};

/// Domain `from` sets a parameter of domain `of`.
pub fn set_param(world: &World, from: u16, of: u16, index: Index, value: u64) -> i64 {
    let mut param = Param {
        domid: of,
        index: index.raw().into(),
        value,
        ..Param::default()
    };
    world.call_with(from, HYPERVISOR_hvm_op, HVMOP_set_param, &mut param)
}

#[test]
fn xsa_35_a_guest_writes_none_of_its_builders_parameters() {
    let world = World::new(1, XenDefault::default());
    let builders = (0..39).filter_map(Index::from_raw);
    for index in builders.filter(|index| index.rule() != Rule::ReadWrite) {
        let before = world.domain(1).settings.lock().params.get(index);
        let result = set_param(&world, 1, 1, index, before.wrapping_add(1));
        let refused = if index.rule() == Rule::Deprecated {
            EINVAL
        } else {
            EPERM
        };
        assert_eq!(result, -i64::from(refused), "{index:?}");
        assert_eq!(
            world.domain(1).settings.lock().params.get(index),
            before,
            "{index:?}"
        );
    }
}

/// Writes a secret over all the memory of a domain, and takes the domain apart.
fn fill_and_end(world: &World, n: u16, secret: u64) {
    let domain = world.domain(n);
    let memory = domain.guest_memory();
    let page: Vec<u8> = secret.to_le_bytes().repeat(512);
    for frame in 0..domain.memory.highest().raw() {
        // Not all of it is memory.
        let _hole = memory.write(GuestAddr::new(frame * FRAME_SIZE), &page);
    }
    drop(domain);
    world.destroy(n);
}

#[test]
fn xsa_100_nobody_finds_what_a_domain_before_had_in_memory() {
    const SECRET: u64 = 0x5ec2_e7a5_5ec2_e7a5;
    let world = World::empty(2, XenDefault::default());
    world.create(1).unwrap();
    fill_and_end(&world, 1, SECRET);
    world.create(2).unwrap();
    let domain = world.domain(2);
    let mut page = [0; 4096];
    let mut seen = 0;
    for frame in 0..domain.memory.highest().raw() {
        if domain
            .guest_memory()
            .read(GuestAddr::new(frame * FRAME_SIZE), &mut page)
            .is_err()
        {
            continue;
        }
        seen += 1;
        let found = page.chunks_exact(8).any(|word| word == SECRET.to_le_bytes());
        assert!(!found, "frame {frame:#x} still has the secret");
    }
    assert!(seen > 900, "only {seen} frames were looked at");
}

#[test]
fn xsa_100_memory_that_a_domain_gives_back_and_takes_again_is_empty() {
    let world = World::new(1, XenDefault::default());
    let domain = world.domain(1);
    let at = Gfn::new(FREE + 7).address().unwrap();
    domain.guest_memory().write(at, &[0xaa; 4096]).unwrap();
    let gfn = Gfn::new(FREE + 7);
    domain
        .change(|leaving| domain.memory.take(gfn, leaving).map(drop))
        .unwrap();
    domain
        .change(|leaving| {
            domain
                .memory
                .populate_range(gfn..Gfn::new(FREE + 8), leaving)
                .map(drop)
        })
        .unwrap();
    let mut page = [1; 4096];
    domain.guest_memory().read(at, &mut page).unwrap();
    assert_eq!(page, [0; 4096]);
}

/// Takes the lock that comes before all others that a hypercall takes: that stops the test if any of those is held.
#[derive(Clone, Default)]
struct Suspicious(Arc<AtomicU64>);

impl Policy for Suspicious {
    fn otherwise(&self, request: &Request) -> Verdict {
        let first = Ranked::new(Rank::DomainList, ());
        drop(first.lock());
        self.0.fetch_or(1 << request.act() as u32, Ordering::Relaxed);
        request.unprivileged()
    }
}

#[test]
fn xsa_492_499_a_policy_is_asked_before_any_lock_is_taken() {
    let policy = Suspicious::default();
    let world = World::new(2, policy.clone());
    for number in 0..42_u32 {
        for command in 0..34_u64 {
            for about in [1_u16, 2] {
                // Every field that could name a domain names it; every number is small.
                let argument = [about; 32];
                let at = crate::world::ARGUMENTS;
                let domain = world.domain(1);
                let _lost = domain.guest_memory().write_value(GuestAddr::new(at), &argument);
                let arguments = match number {
                    number if number == HYPERVISOR_multicall => [at, 1, 0],
                    _ => [command, at, 1],
                };
                world.call(1, number, &arguments);
            }
        }
    }
    let asked = policy.0.load(Ordering::Relaxed).count_ones();
    assert!(asked >= 12, "only {asked} acts were asked about");
}

#[test]
fn xsa_166_238_262_428_491_492_499_506_there_is_no_interface_for_device_models_and_toolstacks() {
    let world = World::new(2, XenDefault::default());
    let before = world.state();
    let at = crate::world::ARGUMENTS;
    for command in 0..90_u32 {
        // A device model names the domain first, then lists of bytes; toolstacks put both into a structure.
        world.put(1, at, &[command, 0x15, 2, 0, 0, 0, 0, 0]);
        let denied = world.call(1, HYPERVISOR_dm_op, &[2, 1, at]);
        assert!(denied < 0, "dm_op {command}: {denied}");
        for number in [HYPERVISOR_domctl, HYPERVISOR_sysctl, HYPERVISOR_platform_op] {
            let denied = world.call(1, number, &[at]);
            assert!(denied < 0, "hypercall {number}, command {command}: {denied}");
        }
    }
    assert_eq!(world.state().of(2), before.of(2));
}

#[test]
fn xsa_96_237_458_no_guest_has_a_physical_interrupt() {
    let world = World::new(1, XenDefault::default());
    for pirq in [1 << 16, 1 << 20, u32::MAX] {
        let mut bind = BindPirq {
            pirq,
            ..BindPirq::default()
        };
        let result = world.call_with(1, HYPERVISOR_event_channel_op, EVTCHNOP_bind_pirq, &mut bind);
        assert!(result < 0, "pirq {pirq}: {result}");
    }
    let at = crate::world::ARGUMENTS;
    for command in 0..34 {
        world.put(1, at, &[0_u64; 16]);
        let result = world.call(1, HYPERVISOR_physdev_op, &[command, at]);
        assert!(result < 0, "physdev_op {command}: {result}");
    }
}

#[test]
fn xsa_116_a_domain_that_ends_in_the_middle_of_what_it_says_takes_nothing_with_it() {
    use xenvisor::sim::guest::{PvConsole, SimGuest};
    let mut programs = xenvisor::sim::programs::Programs::standard();
    programs.add("brief", |guest: SimGuest| async move {
        let console = PvConsole::find(&guest).await?;
        console.line(&guest, "I am only here for").await?;
        // The event that announces the rest is on its way when its sender is gone.
        guest.send_event(console.port()).await?;
        guest.shut_down(xenvisor::abi::sched::SHUTDOWN_crash).await
    });
    for seed in 1..20 {
        let mut system = System::default();
        for name in ["first", "second", "third"] {
            system.guest(crate::world::guest(name, "brief"));
        }
        let run = crate::world::run(seed, programs.clone(), system);
        if !run.all_frames_are_back() || run.console().matches("only here").count() != 3 {
            run.fail(seed, "something was lost with a domain");
        }
    }
}
