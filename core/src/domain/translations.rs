//! Who may still go by translations that are no longer true, and how to know when nobody does.
//!
//! The domain counts *generations* of its second stage: one more each time something is taken away. A vcpu says, before
//! it enters the guest, which generation it goes by, and after it has left, that it goes by none:
//!
//! ```text
//!   whoever flushes                        whoever runs a vcpu
//!   1. generation += 1                     1. inside = generation, as seen now
//!   2. for each vcpu: wait until it        2. is that still the generation? else again from 1
//!      is outside, or inside with          3. forget translations, if the last ones are of an older generation
//!      this generation or a later one      4. run the guest
//!      (kicking its pcpu)                  5. inside = none
//! ```
//!
//! Either the vcpu sees the new generation at its second step, or whoever flushes sees it inside with the old one, since
//! each writes before it reads. So when a flush is over, no pcpu uses what was mapped before, and none will: frames can
//! be given away. A flush waits for other pcpus to leave their guests, never for a lock of theirs, and whoever flushes is
//! in no guest: two flushes never wait for each other.

use core::sync::atomic::{AtomicU64, Ordering};

/// The generation of a domain's second stage.
#[derive(Debug, Default)]
pub struct Translations(AtomicU64);

/// Which generation a vcpu goes by: one more than its number, or 0 for none.
#[derive(Debug, Default)]
pub struct Inside(AtomicU64);

impl Translations {
    /// The generation now.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Something was taken away. The new generation.
    pub fn outdate(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst).wrapping_add(1)
    }

    /// A vcpu is about to enter the guest: the generation it goes by from now on. `pause` is called between any two
    /// accesses.
    pub fn enter(&self, inside: &Inside, mut pause: impl FnMut()) -> u64 {
        loop {
            let generation = self.generation();
            pause();
            inside.0.store(generation.wrapping_add(1), Ordering::SeqCst);
            pause();
            if self.generation() == generation {
                return generation;
            }
            pause();
        }
    }
}

impl Inside {
    /// The vcpu is out of the guest.
    pub fn leave(&self) {
        self.0.store(0, Ordering::SeqCst);
    }

    /// Whether it may still go by what was before this generation.
    #[must_use]
    pub fn is_behind(&self, generation: u64) -> bool {
        let word = self.0.load(Ordering::SeqCst);
        word != 0 && word <= generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::sync::Arc;
    use core::sync::atomic::AtomicBool;
    use shuttle::thread;
    use std::vec::Vec;

    /// A frame that is mapped at first. A vcpu that is inside uses it whenever its cached translation says so; once it
    /// is given away, nobody may.
    #[derive(Default)]
    struct World {
        translations: Translations,
        inside: [Inside; 2],
        /// The entry of the second stage.
        unmapped: AtomicBool,
        given_away: AtomicBool,
    }

    fn run_a_vcpu(world: &World, inside: &Inside) {
        // Cached before anything began.
        let (mut flushed, mut cached) = (0, true);
        for _ in 0..2 {
            let generation = world.translations.enter(inside, thread::yield_now);
            if generation != flushed {
                cached = !world.unmapped.load(Ordering::SeqCst);
                flushed = generation;
            }
            thread::yield_now();
            if cached {
                assert!(
                    !world.given_away.load(Ordering::SeqCst),
                    "a frame of somebody else's is used"
                );
            }
            thread::yield_now();
            inside.leave();
        }
    }

    fn flush(world: &World) {
        world.unmapped.store(true, Ordering::SeqCst);
        thread::yield_now();
        let generation = world.translations.outdate();
        for inside in &world.inside {
            while inside.is_behind(generation) {
                thread::yield_now();
            }
        }
        world.given_away.store(true, Ordering::SeqCst);
    }

    #[test]
    fn nobody_uses_a_frame_that_was_given_away_after_a_flush() {
        shuttle::check_random(
            || {
                let world = Arc::new(World::default());
                let mut running = Vec::new();
                for n in 0..2 {
                    let world = world.clone();
                    running.push(thread::spawn(move || run_a_vcpu(&world, &world.inside[n])));
                }
                flush(&world);
                running.into_iter().for_each(|vcpu| vcpu.join().unwrap());
            },
            20_000,
        );
    }

    #[test]
    fn two_that_flush_at_once_both_come_to_an_end() {
        shuttle::check_random(
            || {
                let world = Arc::new(World::default());
                let other = world.clone();
                let both = thread::spawn(move || flush(&other));
                flush(&world);
                both.join().unwrap();
            },
            1_000,
        );
    }
}
