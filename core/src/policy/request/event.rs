//! Requests about event channels.

use crate::number::{DomainId, Port};

/// A domain wants a port on which `remote` may bind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventAlloc {
    /// Who asks.
    pub caller: DomainId,
    /// Whose port it becomes. Mostly the caller itself; a toolstack opens ports for others.
    pub owner: DomainId,
    /// Who may bind to it. Need not exist (yet).
    pub remote: DomainId,
}

/// A domain wants to bind to another's unbound port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventBind {
    /// Who asks, and gets the other end.
    pub caller: DomainId,
    /// Whose port it is.
    pub remote: DomainId,
    /// Which.
    pub port: Port,
}

/// A domain wants to signal another. Asked on each send, so it should be quick to answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventSend {
    /// Who sends.
    pub caller: DomainId,
    /// Who receives.
    pub remote: DomainId,
    /// The sender's own port.
    pub port: Port,
}

/// A domain wants to know what a port is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventStatus {
    /// Who asks.
    pub caller: DomainId,
    /// Whose port it is. May be the caller.
    pub owner: DomainId,
    /// Which.
    pub port: Port,
}

/// A domain wants all ports of a domain closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventReset {
    /// Who asks.
    pub caller: DomainId,
    /// Whose ports they are. May be the caller.
    pub owner: DomainId,
}
