//! The stacks of a processor, each above a page that is never mapped.
//!
//! Running off a stack's end touches its guard page, which faults; the double fault that follows (there is
//! no room left to report the first) has a stack of its own. Invariant: guard pages hold nothing, ever.

use core::cell::UnsafeCell;
use core::ops::Range;

/// Bytes in a guard page.
const GUARD: usize = 4096;
/// Bytes of the main stack: the hypervisor proper, kernel decoders included.
const MAIN: usize = 256 * 1024;
/// Bytes of a stack for one kind of exception: printing a report, no more.
const EXCEPTION: usize = 16 * 1024;

/// Offset of the top of the main stack within a processor's stacks, for the first instructions.
pub(crate) const MAIN_STACK_TOP: usize = GUARD + MAIN;

/// Exceptions that must not run on the stack they found: it may be the thing that is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ExceptionStack {
    /// Non-maskable interrupt, vector 2.
    Nmi,
    /// Double fault, vector 8.
    DoubleFault,
    /// Machine check, vector 18.
    MachineCheck,
}

impl ExceptionStack {
    /// All of them, in the order of their stacks.
    pub(crate) const ALL: [Self; 3] = [Self::Nmi, Self::DoubleFault, Self::MachineCheck];

    /// The exception's vector.
    pub(crate) const fn vector(self) -> u64 {
        match self {
            Self::Nmi => 2,
            Self::DoubleFault => 8,
            Self::MachineCheck => 18,
        }
    }

    /// Which interrupt-stack-table slot (1–7) the descriptor names.
    pub(crate) const fn slot(self) -> u8 {
        match self {
            Self::Nmi => 1,
            Self::DoubleFault => 2,
            Self::MachineCheck => 3,
        }
    }
}

/// Room for all stacks of one processor: the main one, then those for exceptions, each above its guard page.
#[repr(C, align(4096))]
pub(crate) struct Room(UnsafeCell<[u8; Stacks::BYTES]>);

// SAFETY: nothing in Rust reads or writes through this static; the processor uses it as its stack.
unsafe impl Sync for Room {}

/// The boot processor's, part of the image.
pub(crate) static BOOT_ROOM: Room = Room(UnsafeCell::new([0; Stacks::BYTES]));

/// Where the stacks of one processor lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stacks {
    /// The first address; without it, those of the boot processor.
    start: Option<usize>,
}

impl Stacks {
    /// Bytes of all of them, guard pages included.
    pub(crate) const BYTES: usize = GUARD + MAIN + ExceptionStack::ALL.len() * (GUARD + EXCEPTION);
    /// The boot processor's.
    pub(crate) const OF_BOOT_PROCESSOR: Self = Self { start: None };

    /// Stacks in [`Stacks::BYTES`] bytes from `start` on.
    pub(crate) const fn at(start: usize) -> Self {
        Self { start: Some(start) }
    }

    /// Where stack `index` (0 is the main one) has its guard page, its first byte and its end.
    fn bounds(&self, index: usize) -> (usize, usize, usize) {
        let start = self.start.unwrap_or_else(|| BOOT_ROOM.0.get().addr());
        let (guard, room) = match index.checked_sub(1) {
            None => (start, MAIN),
            Some(exception) => (start + GUARD + MAIN + exception * (GUARD + EXCEPTION), EXCEPTION),
        };
        (guard, guard + GUARD, guard + GUARD + room)
    }

    /// The parts that are memory: addresses from the first byte of each stack to its end.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = Range<usize>> {
        (0..=ExceptionStack::ALL.len())
            .map(|index| self.bounds(index))
            .map(|(_, first, end)| first..end)
    }

    /// The addresses of the guard pages: to be left unmapped.
    pub(crate) fn guards(&self) -> impl Iterator<Item = u64> {
        (0..=ExceptionStack::ALL.len()).map(|index| self.bounds(index).0 as u64)
    }

    /// The stack that holds `address`, if one does.
    pub(crate) fn holding(&self, address: usize) -> Option<Range<usize>> {
        self.rooms().find(|room| room.contains(&address))
    }

    /// The initial stack pointer of the main stack.
    pub(crate) fn main_top(&self) -> u64 {
        self.bounds(0).2 as u64
    }

    /// The initial stack pointer of an exception's stack.
    pub(crate) fn top(&self, stack: ExceptionStack) -> u64 {
        self.bounds(usize::from(stack.slot())).2 as u64
    }
}
