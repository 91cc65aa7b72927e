//! Invents sequences, runs them, and shortens one that fails.
//!
//! A sequence is a list of steps that does not depend on how it runs, so that any part of it is a sequence as well:
//! that is how one that fails is made short, by leaving out what does not matter.

use std::cell::Cell;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, Once};

use xenvisor::model::testing::Random;

use super::world::{DOMAINS, World};

/// How many sequences of each area are run unless the environment says otherwise.
const SEQUENCES: u64 = 100_000;
/// Steps of the shortest and the longest sequence.
const STEPS: (u64, u64) = (8, 28);
/// One in so many steps takes a domain apart or makes it anew.
const LIFE_IN: u64 = 14;
/// Sequences that one thread takes at a time.
const BATCH: u64 = 64;

/// What is tested: calls, and a model of what they do.
pub trait Area: Sized {
    /// Something a guest does.
    type Call: Clone + Debug;

    /// The model of a world in which all domains have just been made.
    fn new(world: &World) -> Self;

    /// Invents a call. It knows nothing of the world: what is possible, the call finds out.
    fn invent(random: &mut Random) -> Self::Call;

    /// Who makes the call. When that domain is not there, the step is left out.
    fn caller(call: &Self::Call) -> u16;

    /// Makes the call and fails if the answer, or what it did, is not what the model says.
    fn perform(&mut self, world: &World, call: &Self::Call);

    /// A domain has been taken apart.
    fn destroyed(&mut self, world: &World, n: u16);

    /// A domain has been made anew.
    fn created(&mut self, world: &World, n: u16);

    /// Looks at the whole, when all steps have been made.
    fn finish(&mut self, world: &World);
}

/// One step of a sequence.
#[derive(Clone, Debug)]
enum Step<C> {
    /// A call.
    Call(C),
    /// A domain is taken apart, if it is there.
    Destroy(u16),
    /// A domain is made, if it is not there.
    Create(u16),
}

/// A sequence, and in which order domains go at its end.
#[derive(Clone, Debug)]
struct Sequence<C> {
    steps: Vec<Step<C>>,
    end: Vec<u16>,
}

impl<C> Sequence<C> {
    fn invent<A: Area<Call = C>>(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let length = STEPS.0 + random.below(STEPS.1 - STEPS.0 + 1);
        let any = |random: &mut Random| *random.pick(&[1, 2, DOMAINS]);
        let steps = (0..length)
            .map(|_| match random.below(LIFE_IN * 2) {
                0 => Step::Destroy(any(&mut random)),
                1 => Step::Create(any(&mut random)),
                _ => Step::Call(A::invent(&mut random)),
            })
            .collect();
        let end = random.pick(&[[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]]);
        Self {
            steps,
            end: end.to_vec(),
        }
    }

    fn run<A: Area<Call = C>>(&self, world: &World) {
        (1..=DOMAINS).for_each(|n| world.create(n));
        let mut area = A::new(world);
        for step in &self.steps {
            match step {
                Step::Call(call) if world.domain(A::caller(call)).is_some() => area.perform(world, call),
                Step::Destroy(n) if world.domain(*n).is_some() => {
                    world.destroy(*n);
                    area.destroyed(world, *n);
                }
                Step::Create(n) if world.domain(*n).is_none() => {
                    world.create(*n);
                    area.created(world, *n);
                }
                _ => {}
            }
        }
        area.finish(world);
        world.end(&self.end);
    }
}

/// Runs sequences of an area; fails with the shortest it can find of the first that fails.
pub fn run<A: Area>() {
    let count = number("SEQUENCES").unwrap_or(SEQUENCES);
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..count,
    };
    let next = AtomicU64::new(seeds.start);
    let failed = AtomicBool::new(false);
    let failure = Mutex::new(None);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let world = World::new();
                loop {
                    let first = next.fetch_add(BATCH, Ordering::Relaxed);
                    for seed in first..seeds.end.min(first + BATCH) {
                        if failed.load(Ordering::Relaxed) {
                            return;
                        }
                        let sequence = Sequence::invent::<A>(seed);
                        if attempt(|| sequence.run::<A>(&world)).is_err() {
                            failed.store(true, Ordering::Relaxed);
                            failure.lock().unwrap().get_or_insert(seed);
                            return;
                        }
                    }
                    if first >= seeds.end {
                        return;
                    }
                }
            });
        }
    });
    if let Some(seed) = failure.into_inner().unwrap() {
        report::<A>(seed);
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.trim().replace('_', "").parse();
    Some(number.unwrap_or_else(|_| panic!("{variable} is not a number: {text:?}")))
}

/// Leaves out steps for as long as the rest fails, and prints what is left.
fn report<A: Area>(seed: u64) {
    let fails = |sequence: &Sequence<A::Call>| {
        let world = World::new();
        attempt(|| sequence.run::<A>(&world)).err()
    };
    let mut shortest = Sequence::invent::<A>(seed);
    let Some(mut why) = fails(&shortest) else {
        panic!("SEED={seed} fails, but not in a world of its own: {shortest:#?}");
    };
    let mut chunk = shortest.steps.len();
    while chunk > 0 {
        let mut at = 0;
        while at < shortest.steps.len() {
            let mut shorter = shortest.clone();
            shorter.steps.drain(at..shorter.steps.len().min(at + chunk));
            match fails(&shorter) {
                Some(still) => (shortest, why) = (shorter, still),
                None => at += chunk,
            }
        }
        chunk /= 2;
    }
    let steps: Vec<String> = shortest.steps.iter().map(|step| format!("  {step:?}")).collect();
    panic!(
        "SEED={seed} fails: {why}\nthe shortest sequence found that does, the domains ending in the order {:?}:\n{}",
        shortest.end,
        steps.join("\n")
    );
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs something that may panic; what it said then.
fn attempt(run: impl FnOnce()) -> Result<(), String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    QUIET.set(false);
    result.map_err(|said| {
        let text = said.downcast_ref::<String>().cloned();
        text.or_else(|| said.downcast_ref::<&str>().map(ToString::to_string))
            .unwrap_or_default()
    })
}
