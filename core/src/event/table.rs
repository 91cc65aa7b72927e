//! The channels of a domain by port number, in buckets, so that no channel ever moves and growing copies nothing.
//!
//! Invariant: ports below [`Table::valid`] exist, port 0 among them from the beginning, and that number never falls: a
//! port that was valid once stays so for the life of the domain, whatever is closed or reset.

use alloc::vec::Vec;

use crate::memory::room::{self, OutOfMemory};
use crate::number::Port;

use super::channel::{Binding, Channel};

/// Ports in a bucket, as many as in one of Xen's: which closed ports may be asked about shows it to guests.
pub(super) const BUCKET: u32 = 64;

/// Room for [`BUCKET`] more ports, made without any lock held.
pub(super) struct Bucket(Vec<Channel>);

impl Bucket {
    pub(super) fn new() -> Result<Self, OutOfMemory> {
        room::filled(BUCKET as usize, Channel::default).map(Self)
    }
}

/// All channels of a domain.
pub(super) struct Table {
    buckets: Vec<Bucket>,
    most: usize,
}

impl Table {
    /// A table of one bucket that will never hold more than `ports` ports, rounded up to whole buckets.
    pub(super) fn new(ports: u32) -> Result<Self, OutOfMemory> {
        let most = ports.div_ceil(BUCKET).max(1) as usize;
        let mut buckets = room::vec(most)?;
        let mut first = Bucket::new()?;
        if let Some(channel) = first.0.first_mut() {
            channel.binding = Binding::Reserved;
        }
        buckets.push(first);
        Ok(Self { buckets, most })
    }

    /// Bytes of the heap it takes.
    pub(super) fn heap_bytes(&self) -> usize {
        let names = self.buckets.capacity().saturating_mul(size_of::<Bucket>());
        let each = self.buckets.iter().map(|bucket| bucket.0.capacity());
        let channels = each.sum::<usize>().saturating_mul(size_of::<Channel>());
        names.saturating_add(channels)
    }

    /// How many ports are valid.
    pub(super) fn valid(&self) -> u32 {
        u32::try_from(self.buckets.len()).map_or(u32::MAX, |buckets| buckets.saturating_mul(BUCKET))
    }

    /// Makes [`BUCKET`] more ports valid. Gives the bucket back when the table is full.
    pub(super) fn grow(&mut self, bucket: Bucket) -> Result<(), Bucket> {
        if self.buckets.len() >= self.most {
            return Err(bucket);
        }
        // Within the capacity asked for at the beginning: nothing is allocated here.
        self.buckets.push(bucket);
        Ok(())
    }

    pub(super) fn get(&self, port: Port) -> Option<&Channel> {
        let bucket = self.buckets.get((port.raw() / BUCKET) as usize)?;
        bucket.0.get((port.raw() % BUCKET) as usize)
    }

    pub(super) fn get_mut(&mut self, port: Port) -> Option<&mut Channel> {
        let bucket = self.buckets.get_mut((port.raw() / BUCKET) as usize)?;
        bucket.0.get_mut((port.raw() % BUCKET) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_grows_by_buckets_up_to_its_limit() {
        let mut table = Table::new(BUCKET + 1).unwrap();
        assert_eq!(
            table.get(Port::new(0)).map(|channel| channel.binding),
            Some(Binding::Reserved)
        );
        assert!(table.get(Port::new(BUCKET - 1)).is_some() && table.get(Port::new(BUCKET)).is_none());
        assert!(table.grow(Bucket::new().unwrap()).is_ok());
        assert!(table.grow(Bucket::new().unwrap()).is_err());
        assert_eq!(table.valid(), 2 * BUCKET);
    }
}
