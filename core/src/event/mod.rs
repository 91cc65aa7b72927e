//! Event channels: how domains, and the hypervisor, say to a domain that something has happened.
//!
//! A domain has [`Ports`]. Each is a [`Binding`]: one end of a channel to another domain, a virtual interrupt, the
//! domain's own. An event makes a port *pending*; unless the guest has *masked* it, the vcpu that the port notifies
//! gets an *upcall*. Both ways to show that to a guest are here: 2-level and FIFO.
//!
//! The verbs are free functions over [`Endpoint`]s, because several of them concern two domains. Who may do what is
//! decided before they are called.

mod bind;
mod channel;
mod close;
mod deliver;
mod fifo;
mod pirq;
mod poll;
mod ports;
mod setup;
mod status;
mod table;
#[cfg(test)]
mod tests;
mod two_level;
mod upcall;
mod virq;
mod words;

pub use bind::{BindInterdomainError, BindIpiError, BindVcpuError, bind_interdomain, bind_ipi, bind_vcpu};
pub use channel::{Binding, Priority};
pub use close::{NotOpen, Progress, ResetError, Turn, close, close_some, reset};
pub use deliver::{NoSuchPort, SendError, Sent, raise, send, unmask};
pub use pirq::{BindPirqError, Pirq, bind_pirq};
pub use poll::{PollStart, start_poll, stop_poll};
pub use ports::{DEFAULT_LIMIT, NoPort, Ports, allocate_service, allocate_unbound};
pub use setup::{
    ExpandArrayError, InitControlError, SetPriorityError, expand_array, init_control, set_priority,
};
pub use status::Status;
pub use upcall::{Endpoint, Upcalls, is_marked};
pub use virq::{BindVirqError, Virq, bind_virq, raise_virq};
