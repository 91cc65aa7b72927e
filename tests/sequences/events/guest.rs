//! The guest's side of event delivery: what it does to the words it shares with the hypervisor, and whether they are as
//! the model says.

use xenvisor::model::domain::Domain;
use xenvisor::model::number::{MachineAddr, Port};

use super::model::{self, Fifo, PORTS};
use crate::world::{VCPUS, World};

/// Guest frames of the control blocks of vcpus 0 and 1, and of the first pages of event words.
pub const CONTROL: u64 = 4;
pub const WORDS: u64 = 8;

const PENDING: u32 = 1 << 31;
const MASKED: u32 = 1 << 30;
const LINKED: u32 = 1 << 29;
const LINK: u32 = (1 << 17) - 1;

/// Words of a domain that lie in its shared page.
struct Shared<'a> {
    world: &'a World,
    page: u64,
    wide: bool,
}

impl<'a> Shared<'a> {
    fn new(world: &'a World, domain: &Domain) -> Self {
        let page = domain.shared_info.mfn().address().unwrap().raw();
        let wide = domain.is_wide();
        Self { world, page, wide }
    }

    fn get(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        let memory = self.world.hypervisor.machine.memory();
        memory.read(MachineAddr::new(self.page + at), &mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn set(&self, at: u64, bytes: &[u8]) {
        let memory = self.world.hypervisor.machine.memory();
        memory.write(MachineAddr::new(self.page + at), bytes);
    }

    const fn mask_at(&self) -> u64 {
        if self.wide { 2048 + 512 } else { 2048 + 128 }
    }

    /// The first 64 pending bits, whatever words they are in.
    fn pending(&self) -> u64 {
        self.get(2048)
    }

    fn masked(&self) -> u64 {
        self.get(self.mask_at())
    }

    fn selected(&self, vcpu: u32) -> u64 {
        let info = u64::from(vcpu) * 64;
        if self.wide {
            self.get(info + 8)
        } else {
            self.get(info) >> 32
        }
    }

    fn upcall(&self, vcpu: u32) -> bool {
        self.get(u64::from(vcpu) * 64) & 0xff != 0
    }

    /// What a kernel does first when it is called up.
    fn take_upcall(&self, vcpu: u32) {
        self.set(u64::from(vcpu) * 64, &[0]);
    }

    fn take_selected(&self, vcpu: u32) {
        let info = u64::from(vcpu) * 64;
        if self.wide {
            self.set(info + 8, &[0; 8]);
        } else {
            self.set(info + 4, &[0; 4]);
        }
    }
}

const fn word_at(port: u32) -> u64 {
    (WORDS << 12) + port as u64 * 4
}

/// A control block: ready bits, a reserved word, 16 heads.
fn control(world: &World, n: u16, vcpu: u32) -> [u32; 18] {
    world.get(n, (CONTROL + u64::from(vcpu)) << 12)
}

/// The guest masks a port.
pub fn mask(world: &World, model: &mut model::Domain, n: u16, port: u32) {
    match &mut model.fifo {
        None => {
            model.masked |= 1 << port;
            let shared = Shared::new(world, &world.domain(n).unwrap());
            shared.set(shared.mask_at(), &model.masked.to_le_bytes());
        }
        Some(fifo) if fifo.pages > 0 => {
            fifo.words[port as usize].masked = true;
            let word: u32 = world.get(n, word_at(port));
            world.put(n, word_at(port), &(word | MASKED));
        }
        Some(_) => {}
    }
}

/// The guest is called up on a vcpu: in the 2-level way it handles all that is selected, in the FIFO way one event.
pub fn handle(world: &World, model: &mut model::Domain, n: u16, vcpu: u32) {
    let shared = Shared::new(world, &world.domain(n).unwrap());
    shared.take_upcall(vcpu);
    model.upcall[vcpu as usize] = false;
    if let Some(fifo) = &mut model.fifo {
        take_one(world, fifo, n, vcpu);
        return;
    }
    shared.take_selected(vcpu);
    model.selected[vcpu as usize] = 0;
    // Every word is looked at: which ones were selected has been compared already.
    model.pending &= model.masked;
    shared.set(2048, &model.pending.to_le_bytes());
}

/// The guest takes one port off the first queue that is ready, and handles its event.
fn take_one(world: &World, fifo: &mut Fifo, n: u16, vcpu: u32) {
    if !fifo.controls[vcpu as usize] || fifo.pages == 0 {
        return;
    }
    let block = control(world, n, vcpu);
    let priority = block[0].trailing_zeros();
    if priority >= 16 {
        return;
    }
    let name = (vcpu, u8::try_from(priority).unwrap());
    let known = fifo.heads.get(&name).copied().unwrap_or(0);
    let port = if known == 0 {
        block[2 + priority as usize]
    } else {
        known
    };
    let expected = fifo.queues.get_mut(&name).and_then(|queue| queue.pop_front());
    assert_eq!(Some(port), expected, "the head of queue {name:?} of domain {n}");
    let mut word: u32 = world.get(n, word_at(port));
    let next = word & LINK;
    word &= !(LINKED | LINK);
    let entry = &mut fifo.words[port as usize];
    entry.linked = false;
    if !entry.masked {
        entry.pending = false;
        word &= !PENDING;
    }
    world.put(n, word_at(port), &word);
    fifo.heads.insert(name, next);
    if next == 0 {
        let ready = block[0] & !(1 << priority);
        fifo.ready[vcpu as usize] = ready;
        world.put(n, (CONTROL + u64::from(vcpu)) << 12, &ready);
    }
}

/// Zeroes a page before it is given to the hypervisor, as a kernel does.
pub fn clear_page(world: &World, n: u16, gfn: u64) {
    world.put(n, gfn << 12, &[0_u8; 4096]);
}

/// Fails unless everything that a domain shares with the hypervisor is as the model says.
pub fn compare(world: &World, model: &model::Domain, n: u16) {
    let domain = world.domain(n).unwrap();
    let shared = Shared::new(world, &domain);
    for vcpu in 0..VCPUS {
        let upcall = (shared.upcall(vcpu), model.upcall[vcpu as usize]);
        assert_eq!(upcall.0, upcall.1, "upcall flag of vcpu {vcpu} of domain {n}");
        let selected = (shared.selected(vcpu), model.selected[vcpu as usize]);
        assert_eq!(selected.0, selected.1, "selector of vcpu {vcpu} of domain {n}");
    }
    assert_eq!(shared.pending(), model.pending, "pending bits of domain {n}");
    assert_eq!(shared.masked(), model.masked, "mask bits of domain {n}");
    {
        let ports = domain.ports.lock();
        assert_eq!(
            ports.open() as usize,
            model.open.len(),
            "open ports of domain {n}"
        );
        assert_eq!(ports.is_fifo(), model.fifo.is_some(), "the way of domain {n}");
        for port in model.open.keys() {
            let pending = ports.is_pending(&*domain, Port::new(*port));
            assert_eq!(pending, model.is_pending(*port), "port {port} of domain {n}");
        }
    }
    if let Some(fifo) = &model.fifo {
        compare_queues(world, fifo, n);
    }
}

fn compare_queues(world: &World, fifo: &Fifo, n: u16) {
    if fifo.pages == 0 {
        return;
    }
    let words: [u32; PORTS as usize] = world.get(n, WORDS << 12);
    for (port, (word, expected)) in words.iter().zip(&fifo.words).enumerate() {
        let is = model::Word {
            pending: word & PENDING != 0,
            masked: word & MASKED != 0,
            linked: word & LINKED != 0,
        };
        assert_eq!(is, *expected, "event word of port {port} of domain {n}");
    }
    for vcpu in 0..VCPUS {
        if !fifo.controls[vcpu as usize] {
            continue;
        }
        let block = control(world, n, vcpu);
        assert_eq!(block[0], fifo.ready[vcpu as usize], "ready queues of vcpu {vcpu}");
        for (name, queue) in fifo.queues.range((vcpu, 0)..=(vcpu, 15)) {
            let known = fifo.heads.get(name).copied().unwrap_or(0);
            let head = if known == 0 {
                block[2 + usize::from(name.1)]
            } else {
                known
            };
            let mut at = if queue.is_empty() { 0 } else { head };
            for port in queue {
                assert_eq!(at, *port, "queue {name:?} of domain {n}: {queue:?}");
                at = words[at as usize] & LINK;
            }
            assert_eq!(at, 0, "the end of queue {name:?} of domain {n}");
        }
    }
}
