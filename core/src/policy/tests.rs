//! What each policy allows and denies, act by act, and that policies compose.

use std::boxed::Box;
use std::vec::Vec;

use super::request::*;
use super::*;
use crate::domain::life::Reason;
use crate::domain::params::Index;
use crate::machine::Access;
use crate::number::{DomainId, Gfn, GrantRef, Port, VcpuId};

const HUB: DomainId = DomainId::new(1);
const A: DomainId = DomainId::new(2);
const B: DomainId = DomainId::new(3);

/// One request for each act: what `caller` wants to do to `target`.
fn every_request(caller: DomainId, target: DomainId) -> Vec<Request> {
    let one = |act: Act| -> Request {
        let (port, reference) = (Port::new(1), GrantRef::new(8));
        match act {
            Act::EventAlloc => EventAlloc {
                caller,
                owner: target,
                remote: caller,
            }
            .into(),
            Act::EventBind => EventBind {
                caller,
                remote: target,
                port,
            }
            .into(),
            Act::EventSend => EventSend {
                caller,
                remote: target,
                port,
            }
            .into(),
            Act::EventStatus => EventStatus {
                caller,
                owner: target,
                port,
            }
            .into(),
            Act::EventReset => EventReset {
                caller,
                owner: target,
            }
            .into(),
            Act::GrantMap => GrantMap {
                grantee: caller,
                granter: target,
                reference,
                access: Access::ReadWrite,
            }
            .into(),
            Act::GrantCopy => GrantCopy {
                caller,
                source: target,
                destination: caller,
            }
            .into(),
            Act::GrantTransfer => GrantTransfer {
                caller,
                recipient: target,
                reference,
            }
            .into(),
            Act::GrantQuery => GrantQuery {
                caller,
                owner: target,
            }
            .into(),
            Act::GrantSetup => GrantSetup {
                caller,
                owner: target,
                frames: 1,
            }
            .into(),
            Act::MemoryReserve => MemoryReserve {
                caller,
                target,
                change: Change::Decrease,
                extents: 1,
                order: 0,
            }
            .into(),
            Act::MemoryQuery => MemoryQuery { caller, target }.into(),
            Act::MemoryMapSet => MemoryMapSet {
                caller,
                target,
                entries: 1,
            }
            .into(),
            Act::MemoryBuild => MemoryBuild { caller, target }.into(),
            Act::PhysmapAdd => PhysmapAdd { caller, target }.into(),
            Act::PhysmapForeign => PhysmapForeign {
                caller,
                target: caller,
                owner: target,
            }
            .into(),
            Act::PhysmapRemove => PhysmapRemove {
                caller,
                target,
                at: Gfn::new(1),
            }
            .into(),
            Act::ParameterRead => ParameterRead {
                caller,
                target,
                index: Index::STORE_PFN,
            }
            .into(),
            Act::ParameterWrite => ParameterWrite {
                caller,
                target,
                index: Index::STORE_PFN,
                value: 1,
            }
            .into(),
            Act::RemoteShutdown => RemoteShutdown {
                caller,
                target,
                reason: Reason::PowerOff,
            }
            .into(),
            Act::PinVcpu => PinVcpu {
                caller,
                vcpu: VcpuId::new(0),
            }
            .into(),
            Act::DomainManage => DomainManage { caller, target }.into(),
            Act::HostManage => HostManage { caller }.into(),
            Act::HostConsole => HostConsole { caller, writes: true }.into(),
            Act::HostDetails => HostDetails { caller }.into(),
        }
    };
    Act::ALL.iter().map(|act| one(*act)).collect()
}

/// The acts that concern the host.
const HOST: [Act; 4] = [Act::PinVcpu, Act::HostManage, Act::HostConsole, Act::HostDetails];

/// The acts among all that `caller` may do to `target`.
fn allowed(policy: &impl Policy, caller: DomainId, target: DomainId) -> Vec<Act> {
    every_request(caller, target)
        .iter()
        .filter(|request| request.ask(policy) == Verdict::Allow)
        .map(Request::act)
        .collect()
}

#[test]
fn each_request_knows_its_act_and_who_asks() {
    for (request, act) in every_request(A, B).iter().zip(Act::ALL) {
        assert_eq!((request.act(), request.caller()), (*act, A));
        let of_the_host = HOST.contains(act);
        assert_eq!(request.target(), if of_the_host { A } else { B }, "{act:?}");
    }
}

#[test]
fn by_default_a_domain_does_to_another_only_what_the_other_has_named_it_for() {
    let policy = XenDefault::default();
    let mutual = [
        Act::EventBind,
        Act::EventSend,
        Act::GrantMap,
        Act::GrantCopy,
        Act::GrantTransfer,
    ];
    assert_eq!(allowed(&policy, A, B), mutual);
    let own = allowed(&policy, A, A);
    let privileged = [
        Act::MemoryBuild,
        Act::PhysmapForeign,
        Act::RemoteShutdown,
        Act::PinVcpu,
        Act::DomainManage,
        Act::HostManage,
        Act::HostConsole,
        Act::HostDetails,
    ];
    let denied: Vec<Act> = Act::ALL
        .iter()
        .copied()
        .filter(|act| !own.contains(act))
        .collect();
    assert_eq!(denied, privileged);
}

#[test]
fn the_privileged_domain_acts_on_all_and_nobody_else_gains_by_it() {
    let policy = XenDefault::with_privileged(HUB);
    assert_eq!(allowed(&policy, HUB, A), Act::ALL);
    assert_eq!(allowed(&policy, A, HUB), allowed(&XenDefault::default(), A, HUB));
}

#[test]
fn silos_allow_with_the_hub_what_xen_allows_and_between_others_nothing() {
    let policy = Silo::around(HUB);
    let plain = XenDefault::with_privileged(HUB);
    for (one, other) in [(HUB, A), (A, HUB), (A, A)] {
        assert_eq!(allowed(&policy, one, other), allowed(&plain, one, other));
    }
    let left: Vec<Act> = allowed(&policy, A, B)
        .into_iter()
        .filter(|act| !HOST.contains(act))
        .collect();
    assert_eq!(left, []);
    assert_eq!(allowed(&Silo::default(), A, B), []);
}

#[test]
fn in_a_silo_nobody_carries_from_one_domain_to_another() {
    let policy = Silo::around(HUB);
    let copy = |caller, source, destination| {
        policy.grant_copy(&GrantCopy {
            caller,
            source,
            destination,
        })
    };
    assert_eq!(copy(A, HUB, A), Verdict::Allow);
    assert_eq!(copy(HUB, A, B), Verdict::Allow);
    for denied in [copy(A, B, A), copy(A, A, B), copy(A, HUB, B), copy(A, B, HUB)] {
        assert_eq!(denied, Verdict::Deny("the two domains are kept apart"));
    }
}

#[test]
fn a_partition_allows_each_declaration_and_no_more() {
    let none = StaticPartition::new();
    assert_eq!(allowed(&none, A, B), []);
    assert_eq!(
        allowed(&none, A, A),
        allowed(&XenDefault::default(), A, A)
            .into_iter()
            .collect::<Vec<_>>()
    );
    let channel = none.clone().channel(A, B);
    for (one, other) in [(A, B), (B, A)] {
        assert_eq!(allowed(&channel, one, other), [Act::EventBind, Act::EventSend]);
    }
    assert_eq!(allowed(&channel, A, HUB), []);
    let device = none.device(A, B);
    assert_eq!(
        allowed(&device, A, B),
        [Act::EventBind, Act::EventSend, Act::GrantMap, Act::GrantCopy]
    );
    assert_eq!(allowed(&device, B, A), [Act::EventBind, Act::EventSend]);
}

#[test]
fn pages_that_are_shared_to_be_read_cannot_be_written() {
    let policy = StaticPartition::new().share(A, B, Access::Read);
    let map = |access| {
        policy.grant_map(&GrantMap {
            grantee: B,
            granter: A,
            reference: GrantRef::new(8),
            access,
        })
    };
    assert_eq!(map(Access::Read), Verdict::Allow);
    assert!(matches!(map(Access::ReadWrite), Verdict::Deny(_)));
    let copy = |source, destination| {
        policy.grant_copy(&GrantCopy {
            caller: B,
            source,
            destination,
        })
    };
    assert_eq!(copy(A, B), Verdict::Allow);
    assert!(matches!(copy(B, A), Verdict::Deny(_)));
}

/// Allows all, but for one act of its own.
struct AllBut(Act);

impl Policy for AllBut {
    fn otherwise(&self, request: &Request) -> Verdict {
        Verdict::allow_if(request.act() != self.0, "all but this")
    }
}

/// States one rule by its method, and says nothing else.
struct Mute;

impl Policy for Mute {
    fn event_send(&self, _: &EventSend) -> Verdict {
        Verdict::Deny("nobody speaks")
    }
}

#[test]
fn together_policies_allow_what_each_of_them_allows_for_every_act() {
    let three = (
        AllBut(Act::GrantMap),
        AllBut(Act::HostConsole),
        AllBut(Act::PinVcpu),
    );
    for request in every_request(A, B) {
        let denied = matches!(request.act(), Act::GrantMap | Act::HostConsole | Act::PinVcpu);
        assert_eq!(request.ask(&three) == Verdict::Allow, !denied, "{request:?}");
    }
    let nested: (Box<dyn Policy>, (Mute, XenDefault)) =
        (Box::new(XenDefault::default()), (Mute, XenDefault::default()));
    let all_but_one = [Act::EventBind, Act::GrantMap, Act::GrantCopy, Act::GrantTransfer];
    assert_eq!(allowed(&nested, A, B), all_but_one);
}

#[test]
fn the_first_that_denies_gives_the_reason() {
    let send = EventSend {
        caller: A,
        remote: B,
        port: Port::new(1),
    };
    let reason = |policy: &dyn Policy| policy.event_send(&send);
    assert_eq!(reason(&(Mute, Silo::default())), Verdict::Deny("nobody speaks"));
    assert_eq!(
        reason(&(Silo::default(), Mute)),
        Verdict::Deny("the two domains are kept apart")
    );
}

#[test]
fn denials_are_counted_by_act() {
    let denials = Denials::default();
    for _ in 0..3 {
        denials.count(Act::GrantMap);
    }
    denials.count(Act::HostDetails);
    let tally = denials.tally();
    assert_eq!(
        (tally.of(Act::GrantMap), tally.of(Act::EventSend), tally.total()),
        (3, 0, 4)
    );
    let twice = tally.with(&tally);
    assert_eq!(
        std::format!("{twice}"),
        "denied to map a grant 6x, to know how the host was built 2x"
    );
}

#[test]
fn a_guest_that_asks_a_million_times_writes_less_than_thirty_lines() {
    let lines = (1..=1_000_000)
        .filter(|number| Denials::is_worth_a_line(*number))
        .count();
    assert!((20..30).contains(&lines), "{lines}");
}
