//! The pcpus of the simulated machine: a thread each, of which one runs at a time.
//!
//! Each pcpu has a clock of its own. Whoever runs lets another go on wherever a guest is between two actions, a pcpu
//! sleeps, or one waits for another: always the one whose clock is furthest behind. So what the pcpus do is spread over
//! simulated time as on hardware, and the seed that decides how long each step takes decides the whole order.
//!
//! For tests of races with real threads, [`Pcpus::let_loose`] lets all of them run at once: then there is one clock for
//! all, and no two runs are the same.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use xenvisor_core::clock::Instant;

thread_local! {
    /// Which pcpu this thread plays. Every thread that nobody made one is the first.
    static ME: Cell<usize> = const { Cell::new(0) };
}

/// How long a pcpu waits at once for another, about.
const RELAX_NS: u64 = 200;

/// What a pcpu is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doing {
    /// It goes on when its clock is furthest behind.
    Something,
    /// It sleeps until then, or until it is kicked.
    Sleep(u64),
    /// Its thread has ended, or has not begun.
    Nothing,
}

struct Pcpu {
    clock: AtomicU64,
    kicked: AtomicBool,
    /// When the kick came.
    kicked_at: AtomicU64,
    turn: Condvar,
}

struct State {
    doing: Vec<Doing>,
    /// Whose turn it is.
    holder: usize,
    /// A thread has panicked: the others end too.
    broken: bool,
}

/// All pcpus.
pub(crate) struct Pcpus {
    pcpus: Vec<Pcpu>,
    state: Mutex<State>,
    loose: AtomicBool,
}

impl Pcpus {
    pub(crate) fn new(count: usize) -> Self {
        let count = count.max(1);
        let pcpu = |_| Pcpu {
            clock: AtomicU64::new(0),
            kicked: AtomicBool::new(false),
            kicked_at: AtomicU64::new(0),
            turn: Condvar::new(),
        };
        let mut doing = vec![Doing::Nothing; count];
        doing.fill(Doing::Nothing);
        Self {
            pcpus: (0..count).map(pcpu).collect(),
            state: Mutex::new(State {
                doing,
                holder: 0,
                broken: false,
            }),
            loose: AtomicBool::new(false),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.pcpus.len()
    }

    /// From now on, pcpus run as the threads of the workstation do.
    pub(crate) fn let_loose(&self) {
        self.loose.store(true, Ordering::Relaxed);
    }

    fn is_loose(&self) -> bool {
        self.loose.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn me(&self) -> usize {
        ME.get().min(self.pcpus.len().saturating_sub(1))
    }

    /// Whose clock counts for whom.
    fn clock_of(&self, pcpu: usize) -> Option<&AtomicU64> {
        let at = if self.is_loose() { 0 } else { pcpu };
        self.pcpus.get(at).map(|pcpu| &pcpu.clock)
    }

    pub(crate) fn now(&self) -> Instant {
        let clock = self.clock_of(self.me());
        Instant::from_ns(clock.map_or(0, |clock| clock.load(Ordering::Relaxed)))
    }

    /// Time passes on the pcpu that asks.
    pub(crate) fn pass_ns(&self, ns: u64) {
        if let Some(clock) = self.clock_of(self.me()) {
            clock.fetch_add(ns, Ordering::Relaxed);
        }
    }

    pub(crate) fn kick(&self, pcpu: u32) {
        let at = usize::try_from(pcpu).unwrap_or(usize::MAX);
        let Some(pcpu) = self.pcpus.get(at) else { return };
        pcpu.kicked_at.store(self.now().as_ns(), Ordering::Relaxed);
        pcpu.kicked.store(true, Ordering::SeqCst);
        if self.is_loose() && self.count() > 1 {
            // With the lock, so that it is not missed by one that is just going to sleep.
            let _state = self.state();
            pcpu.turn.notify_all();
        }
    }

    /// Whether the calling pcpu was kicked since this was last asked.
    pub(crate) fn takes_kick(&self) -> bool {
        let me = self.pcpus.get(self.me());
        me.is_some_and(|pcpu| pcpu.kicked.swap(false, Ordering::SeqCst))
    }

    /// Lets another go on, if one is further behind.
    pub(crate) fn give_way(&self) {
        if self.count() == 1 {
            return;
        }
        if self.is_loose() {
            return std::thread::yield_now();
        }
        let mut state = self.state();
        if state.doing.get(self.me()) == Some(&Doing::Something) {
            self.hand_over(&mut state);
            self.wait_for_turn(state);
        }
    }

    /// The calling pcpu waits for another.
    pub(crate) fn relax(&self) {
        if !self.is_loose() {
            self.pass_ns(RELAX_NS);
        }
        self.give_way();
    }

    /// The calling pcpu sleeps until then, or until it is kicked.
    pub(crate) fn sleep(&self, until: Instant) {
        let me = self.me();
        if self.is_loose() && self.count() > 1 {
            return self.sleep_loose(me, until);
        }
        if self.count() > 1 && self.takes_kick() {
            return;
        }
        let mut state = self.state();
        let alone = state.doing.iter().all(|doing| *doing == Doing::Nothing);
        if self.count() == 1 || alone {
            drop(state);
            self.wake_at(me, until.as_ns());
            return;
        }
        if let Some(doing) = state.doing.get_mut(me) {
            *doing = Doing::Sleep(until.as_ns());
        }
        self.hand_over(&mut state);
        self.wait_for_turn(state);
    }

    /// Among real threads, the one clock goes on by what guests do; and by this, if none does anything.
    fn sleep_loose(&self, me: usize, until: Instant) {
        let Some(pcpu) = self.pcpus.get(me) else { return };
        let state = self.state();
        if !pcpu.kicked.swap(false, Ordering::SeqCst) {
            let short = std::time::Duration::from_micros(200);
            let waited = pcpu.turn.wait_timeout(state, short);
            let (_state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() {
                let left = until.ns_since(self.now());
                self.pass_ns(left.min(200_000));
            }
            pcpu.kicked.store(false, Ordering::SeqCst);
        }
    }

    fn wake_at(&self, pcpu: usize, ns: u64) {
        if let Some(clock) = self.clock_of(pcpu) {
            clock.fetch_max(ns, Ordering::Relaxed);
        }
    }

    /// When a pcpu goes on, by its own clock.
    fn goes_on_at(&self, state: &State, at: usize) -> Option<u64> {
        let pcpu = self.pcpus.get(at)?;
        let clock = pcpu.clock.load(Ordering::Relaxed);
        match *state.doing.get(at)? {
            Doing::Nothing => None,
            Doing::Something => Some(clock),
            Doing::Sleep(_) if pcpu.kicked.load(Ordering::SeqCst) => {
                Some(clock.max(pcpu.kicked_at.load(Ordering::Relaxed)))
            }
            Doing::Sleep(until) => Some(clock.max(until)),
        }
    }

    /// Gives the turn to the pcpu that is furthest behind.
    fn hand_over(&self, state: &mut State) {
        let all = 0..self.count();
        let next = all.filter_map(|at| Some((self.goes_on_at(state, at)?, at))).min();
        let Some((when, next)) = next else { return };
        if let Some(doing @ Doing::Sleep(_)) = state.doing.get_mut(next) {
            *doing = Doing::Something;
            self.wake_at(next, when);
            if let Some(pcpu) = self.pcpus.get(next) {
                pcpu.kicked.store(false, Ordering::SeqCst);
            }
        }
        state.holder = next;
        if let Some(pcpu) = self.pcpus.get(next) {
            pcpu.turn.notify_all();
        }
    }

    fn wait_for_turn(&self, mut state: MutexGuard<'_, State>) {
        let me = self.me();
        let Some(pcpu) = self.pcpus.get(me) else { return };
        while state.holder != me && !state.broken {
            state = pcpu.turn.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.broken {
            drop(state);
            Self::end_with_the_others();
        }
    }

    #[allow(
        clippy::panic,
        reason = "another thread of the same test has panicked already"
    )]
    fn end_with_the_others() {
        if !std::thread::panicking() {
            panic!("another pcpu has failed");
        }
    }

    /// Runs one function on every pcpu but the first, and another on this thread, which is the first.
    pub(crate) fn run_on_all(&self, others: &(dyn Fn(u32) + Sync), first: &mut dyn FnMut()) {
        self.state().doing.fill(Doing::Something);
        std::thread::scope(|scope| {
            for (at, number) in (1..self.count()).zip(1..) {
                scope.spawn(move || {
                    ME.set(at);
                    let leaving = Leaving(self);
                    if !self.is_loose() {
                        self.wait_for_turn(self.state());
                    }
                    others(number);
                    drop(leaving);
                });
            }
            let leaving = Leaving(self);
            first();
            drop(leaving);
        });
        // What is done on this thread from now on comes after all that.
        let clocks = self.pcpus.iter().map(|pcpu| pcpu.clock.load(Ordering::Relaxed));
        self.wake_at(0, clocks.max().unwrap_or(0));
        self.state().holder = 0;
    }
}

/// A thread that is done, or that panics, lets the others go on.
struct Leaving<'a>(&'a Pcpus);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if let Some(doing) = state.doing.get_mut(self.0.me()) {
            *doing = Doing::Nothing;
        }
        if std::thread::panicking() {
            state.broken = true;
            self.0.pcpus.iter().for_each(|pcpu| pcpu.turn.notify_all());
        }
        self.0.hand_over(&mut state);
    }
}
