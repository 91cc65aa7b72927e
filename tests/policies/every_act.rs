//! Every act that a policy can be asked about is tried under a policy that denies all: it is refused, counted, said in
//! the log, and the other domain stays as it is.
//!
//! The table of attempts is a `match` over all acts: a new act does not compile without its attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use xenvisor::abi::GuestHandle64;
use xenvisor::abi::errno::{ENOSYS, EPERM};
use xenvisor::abi::event_channel as event;
use xenvisor::abi::grant_table as grant;
use xenvisor::abi::hvm::hvm_op;
use xenvisor::abi::hvm::params::HVM_PARAM_STORE_PFN;
use xenvisor::abi::memory;
use xenvisor::abi::sched::{RemoteShutdown as Shutdown, SCHEDOP_pin_override, SCHEDOP_remote_shutdown};
use xenvisor::abi::version::XENVER_build_id;
use xenvisor::abi::xen::{
    CONSOLEIO_read, CONSOLEIO_write, DOMID_SELF, HYPERVISOR_console_io, HYPERVISOR_dm_op, HYPERVISOR_domctl,
    HYPERVISOR_event_channel_op, HYPERVISOR_grant_table_op, HYPERVISOR_hvm_op, HYPERVISOR_memory_op,
    HYPERVISOR_sched_op, HYPERVISOR_sysctl, HYPERVISOR_xen_version,
};
use xenvisor::prelude::*;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::world::{ARGUMENTS, FREE, World};
use crate::{bind, grant as offer_grant, map, offer, send};

/// Who tries, and on whom.
pub const CALLER: u16 = 1;
pub const OTHER: u16 = 2;
/// Where lists lie that arguments point to.
const LIST: u64 = ARGUMENTS + 1024;

/// Allows all until it is closed, and then nothing.
#[derive(Clone, Default)]
pub struct Gate(pub Arc<AtomicBool>);

impl Policy for Gate {
    fn otherwise(&self, _: &Request) -> Verdict {
        Verdict::allow_if(!self.0.load(Ordering::Relaxed), "the gate is closed")
    }
}

/// Two domains that have to do with each other.
struct Scene {
    world: World,
    /// A port of the other's that waits for the caller.
    waiting: u32,
    /// A port of the caller's that leads to the other.
    bound: u32,
}

impl Scene {
    fn with(gate_closes: bool) -> Self {
        let gate = Gate::default();
        let world = World::new(2, gate.clone());
        let (_, waiting) = offer(&world, OTHER, CALLER);
        let (_, other) = offer(&world, OTHER, CALLER);
        let (_, bound) = bind(&world, CALLER, OTHER, other);
        offer_grant(&world, OTHER, CALLER);
        offer_grant(&world, CALLER, OTHER);
        gate.0.store(gate_closes, Ordering::Relaxed);
        Self {
            world,
            waiting,
            bound,
        }
    }

    /// A call by the caller; its result.
    fn call<T>(&self, number: u32, command: u32, mut argument: T) -> i64
    where
        T: FromBytes + IntoBytes + Immutable,
    {
        self.world.call_with(CALLER, number, command, &mut argument)
    }

    /// A call that carries its outcome in its argument: the element as it comes back.
    fn grant_op<T>(&self, command: u32, mut argument: T) -> T
    where
        T: FromBytes + IntoBytes + Immutable,
    {
        let result = self
            .world
            .call_with(CALLER, HYPERVISOR_grant_table_op, command, &mut argument);
        assert_eq!(result, 0, "grant_table_op {command}");
        argument
    }

    fn copy(&self, source: grant::CopyPointer, dest: grant::CopyPointer, flags: grant::CopyFlags) -> i64 {
        let wanted = grant::CopyOp {
            source,
            dest,
            len: 8,
            flags: flags.bits(),
            ..grant::CopyOp::default()
        };
        self.grant_op(grant::GNTTABOP_copy, wanted).status.into()
    }

    fn exchange(&self) -> i64 {
        let list = memory::Reservation {
            extent_start: GuestHandle64(LIST),
            nr_extents: 1,
            domid: OTHER,
            ..memory::Reservation::default()
        };
        let wanted = memory::Exchange {
            input: list,
            output: list,
            ..memory::Exchange::default()
        };
        self.call(HYPERVISOR_memory_op, memory::XENMEM_exchange, wanted)
    }

    fn reserve(&self, command: u32) -> i64 {
        self.world.put(CALLER, LIST, &(FREE + 8));
        let wanted = memory::Reservation {
            extent_start: GuestHandle64(LIST),
            nr_extents: 1,
            domid: OTHER,
            ..memory::Reservation::default()
        };
        self.call(HYPERVISOR_memory_op, command, wanted)
    }

    /// Tries an act in each way in which a guest can; what came of each.
    fn attempt(&self, act: Act) -> Vec<Outcome> {
        use Outcome::{Done, Error, Status};
        let world = &self.world;
        let memory = |command, argument: u16| {
            world.put(CALLER, ARGUMENTS, &[0_u64; 16]);
            let argument = memory::Domain { domid: argument };
            Error(self.call(HYPERVISOR_memory_op, command, argument))
        };
        let events = HYPERVISOR_event_channel_op;
        match act {
            Act::EventAlloc => {
                let for_other = event::AllocUnbound {
                    dom: OTHER,
                    remote_dom: CALLER,
                    port: 0,
                };
                let of_other = self.call(events, event::EVTCHNOP_alloc_unbound, for_other);
                vec![Error(offer(world, CALLER, OTHER).0), Error(of_other)]
            }
            Act::EventBind => vec![Error(bind(world, CALLER, OTHER, self.waiting).0)],
            Act::EventSend => vec![Error(send(world, CALLER, self.bound))],
            Act::EventStatus => {
                let port = event::Status {
                    dom: OTHER,
                    port: self.waiting,
                    ..event::Status::default()
                };
                vec![Error(self.call(events, event::EVTCHNOP_status, port))]
            }
            Act::EventReset => {
                vec![Error(self.call(
                    events,
                    event::EVTCHNOP_reset,
                    event::Reset { dom: OTHER },
                ))]
            }
            Act::GrantMap => [grant::MapFlags::empty(), grant::MapFlags::READONLY]
                .map(|flags| Status(map(world, CALLER, OTHER, flags).into()))
                .to_vec(),
            Act::GrantCopy => {
                let own = |offset| grant::CopyPointer {
                    u: FREE + 3,
                    domid: DOMID_SELF,
                    offset,
                    ..Default::default()
                };
                let granted = grant::CopyPointer {
                    u: 8,
                    domid: OTHER,
                    ..Default::default()
                };
                vec![
                    Status(self.copy(granted, own(0), grant::CopyFlags::SOURCE_GREF)),
                    Status(self.copy(own(0), granted, grant::CopyFlags::DEST_GREF)),
                    Status(self.copy(
                        granted,
                        granted,
                        grant::CopyFlags::SOURCE_GREF | grant::CopyFlags::DEST_GREF,
                    )),
                ]
            }
            // Not a call that this kind of guest has.
            Act::GrantTransfer => {
                let call = [grant::GNTTABOP_transfer.into(), ARGUMENTS, 1];
                vec![Outcome::NoCall(world.call(
                    CALLER,
                    HYPERVISOR_grant_table_op,
                    &call,
                ))]
            }
            Act::GrantQuery => {
                let size = grant::QuerySize {
                    dom: OTHER,
                    ..Default::default()
                };
                let version = grant::GetVersion {
                    dom: OTHER,
                    ..Default::default()
                };
                vec![
                    Status(self.grant_op(grant::GNTTABOP_query_size, size).status.into()),
                    Error(self.call(HYPERVISOR_grant_table_op, grant::GNTTABOP_get_version, version)),
                ]
            }
            Act::GrantSetup => {
                let setup = grant::SetupTable {
                    dom: OTHER,
                    nr_frames: 2,
                    frame_list: GuestHandle64(LIST),
                    ..Default::default()
                };
                vec![Status(
                    self.grant_op(grant::GNTTABOP_setup_table, setup).status.into(),
                )]
            }
            // These say how many extents they have done.
            Act::MemoryReserve => [
                memory::XENMEM_increase_reservation,
                memory::XENMEM_decrease_reservation,
                memory::XENMEM_populate_physmap,
            ]
            .map(|command| Done(self.reserve(command)))
            .into_iter()
            .chain([Error(self.exchange())])
            .collect(),
            Act::MemoryQuery => {
                let kind = hvm_op::GetMemType {
                    domid: OTHER,
                    pfn: FREE,
                    ..Default::default()
                };
                vec![
                    memory(memory::XENMEM_current_reservation, OTHER),
                    memory(memory::XENMEM_maximum_reservation, OTHER),
                    memory(memory::XENMEM_maximum_gpfn, OTHER),
                    memory(memory::XENMEM_get_vnumainfo, OTHER),
                    Error(self.call(HYPERVISOR_hvm_op, hvm_op::HVMOP_get_mem_type, kind)),
                ]
            }
            Act::MemoryMapSet => {
                let map = memory::ForeignMemoryMap {
                    domid: OTHER,
                    ..Default::default()
                };
                vec![Error(self.call(
                    HYPERVISOR_memory_op,
                    memory::XENMEM_set_memory_map,
                    map,
                ))]
            }
            Act::MemoryBuild => {
                let claim = memory::Reservation {
                    domid: OTHER,
                    nr_extents: 1,
                    ..Default::default()
                };
                let result = self.call(HYPERVISOR_memory_op, memory::XENMEM_claim_pages, claim);
                let target = memory::PodTarget {
                    domid: OTHER,
                    ..Default::default()
                };
                let on_demand = [memory::XENMEM_set_pod_target, memory::XENMEM_get_pod_target]
                    .map(|command| Error(self.call(HYPERVISOR_memory_op, command, target)));
                [Error(result)].into_iter().chain(on_demand).collect()
            }
            Act::PhysmapAdd => {
                let add = memory::AddToPhysmap {
                    domid: OTHER,
                    space: memory::XENMAPSPACE_shared_info,
                    gpfn: FREE + 4,
                    ..Default::default()
                };
                let result = self.call(HYPERVISOR_memory_op, memory::XENMEM_add_to_physmap, add);
                let batch = memory::AddToPhysmapBatch {
                    domid: OTHER,
                    size: 1,
                    ..Default::default()
                };
                let batched = self.call(HYPERVISOR_memory_op, memory::XENMEM_add_to_physmap_batch, batch);
                vec![Error(result), Error(batched)]
            }
            Act::PhysmapForeign => vec![self.foreign()],
            Act::PhysmapRemove => {
                let remove = memory::RemoveFromPhysmap {
                    domid: OTHER,
                    gpfn: FREE,
                    ..Default::default()
                };
                vec![Error(self.call(
                    HYPERVISOR_memory_op,
                    memory::XENMEM_remove_from_physmap,
                    remove,
                ))]
            }
            Act::ParameterRead | Act::ParameterWrite => {
                let param = hvm_op::Param {
                    domid: OTHER,
                    index: HVM_PARAM_STORE_PFN,
                    ..Default::default()
                };
                let command = if act == Act::ParameterRead {
                    hvm_op::HVMOP_get_param
                } else {
                    hvm_op::HVMOP_set_param
                };
                vec![Error(self.call(HYPERVISOR_hvm_op, command, param))]
            }
            Act::RemoteShutdown => {
                let shutdown = Shutdown {
                    domain_id: OTHER,
                    ..Default::default()
                };
                vec![Error(self.call(
                    HYPERVISOR_sched_op,
                    SCHEDOP_remote_shutdown,
                    shutdown,
                ))]
            }
            Act::PinVcpu => vec![Error(self.call(HYPERVISOR_sched_op, SCHEDOP_pin_override, 0_u64))],
            Act::DomainManage => {
                // XEN_DOMCTL_pausedomain, of version 0x15.
                world.put(CALLER, ARGUMENTS, &[2_u32, 0x15, OTHER.into()]);
                let paused = world.call(CALLER, HYPERVISOR_domctl, &[ARGUMENTS]);
                // One buffer, with an operation in it: zeros, which nobody looks at before the caller is judged.
                world.put(CALLER, ARGUMENTS, &[LIST, 64]);
                let emulated = world.call(CALLER, HYPERVISOR_dm_op, &[OTHER.into(), 1, ARGUMENTS]);
                let access = memory::toolstack::AccessOp {
                    domid: OTHER,
                    ..Default::default()
                };
                let monitored = self.call(HYPERVISOR_memory_op, memory::XENMEM_access_op, access);
                vec![Error(paused), Error(emulated), Error(monitored)]
            }
            Act::HostManage => {
                // XEN_SYSCTL_physinfo, of version 0x15.
                world.put(CALLER, ARGUMENTS, &[3_u32, 0x15]);
                vec![Error(world.call(CALLER, HYPERVISOR_sysctl, &[ARGUMENTS]))]
            }
            Act::HostConsole => [CONSOLEIO_write, CONSOLEIO_read]
                .map(|command| {
                    Error(world.call(CALLER, HYPERVISOR_console_io, &[command.into(), 1, ARGUMENTS]))
                })
                .to_vec(),
            Act::HostDetails => {
                vec![Error(world.call(
                    CALLER,
                    HYPERVISOR_xen_version,
                    &[XENVER_build_id.into(), ARGUMENTS],
                ))]
            }
        }
    }

    /// A frame of the other's, placed in the caller's own memory: the batch has an outcome for each element. The caller
    /// may not place anything under a closed gate; so the gate is one of its own.
    fn foreign(&self) -> Outcome {
        for list in [LIST, LIST + 8] {
            self.world.put(CALLER, list, &(FREE + 5));
        }
        let batch = memory::AddToPhysmapBatch {
            domid: DOMID_SELF,
            space: u16::try_from(memory::XENMAPSPACE_gmfn_foreign).unwrap(),
            size: 1,
            foreign_domid: OTHER,
            idxs: GuestHandle64(LIST),
            gpfns: GuestHandle64(LIST + 8),
            errs: GuestHandle64(LIST + 16),
        };
        let result = self.call(HYPERVISOR_memory_op, memory::XENMEM_add_to_physmap_batch, batch);
        Outcome::Error(result)
    }
}

/// What a guest gets to see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// The result, which should be an error number.
    Error(i64),
    /// The status of a grant's element.
    Status(i64),
    /// How many extents are done.
    Done(i64),
    /// The result of a call that does not exist.
    NoCall(i64),
}

impl Outcome {
    /// Whether this is a refusal: by the policy, or because there is no such call.
    fn is_refused(self) -> bool {
        match self {
            Self::Error(result) => result == -i64::from(EPERM),
            Self::Status(status) => status == i64::from(grant::GNTST_permission_denied),
            Self::Done(extents) => extents == 0,
            Self::NoCall(result) => result == -i64::from(ENOSYS),
        }
    }
}

#[test]
fn a_policy_that_denies_everything_is_obeyed_in_every_act() {
    for act in Act::ALL {
        let scene = Scene::with(true);
        let other = scene.world.state();
        let outcomes = scene.attempt(*act);
        assert!(!outcomes.is_empty());
        for outcome in &outcomes {
            assert!(outcome.is_refused(), "{act:?}: {outcomes:?}");
        }
        let after = scene.world.state();
        assert_eq!(after.of(OTHER), other.of(OTHER), "{act:?} changed the other");
        if outcomes
            .iter()
            .any(|outcome| matches!(outcome, Outcome::NoCall(_)))
        {
            continue;
        }
        let tally = scene.world.domain(CALLER).denials.tally();
        // The foreign frame is refused by the first question already: whether anything may be placed.
        let asked = if *act == Act::PhysmapForeign {
            Act::PhysmapAdd
        } else {
            *act
        };
        assert_eq!(tally.of(asked), outcomes.len() as u64, "{act:?}: {tally}");
        assert_eq!(tally.total(), outcomes.len() as u64, "{act:?}: {tally}");
        let line = scene.world.last_line();
        assert!(
            line.contains("the gate is closed") && line.contains(asked.words()),
            "{line}"
        );
    }
}

#[test]
fn a_gate_that_is_open_lets_the_same_acts_through() {
    for act in Act::ALL {
        let outcomes = Scene::with(false).attempt(*act);
        let denied = |outcome: &Outcome| match outcome {
            Outcome::NoCall(_) => false,
            Outcome::Done(extents) => *extents == 0,
            outcome => outcome.is_refused(),
        };
        assert!(!outcomes.iter().any(denied), "{act:?}: {outcomes:?}");
    }
}

/// Denies frames of others, and nothing else.
struct NoForeignFrames;

impl Policy for NoForeignFrames {
    fn physmap_foreign(&self, _: &PhysmapForeign) -> Verdict {
        Verdict::Deny("frames of others come by grants alone")
    }
}

#[test]
fn a_frame_of_another_is_asked_about_by_itself() {
    let world = World::new(2, NoForeignFrames);
    let scene = Scene {
        world,
        waiting: 0,
        bound: 0,
    };
    assert_eq!(scene.foreign(), Outcome::Error(0));
    let outcome: i32 = scene.world.get(CALLER, LIST + 16);
    assert_eq!(i64::from(outcome), -i64::from(EPERM));
    assert!(scene.world.last_line().contains("by grants alone"));
    assert_eq!(
        scene.world.domain(CALLER).denials.tally().of(Act::PhysmapForeign),
        1
    );
}
