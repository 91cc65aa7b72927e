//! Copies: what both ends are, then whether the bytes are within them.

use xenvisor::abi::grant_table as abi;
use xenvisor::abi::xen::DOMID_SELF;

use super::{Backing, GENERAL, Model, Purpose, What};

/// One end of a copy.
#[derive(Clone, Copy, Debug)]
pub enum End {
    Own { place: usize, domain: u16 },
    Granted { domain: u16, reference: u32 },
}

/// The use of an end of a copy; the offers that are pinned for it, in the order of their release.
struct Held {
    frame: usize,
    from: u32,
    to: u32,
    pins: Vec<(u16, u32)>,
}

impl Model {
    /// The domain that an end of a copy belongs to.
    fn owner(&mut self, n: u16, end: End) -> Result<u16, i16> {
        let (End::Own { domain, .. } | End::Granted { domain, .. }) = end;
        let domain = if domain == DOMID_SELF { n } else { domain };
        self.is_there(domain)
            .then_some(domain)
            .ok_or(abi::GNTST_bad_domain)
    }

    fn hold(&mut self, n: u16, owner: u16, end: End, write: bool) -> Result<Held, i16> {
        match end {
            End::Own { domain, .. } if domain != DOMID_SELF => Err(abi::GNTST_permission_denied),
            End::Own { place, .. } => match self.backing(n, place) {
                Backing::Memory { frame } => Ok(whole(frame)),
                Backing::Grant { frame, write: may } if may || !write => Ok(whole(frame)),
                _ => Err(abi::GNTST_bad_page),
            },
            End::Granted { reference, .. } => {
                let mut pins = vec![(owner, reference)];
                let onward = match self.pin(owner, reference, n, write, Purpose::Copy)? {
                    What::Frame { frame, from, to } => {
                        return Ok(Held {
                            frame,
                            from,
                            to,
                            pins,
                        });
                    }
                    What::Onward { via, reference } => (via, reference),
                };
                let inner = if self.is_there(onward.0) {
                    self.pin(onward.0, onward.1, owner, write, Purpose::PassOn)
                } else {
                    Err(GENERAL)
                };
                match inner {
                    Ok(What::Frame { frame, from, to }) => {
                        pins.insert(0, onward);
                        Ok(Held {
                            frame,
                            from,
                            to,
                            pins,
                        })
                    }
                    Ok(What::Onward { .. }) => panic!("not for passing on"),
                    Err(status) => {
                        self.domain(owner).unpin(reference, write);
                        Err(status)
                    }
                }
            }
        }
    }

    fn let_go(&mut self, held: &Held, write: bool) {
        for (domain, reference) in &held.pins {
            self.domain(*domain).unpin(*reference, write);
        }
    }

    pub fn copy(
        &mut self,
        n: u16,
        (source, from): (End, u16),
        (destination, to): (End, u16),
        bytes: u16,
    ) -> Result<(), i16> {
        let source_owner = self.owner(n, source)?;
        let destination_owner = self.owner(n, destination)?;
        let read = self.hold(n, source_owner, source, false)?;
        let written = match self.hold(n, destination_owner, destination, true) {
            Ok(held) => held,
            Err(status) => {
                self.let_go(&read, false);
                return Err(status);
            }
        };
        self.let_go(&written, true);
        self.let_go(&read, false);
        let range = |offset: u16| (u32::from(offset), u32::from(offset) + u32::from(bytes));
        let (from, to) = (range(from), range(to));
        if from.1 > 4096 || to.1 > 4096 {
            return Err(abi::GNTST_bad_copy_arg);
        }
        let within = |held: &Held, range: (u32, u32)| held.from <= range.0 && range.1 <= held.to;
        if !within(&read, from) || !within(&written, to) {
            return Err(GENERAL);
        }
        let moved = self.frames[read.frame][from.0 as usize..from.1 as usize].to_vec();
        self.frames[written.frame][to.0 as usize..to.1 as usize].copy_from_slice(&moved);
        Ok(())
    }
}

fn whole(frame: usize) -> Held {
    Held {
        frame,
        from: 0,
        to: 4096,
        pins: Vec::new(),
    }
}
