//! Requests about a domain as a whole, and about the host.

use crate::domain::life::Reason;
use crate::domain::params::Index;
use crate::number::{DomainId, VcpuId};

/// A domain wants to read a parameter of another. What it may read of its own is a fixed rule, not asked about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParameterRead {
    /// Who asks.
    pub caller: DomainId,
    /// Whose parameter it is. Never the caller.
    pub target: DomainId,
    /// Which.
    pub index: Index,
}

/// A domain wants to write a parameter of another. What it may write of its own is a fixed rule, not asked about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParameterWrite {
    /// Who asks.
    pub caller: DomainId,
    /// Whose parameter it is. Never the caller.
    pub target: DomainId,
    /// Which.
    pub index: Index,
    /// The value.
    pub value: u64,
}

/// A domain wants to shut a domain down from outside. How a guest ends itself is not asked about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RemoteShutdown {
    /// Who asks.
    pub caller: DomainId,
    /// Who is to end. May be the caller: that, too, takes privilege.
    pub target: DomainId,
    /// What it will have ended for.
    pub reason: Reason,
}

/// A domain wants one of its vcpus to run on a physical processor of its choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PinVcpu {
    /// Who asks.
    pub caller: DomainId,
    /// Which vcpu of the caller.
    pub vcpu: VcpuId,
}

/// A domain wants to use the console of the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostConsole {
    /// Who asks.
    pub caller: DomainId,
    /// Whether it wants to write; else it wants to read.
    pub writes: bool,
}

/// A domain wants to know what only an operator may: the host's command line, how it was built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostDetails {
    /// Who asks.
    pub caller: DomainId,
}

/// A domain wants to do to another what the tools do that build domains and emulate their devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DomainManage {
    /// Who asks.
    pub caller: DomainId,
    /// Whom it concerns.
    pub target: DomainId,
}

/// A domain wants to know or change how the host works: its processors, its power, its parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostManage {
    /// Who asks.
    pub caller: DomainId,
}
