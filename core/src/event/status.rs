//! What a port is bound to, for those who may know.

use crate::number::{Port, VcpuId};

use super::channel::Binding;
use super::deliver::NoSuchPort;
use super::ports::Ports;

/// The state of one port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// What it is bound to.
    pub binding: Binding,
    /// The vcpu it notifies.
    pub vcpu: VcpuId,
}

impl Ports {
    /// The state of a port, closed ones included.
    ///
    /// # Errors
    /// When there never was such a port.
    pub fn status(&self, port: Port) -> Result<Status, NoSuchPort> {
        let channel = self.table.get(port).ok_or(NoSuchPort(port))?;
        Ok(Status {
            binding: channel.binding,
            vcpu: channel.queue.vcpu,
        })
    }
}
