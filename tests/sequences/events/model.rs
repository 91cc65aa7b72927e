//! What event channels are, without any of what makes them fast or safe: ports, what they are bound to, which are
//! pending or masked, and in the FIFO way the queues that a guest has yet to empty.

use std::collections::{BTreeMap, VecDeque};

use xenvisor::abi::errno::{EACCES, EBUSY, EEXIST, EINVAL, ENOENT, ENOSYS, EOPNOTSUPP, EPERM, ESRCH};
use xenvisor::abi::xen::DOMID_SELF;

use crate::world::{DOMAINS, RAM_FRAMES, SERVICE_PORT, VCPUS};

/// Ports of a bucket.
const BUCKET: u32 = 64;
/// Sequences are too short to open more: the model has a bit of a word for each.
pub const PORTS: u32 = 64;
/// What a port has unless its guest chooses.
const MIDDLE: u8 = 7;

/// An error of Xen's, or what was asked for.
pub type Answer<T> = Result<T, i32>;

/// What a port is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum To {
    Unbound(u16),
    Peer(u16, u32),
    Virq(u32),
    Pirq(u32),
    Ipi,
    Service,
}

/// An open port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Open {
    pub to: To,
    pub vcpu: u32,
    pub priority: u8,
}

/// An event word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Word {
    pub pending: bool,
    pub masked: bool,
    pub linked: bool,
}

/// The FIFO way.
pub struct Fifo {
    pub pages: u64,
    /// Which vcpus have a control block.
    pub controls: [bool; VCPUS as usize],
    /// Ready bits of each.
    pub ready: [u32; VCPUS as usize],
    pub words: [Word; PORTS as usize],
    /// Ports that the guest has yet to take off each queue.
    pub queues: BTreeMap<(u32, u8), VecDeque<u32>>,
    /// Where the guest is in each queue: the port it takes off next, if it knows.
    pub heads: BTreeMap<(u32, u8), u32>,
    /// Ports that became pending before there was a word for them.
    unseen: u64,
}

impl Fifo {
    fn new(unseen: u64) -> Self {
        Self {
            pages: 0,
            controls: [false; VCPUS as usize],
            ready: [0; VCPUS as usize],
            words: [Word::default(); PORTS as usize],
            queues: BTreeMap::new(),
            heads: BTreeMap::new(),
            unseen,
        }
    }
}

/// A domain.
#[derive(Default)]
pub struct Domain {
    pub open: BTreeMap<u32, Open>,
    pub valid: u32,
    /// Words of the shared page in the 2-level way.
    pub pending: u64,
    pub masked: u64,
    /// Ports a word of pending bits is made of.
    word_bits: u32,
    /// Selected words, for each vcpu.
    pub selected: [u64; VCPUS as usize],
    /// The upcall flag of each vcpu.
    pub upcall: [bool; VCPUS as usize],
    pub fifo: Option<Fifo>,
}

impl Domain {
    fn new(word_bits: u32) -> Self {
        let service = Open {
            to: To::Service,
            vcpu: 0,
            priority: MIDDLE,
        };
        Self {
            open: BTreeMap::from([(SERVICE_PORT, service)]),
            valid: BUCKET,
            word_bits,
            ..Self::default()
        }
    }

    fn lowest_free(&self) -> u32 {
        let busy = |port: u32| match &self.fifo {
            Some(fifo) => fifo.pages > 0 && fifo.words[port as usize].linked,
            None => false,
        };
        let free = |port: &u32| !self.open.contains_key(port) && !busy(*port);
        (1..PORTS).find(free).unwrap()
    }

    fn open(&mut self, to: To, vcpu: u32) -> u32 {
        let port = self.lowest_free();
        let priority = MIDDLE;
        self.open.insert(port, Open { to, vcpu, priority });
        port
    }

    fn get(&self, port: u32) -> Answer<Open> {
        self.open.get(&port).copied().ok_or(EINVAL)
    }

    fn is_valid(&self, port: u32) -> Answer<()> {
        if port < self.valid { Ok(()) } else { Err(EINVAL) }
    }

    /// Whether an open port is pending.
    pub fn is_pending(&self, port: u32) -> bool {
        match &self.fifo {
            None => self.pending >> port & 1 != 0,
            Some(fifo) => fifo.words[port as usize].pending,
        }
    }

    pub fn set_pending(&mut self, port: u32) {
        let Some(fifo) = &mut self.fifo else {
            let news = self.pending >> port & 1 == 0;
            self.pending |= 1 << port;
            if news && self.masked >> port & 1 == 0 {
                self.select(port);
            }
            return;
        };
        if fifo.pages == 0 {
            fifo.unseen |= 1 << port;
            return;
        }
        fifo.words[port as usize].pending = true;
        self.link(port);
    }

    fn select(&mut self, port: u32) {
        let vcpu = self.open[&port].vcpu as usize;
        let bit = 1 << (port / self.word_bits);
        if self.selected[vcpu] & bit == 0 {
            self.selected[vcpu] |= bit;
            self.upcall[vcpu] = true;
        }
    }

    /// Puts a pending port on its queue, if it is to be there and is on none.
    fn link(&mut self, port: u32) {
        let Open { vcpu, priority, .. } = self.open[&port];
        let Some(fifo) = &mut self.fifo else { return };
        let word = &mut fifo.words[port as usize];
        if word.masked || word.linked || !fifo.controls[vcpu as usize] {
            return;
        }
        word.linked = true;
        let queue = fifo.queues.entry((vcpu, priority)).or_default();
        queue.push_back(port);
        let ready = &mut fifo.ready[vcpu as usize];
        if queue.len() == 1 && *ready >> priority & 1 == 0 {
            *ready |= 1 << priority;
            self.upcall[vcpu as usize] = true;
        }
    }

    fn forget(&mut self, port: u32) {
        match &mut self.fifo {
            None => self.pending &= !(1 << port),
            Some(fifo) => {
                fifo.unseen &= !(1 << port);
                fifo.words[port as usize].pending = false;
            }
        }
    }

    pub fn unmask(&mut self, port: u32) -> Answer<()> {
        self.is_valid(port)?;
        if !self.open.contains_key(&port) {
            return Ok(());
        }
        match &mut self.fifo {
            None => {
                let was = self.masked >> port & 1 != 0;
                self.masked &= !(1 << port);
                if was && self.pending >> port & 1 != 0 {
                    self.select(port);
                }
            }
            Some(fifo) if fifo.pages > 0 => {
                fifo.words[port as usize].masked = false;
                if fifo.words[port as usize].pending {
                    self.link(port);
                }
            }
            Some(_) => {}
        }
        Ok(())
    }

    pub fn virq(&mut self, virq: u32, vcpu: u32) -> Answer<u32> {
        let global = ![0, 1, 7, 13].contains(&virq);
        if virq >= 24 || global && vcpu != 0 {
            return Err(EINVAL);
        }
        if vcpu >= VCPUS {
            return Err(ENOENT);
        }
        if self.virq_port(virq, vcpu).is_some() {
            return Err(EEXIST);
        }
        Ok(self.open(To::Virq(virq), vcpu))
    }

    /// The port a virtual interrupt of a vcpu is bound to. A global one may have been moved.
    pub fn virq_port(&self, virq: u32, vcpu: u32) -> Option<u32> {
        let global = ![0, 1, 7, 13].contains(&virq);
        let bound = |open: &Open| open.to == To::Virq(virq) && (global || open.vcpu == vcpu);
        self.open
            .iter()
            .find(|(_, open)| bound(open))
            .map(|(port, _)| *port)
    }

    pub fn ipi(&mut self, vcpu: u32) -> Answer<u32> {
        if vcpu >= VCPUS {
            return Err(ENOENT);
        }
        Ok(self.open(To::Ipi, vcpu))
    }

    pub fn pirq(&mut self, pirq: u32) -> Answer<u32> {
        if pirq >= 56 {
            return Err(EINVAL);
        }
        if self.open.values().any(|open| open.to == To::Pirq(pirq)) {
            return Err(EEXIST);
        }
        Ok(self.open(To::Pirq(pirq), 0))
    }

    pub fn bind_vcpu(&mut self, port: u32, vcpu: u32) -> Answer<()> {
        if vcpu >= VCPUS {
            return Err(ENOENT);
        }
        let fixed = match self.get(port)?.to {
            To::Ipi => true,
            To::Virq(virq) => [0, 1, 7, 13].contains(&virq),
            _ => false,
        };
        if fixed {
            return Err(EINVAL);
        }
        self.open.entry(port).and_modify(|open| open.vcpu = vcpu);
        Ok(())
    }

    pub fn init_control(&mut self, vcpu: u32, gfn: u64, offset: u32) -> Answer<()> {
        if vcpu >= VCPUS {
            return Err(ENOENT);
        }
        if offset > 4096 - 72 || !offset.is_multiple_of(8) || gfn >= RAM_FRAMES {
            return Err(EINVAL);
        }
        if self.fifo.is_none() {
            // All that is pending is carried over.
            self.fifo = Some(Fifo::new(core::mem::take(&mut self.pending)));
        }
        match &mut self.fifo {
            Some(fifo) if !fifo.controls[vcpu as usize] => {
                fifo.controls[vcpu as usize] = true;
                Ok(())
            }
            _ => Err(EINVAL),
        }
    }

    pub fn expand(&mut self, gfn: u64) -> Answer<()> {
        let Some(fifo) = &mut self.fifo else {
            return Err(EOPNOTSUPP);
        };
        if gfn >= RAM_FRAMES {
            return Err(EINVAL);
        }
        fifo.pages += 1;
        let unseen = if fifo.pages == 1 {
            core::mem::take(&mut fifo.unseen)
        } else {
            0
        };
        for port in (0..PORTS).filter(|port| unseen >> port & 1 != 0) {
            self.set_pending(port);
        }
        Ok(())
    }

    pub fn set_priority(&mut self, port: u32, priority: u32) -> Answer<()> {
        self.is_valid(port)?;
        if self.fifo.is_none() {
            return Err(ENOSYS);
        }
        let open = self.open.get_mut(&port).ok_or(EACCES)?;
        open.priority = u8::try_from(priority)
            .ok()
            .filter(|priority| *priority < 16)
            .ok_or(EINVAL)?;
        Ok(())
    }
}

/// The world.
#[derive(Default)]
pub struct Model {
    domains: BTreeMap<u16, Domain>,
}

impl Model {
    pub fn create(&mut self, n: u16, word_bits: u32) {
        self.domains.insert(n, Domain::new(word_bits));
    }

    pub fn destroy(&mut self, n: u16) {
        self.domains.remove(&n);
        for domain in self.domains.values_mut() {
            for open in domain.open.values_mut() {
                if matches!(open.to, To::Peer(remote, _) if remote == n) {
                    open.to = To::Unbound(n);
                }
            }
        }
    }

    pub fn get(&mut self, n: u16) -> &mut Domain {
        self.domains.get_mut(&n).unwrap()
    }

    pub fn all(&mut self) -> impl Iterator<Item = (u16, &mut Domain)> {
        self.domains.iter_mut().map(|(n, domain)| (*n, domain))
    }

    fn who(n: u16, named: u16) -> u16 {
        if named == DOMID_SELF { n } else { named }
    }

    fn find(&self, n: u16, named: u16) -> Answer<u16> {
        let id = Self::who(n, named);
        if self.domains.contains_key(&id) {
            Ok(id)
        } else {
            Err(ESRCH)
        }
    }

    pub fn offer(&mut self, n: u16, owner: u16, remote: u16) -> Answer<u32> {
        if self.find(n, owner)? != n {
            return Err(EPERM);
        }
        let remote = Self::who(n, remote);
        Ok(self.get(n).open(To::Unbound(remote), 0))
    }

    pub fn bind(&mut self, n: u16, remote: u16, port: u32) -> Answer<u32> {
        let remote = self.find(n, remote)?;
        if self.get(remote).get(port)?.to != To::Unbound(n) {
            return Err(EINVAL);
        }
        let own = self.get(n).open(To::Peer(remote, port), 0);
        self.get(remote)
            .open
            .entry(port)
            .and_modify(|open| open.to = To::Peer(n, own));
        self.get(n).set_pending(own);
        Ok(own)
    }

    pub fn send(&mut self, n: u16, port: u32) -> Answer<()> {
        match self.get(n).get(port)?.to {
            To::Peer(remote, port) => self.get(remote).set_pending(port),
            To::Ipi => self.get(n).set_pending(port),
            To::Unbound(_) | To::Service => {}
            To::Virq(_) | To::Pirq(_) => return Err(EINVAL),
        }
        Ok(())
    }

    pub fn close(&mut self, n: u16, port: u32) -> Answer<()> {
        let open = self.get(n).get(port)?;
        if let To::Peer(remote, other) = open.to {
            self.get(remote)
                .open
                .entry(other)
                .and_modify(|open| open.to = To::Unbound(n));
        }
        let domain = self.get(n);
        domain.forget(port);
        domain.open.remove(&port);
        Ok(())
    }

    /// What a domain may know of a port: of its own only, and of others' whether there ever was one.
    pub fn status(&mut self, n: u16, of: u16, port: u32) -> Answer<Option<Open>> {
        let of = self.find(n, of)?;
        self.get(of).is_valid(port)?;
        if of != n {
            return Err(EPERM);
        }
        Ok(self.get(n).get(port).ok())
    }

    pub fn reset(&mut self, n: u16, of: u16) -> Answer<()> {
        if self.find(n, of)? != n {
            return Err(EPERM);
        }
        for port in 0..PORTS {
            // One that is not open is as it should be.
            let _ = self.close(n, port);
        }
        let domain = self.get(n);
        if domain.fifo.take().is_some() {
            domain.pending = 0;
        }
        Ok(())
    }

    /// Only a reset that is under way can go on, and each ends before its guest makes another call.
    pub fn go_on(&mut self, n: u16, of: u16) -> Answer<()> {
        if self.find(n, of)? != n {
            return Err(EPERM);
        }
        Err(EBUSY)
    }
}

const _: () = assert!(DOMAINS == 3 && VCPUS == 2, "domain 3 is the 32-bit one");
