//! Guests that write what they like where they like: they lose their own events, and nobody else anything.

use alloc::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::guest::{FifoKernel, TwoLevelKernel};
use super::world::{Domain, World, v};
use crate::event::{Endpoint, bind_ipi, unmask};
use crate::machine::{MachineMemory, Width};
use crate::number::{MachineAddr, Port};
use crate::testing::{FlatMemory, Random};

#[test]
fn a_guest_that_scribbles_over_words_and_control_blocks_harms_only_itself() {
    for seed in 0..8 {
        let world = World::new(2, 2, Width::Bits64);
        let (evil, good) = (&*world.domains[0], &*world.domains[1]);
        let evil_kernel = FifoKernel::start(evil);
        let mut good_kernel = FifoKernel::start(good);
        let ends: std::vec::Vec<_> = (0..10).map(|_| world.channel(evil, good)).collect();
        good_kernel.upcall(v(0));
        let mut random = Random::new(seed);
        for _ in 0..300 {
            let (from, to) = *random.pick(&ends);
            let word = evil_kernel.word_at(Port::new(random.below(20) as u32));
            evil.memory.write(word, &(random.next() as u32).to_le_bytes());
            let control = evil_kernel.control_at(v(random.below(2) as u32)).raw() + 4 * random.below(18);
            evil.memory
                .write(MachineAddr::new(control), &(random.next() as u32).to_le_bytes());
            world.send(good, to).unwrap();
            let _ = unmask(evil, from);
            world.send(evil, from).unwrap();
            assert_eq!(good_kernel.upcall(v(0)), [to], "seed {seed}");
        }
        for (from, _) in ends {
            world.close(evil, from).unwrap();
        }
        assert_eq!(evil.ports().lock().open(), 0);
    }
}

#[test]
fn a_guest_that_sets_its_own_pending_and_upcall_bits_misses_edges_and_no_more() {
    let (world, a, b) = World::pair();
    let (from, to) = world.channel(&a, &b);
    let kernel = TwoLevelKernel(&b);
    kernel.upcall(v(0));
    b.told();
    kernel.pending().set(to.raw());
    world.send(&a, from).unwrap();
    assert_eq!(b.told(), [], "it said that it knew already");
    kernel.pending().clear(to.raw());
    world.send(&a, from).unwrap();
    assert_eq!(kernel.upcall(v(0)), [to]);
}

/// Memory in which one word changes under the hand of whoever tries to replace it.
struct Restless {
    inner: FlatMemory,
    word: AtomicU32,
    armed: AtomicBool,
    tries: AtomicU32,
}

impl MachineMemory for Restless {
    fn read(&self, at: MachineAddr, into: &mut [u8]) {
        self.inner.read(at, into);
    }
    fn write(&self, at: MachineAddr, from: &[u8]) {
        self.inner.write(at, from);
    }
    fn fetch_or(&self, at: MachineAddr, bits: u64) -> u64 {
        self.inner.fetch_or(at, bits)
    }
    fn fetch_and(&self, at: MachineAddr, bits: u64) -> u64 {
        self.inner.fetch_and(at, bits)
    }
    fn compare_exchange(&self, at: MachineAddr, old: u64, new: u64) -> Result<u64, u64> {
        self.inner.compare_exchange(at, old, new)
    }
    fn compare_exchange_32(&self, at: MachineAddr, old: u32, new: u32) -> Result<u32, u32> {
        if self.armed.load(Ordering::Relaxed) && at.raw() as u32 == self.word.load(Ordering::Relaxed) {
            self.tries.fetch_add(1, Ordering::Relaxed);
            // The guest masks and unmasks the tail all the time, whatever BUSY says.
            self.inner.write(at, &(old ^ 1 << 30).to_le_bytes());
        }
        self.inner.compare_exchange_32(at, old, new)
    }
    fn zero(&self, at: MachineAddr, bytes: u64) {
        self.inner.zero(at, bytes);
    }
    fn copy(&self, from: MachineAddr, to: MachineAddr, bytes: u64) {
        self.inner.copy(from, to, bytes);
    }
}

#[test]
fn a_guest_that_never_leaves_the_tail_alone_cannot_hold_up_its_sender() {
    let restless = Arc::new(Restless {
        inner: FlatMemory::new(4 << 20),
        word: AtomicU32::new(0),
        armed: AtomicBool::new(false),
        tries: AtomicU32::new(0),
    });
    let world = World::in_memory(restless.clone(), 1, 1, Width::Bits64, 1024);
    let a: &Domain = &world.domains[0];
    let mut kernel = FifoKernel::start(a);
    let (tail, next) = (bind_ipi(a, v(0)).unwrap(), bind_ipi(a, v(0)).unwrap());
    world.send(a, tail).unwrap();
    restless
        .word
        .store(kernel.word_at(tail).raw() as u32, Ordering::Relaxed);
    restless.armed.store(true, Ordering::Relaxed);
    world.send(a, next).unwrap();
    assert_eq!(restless.tries.load(Ordering::Relaxed), 5);
    assert_eq!(kernel.word(tail) & 1 << 28, 0, "BUSY is taken back");
    restless.armed.store(false, Ordering::Relaxed);
    // The event that could not be linked waits for the next one; the queue is whole.
    assert!(a.pending(next) && !kernel.is_linked(next));
    kernel.upcall(v(0));
    assert!(kernel.is_masked(tail));
    unmask(a, tail).unwrap();
    world.send(a, next).unwrap();
    assert_eq!(kernel.upcall(v(0)), [tail, next]);
}
