//! The stacks of the boot processor, each above a page that is never mapped.
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

/// Offset of the top of the main stack within [`STACKS`], for the first instructions.
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

/// One stack and the page below it.
#[repr(C, align(4096))]
struct Stack<const BYTES: usize> {
    guard: [u8; GUARD],
    room: [u8; BYTES],
}

/// All stacks of one processor.
#[repr(C, align(4096))]
pub(crate) struct Stacks {
    main: UnsafeCell<Stack<MAIN>>,
    exceptions: UnsafeCell<[Stack<EXCEPTION>; ExceptionStack::ALL.len()]>,
}

// SAFETY: nothing in Rust reads or writes through this static; the processor uses it as its stack.
unsafe impl Sync for Stacks {}

/// The boot processor's stacks.
pub(crate) static STACKS: Stacks = Stacks {
    main: UnsafeCell::new(Stack {
        guard: [0; GUARD],
        room: [0; MAIN],
    }),
    exceptions: UnsafeCell::new(
        [const {
            Stack {
                guard: [0; GUARD],
                room: [0; EXCEPTION],
            }
        }; ExceptionStack::ALL.len()],
    ),
};

impl Stacks {
    /// Where stack `index` (0 is the main one) has its guard page, its first byte and its end.
    fn bounds(&self, index: usize) -> (usize, usize, usize) {
        let (guard, room) = match index.checked_sub(1) {
            None => (self.main.get().addr(), MAIN),
            Some(exception) => {
                let each = size_of::<Stack<EXCEPTION>>();
                (self.exceptions.get().addr() + exception * each, EXCEPTION)
            }
        };
        (guard, guard + GUARD, guard + GUARD + room)
    }

    /// The addresses of the guard pages: to be left unmapped.
    pub(crate) fn guards(&self) -> impl Iterator<Item = u64> {
        (0..=ExceptionStack::ALL.len()).map(|index| self.bounds(index).0 as u64)
    }

    /// The stack that holds `address`, if one does.
    pub(crate) fn holding(&self, address: usize) -> Option<Range<usize>> {
        (0..=ExceptionStack::ALL.len())
            .map(|index| self.bounds(index))
            .map(|(_, first, end)| first..end)
            .find(|room| room.contains(&address))
    }

    /// The initial stack pointer of an exception's stack.
    pub(crate) fn top(&self, stack: ExceptionStack) -> u64 {
        self.bounds(usize::from(stack.slot())).2 as u64
    }
}
