//! Whose extended state is in the processor, and how it changes hands.
//!
//! What a guest leaves in x87, SSE and AVX registers, XCR0, breakpoint addresses and TSC_AUX stays there from exit to
//! entry, since the host touches none of it; it moves to memory when another vcpu comes. Invariant: a state is either
//! in its area or in the one processor that has it as `now`. Nothing of one guest is left for another: a state that
//! comes in overwrites all of it.

use alloc::sync::Arc;

use spin::Mutex;
use x86::controlregs::{Xcr0, xcr0 as xcr0_read, xcr0_write};
use x86::msr::wrmsr;
use xenvisor_core::domain::footprint::Cost;
use xenvisor_core::memory::room::OutOfMemory;

use super::extended_state::{Area, INITIAL_XCR0, Kept, KeptRegisters};
use super::instructions;

const TSC_AUX: u32 = 0xc000_0103;
const PRED_CMD: u32 = 0x49;

/// What the processor has of it, and how it behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Abilities {
    /// Components of XCR0 that are switched; 0 without XSAVE.
    pub(crate) components: u64,
    /// There is TSC_AUX.
    pub(crate) has_tsc_aux: bool,
    /// Loading a state leaves x87 error pointers of the last one in place.
    pub(crate) leaks_x87_pointers: bool,
    /// The control structure does not carry the registers of [`Kept`].
    pub(crate) keeps_registers: bool,
    /// There is a barrier that keeps one guest's branches from steering another's.
    pub(crate) has_prediction_barrier: bool,
}

/// A vcpu's extended state. What is in it is worth something only while no processor holds it.
pub(crate) struct Extended {
    area: Area,
    breakpoints: [u64; 4],
    kept: KeptRegisters,
    xcr0: u64,
    tsc_aux: u32,
}

/// A state that a processor and its vcpu share.
pub(crate) type Shared = Arc<Mutex<Extended>>;

impl Extended {
    /// The state after power-on, for processors of these abilities.
    ///
    /// # Errors
    /// When the heap has no room.
    pub(crate) fn new(abilities: &Abilities) -> Result<Shared, OutOfMemory> {
        Ok(Arc::new(Mutex::new(Self {
            area: Area::new(abilities.components)?,
            breakpoints: [0; 4],
            kept: KeptRegisters::INITIAL,
            xcr0: INITIAL_XCR0,
            tsc_aux: 0,
        })))
    }

    /// What a state takes of the machine.
    pub(crate) fn cost(extended: &Shared) -> Cost {
        // An `Arc` has two counters.
        let own = size_of::<Mutex<Self>>().saturating_add(2 * size_of::<usize>());
        Cost::heap(own.saturating_add(extended.lock().area.bytes()))
    }

    fn reset(&mut self) {
        self.area.reset();
        self.breakpoints = [0; 4];
        self.kept = KeptRegisters::INITIAL;
        self.xcr0 = INITIAL_XCR0;
        self.tsc_aux = 0;
    }
}

/// One processor's side.
pub(crate) struct Resident {
    abilities: Abilities,
    now: Option<Shared>,
}

impl Resident {
    /// A processor that holds nobody's state.
    pub(crate) const fn new(abilities: Abilities) -> Self {
        Self { abilities, now: None }
    }

    /// Whether it holds this state.
    fn holds(&self, extended: &Shared) -> bool {
        self.now.as_ref().is_some_and(|now| Arc::ptr_eq(now, extended))
    }

    /// Makes the processor hold this state; says whether it did not before.
    pub(crate) fn bring_in(&mut self, extended: &Shared) -> bool {
        if self.holds(extended) {
            return false;
        }
        if let Some(old) = self.now.take() {
            self.save(&mut old.lock());
        }
        self.load(&extended.lock());
        self.now = Some(Arc::clone(extended));
        true
    }

    /// The processor gives up what it holds of this state: another one may take it up.
    pub(crate) fn give_up(&mut self, extended: &Shared) {
        if self.holds(extended) {
            self.save(&mut extended.lock());
            self.now = None;
        }
    }

    /// The state is worth nothing any more: if the processor holds it, it need not be kept.
    pub(crate) fn forget(&mut self, extended: &Shared) {
        if self.holds(extended) {
            self.now = None;
        }
    }

    /// The state as after power-on.
    pub(crate) fn reset(&mut self, extended: &Shared) {
        self.forget(extended);
        extended.lock().reset();
    }

    /// XCR0 of the state.
    pub(crate) fn xcr0(&self, extended: &Shared) -> u64 {
        if self.abilities.components != 0 && self.holds(extended) {
            // Asked of the processor, since not every emulated one lets XSETBV exit.
            // SAFETY: components are there only with XSAVE, for which the host sets CR4.OSXSAVE.
            return unsafe { xcr0_read() }.bits() & self.abilities.components;
        }
        extended.lock().xcr0
    }

    /// Changes XCR0 of the state, to components that are switched.
    pub(crate) fn set_xcr0(&mut self, extended: &Shared, value: u64) {
        self.bring_in(extended);
        let value = value & self.abilities.components;
        extended.lock().xcr0 = value;
        if self.abilities.components != 0 {
            // SAFETY: the value consists of components that the processor has; the host itself uses none.
            unsafe { xcr0_write(Xcr0::from_bits_truncate(value)) };
        }
    }

    /// TSC_AUX of the state.
    pub(crate) fn tsc_aux(extended: &Shared) -> u32 {
        extended.lock().tsc_aux
    }

    /// Changes TSC_AUX of the state.
    pub(crate) fn set_tsc_aux(&mut self, extended: &Shared, value: u32) {
        self.bring_in(extended);
        extended.lock().tsc_aux = value;
        if self.abilities.has_tsc_aux {
            // SAFETY: the MSR exists, and the host does not use it.
            unsafe { wrmsr(TSC_AUX, u64::from(value)) };
        }
    }

    /// A register of the state that no control structure carries.
    pub(crate) fn kept(&self, extended: &Shared, register: Kept) -> u64 {
        if self.holds(extended) {
            // SAFETY: privilege level 0, and `holds` says that the value is this guest's.
            return unsafe { instructions::read_kept(register) };
        }
        extended.lock().kept.get(register)
    }

    /// Changes a register of the state that no control structure carries. The value is one that a processor takes.
    pub(crate) fn set_kept(&mut self, extended: &Shared, register: Kept, value: u64) {
        if self.holds(extended) {
            // SAFETY: privilege level 0; the host uses none of them, and the value has been checked for the guest.
            unsafe { instructions::write_kept(register, value) };
        } else {
            extended.lock().kept.set(register, value);
        }
    }

    /// Keeps branches that were made until now from steering those that come.
    pub(crate) fn prediction_barrier(&self) {
        if self.abilities.has_prediction_barrier {
            // SAFETY: the MSR exists and takes this bit.
            unsafe { wrmsr(PRED_CMD, 1) };
        }
    }

    fn save(&self, extended: &mut Extended) {
        // SAFETY: privilege level 0; the host has CR4.OSFXSR, CR4.OSXSAVE where there is XSAVE, and neither CR0.TS nor
        // CR0.EM (see `host::features`). The area was made for the components, since all processors have the same abilities;
        // all of them are enabled meanwhile, so that what the guest has hidden from itself is kept too.
        unsafe {
            extended.breakpoints = instructions::read_breakpoints();
            if self.abilities.keeps_registers {
                for register in Kept::ALL {
                    extended.kept.set(register, instructions::read_kept(register));
                }
            }
            if self.abilities.components == 0 {
                instructions::fxsave(&mut extended.area);
            } else {
                extended.xcr0 = xcr0_read().bits() & self.abilities.components;
                xcr0_write(Xcr0::from_bits_truncate(self.abilities.components));
                instructions::xsave(&mut extended.area);
            }
        }
    }

    fn load(&self, extended: &Extended) {
        self.prediction_barrier();
        // SAFETY: as in `save`; the area is an initial state or what `save` stored. The guest's XCR0 has been checked
        // against the components. The host's DR7 enables no breakpoint.
        unsafe {
            instructions::write_breakpoints(extended.breakpoints);
            if self.abilities.keeps_registers {
                for register in Kept::ALL {
                    instructions::write_kept(register, extended.kept.get(register));
                }
            }
            if self.abilities.leaks_x87_pointers {
                instructions::forget_x87_pointers();
            }
            if self.abilities.components == 0 {
                instructions::fxrstor(&extended.area);
            } else {
                xcr0_write(Xcr0::from_bits_truncate(self.abilities.components));
                instructions::xrstor(&extended.area);
                xcr0_write(Xcr0::from_bits_truncate(extended.xcr0));
            }
            if self.abilities.has_tsc_aux {
                wrmsr(TSC_AUX, u64::from(extended.tsc_aux));
            }
        }
    }
}
