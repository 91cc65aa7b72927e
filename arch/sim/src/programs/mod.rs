//! The programs that simulated guests run, by name.

mod intruder;
mod linux;
mod ping;

use std::collections::BTreeMap;

use crate::guest::{Ending, Handler, SimGuest, handler};

/// Programs by name.
#[derive(Clone, Default)]
pub struct Programs(BTreeMap<&'static str, Handler>);

impl Programs {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Those that come with the simulator: `linux`, `ping` and `pong`, `intruder` and `neighbour`.
    #[must_use]
    pub fn standard() -> Self {
        let mut programs = Self::new();
        programs.add("linux", linux::run);
        programs.add("intruder", intruder::intruder);
        programs.add("neighbour", intruder::neighbour);
        programs.add("ping", ping::ping);
        programs.add("pong", ping::pong);
        programs
    }

    /// One more program, an asynchronous function; a second one of the same name replaces the first.
    pub fn add<F>(&mut self, name: &'static str, code: impl Fn(SimGuest) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Ending> + Send + 'static,
    {
        self.0.insert(name, handler(code));
    }

    /// The program of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Handler> {
        self.0.get(name)
    }

    /// All their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }
}
