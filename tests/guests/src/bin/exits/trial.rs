//! Pieces of code, run one at a time: copied to a page of their own, entered with known registers, and left by their end or
//! by an exception. [`log`] says what happened meanwhile.

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use xenvisor_guests::prelude::*;
use xenvisor_guests::raw;

use crate::log::{self, Event};

/// Where the code is copied to: the last bytes before it are on a page that is there as well.
pub const CODE: u64 = 24 << 20;
/// The code's stack, downwards from here.
pub const STACK: u64 = 25 << 20;
/// A page that the code may use.
pub const DATA: u64 = 26 << 20;
/// The page behind it is absent.
pub const EDGE: u64 = 28 << 20;
/// Where there is no memory, mapped.
pub const NOWHERE: u64 = 0xe000_0000;
/// The local APIC.
pub const APIC: u64 = 0xfee0_0000;

/// The code's end raises this.
const END: u8 = 0x50;
const DEBUG: u64 = 1;
const NMI: u64 = 2;
const BREAKPOINT: u64 = 3;
const PAGE_FAULT: u64 = 14;
const FLAGS: u64 = 2;
const TRAP_FLAG: u64 = 1 << 8;
const RESUME_FLAG: u64 = 1 << 16;
const KERNEL: [u64; 2] = [8, 0x10];
const USER: [u64; 2] = [0x2b, 0x23];

// Entries for the vectors below 0x60, each with an error code (the processor's, or 0) and the vector on the stack; then
// the general registers, so that the stack is a `Frame`. And the way in, by the same frame.
global_asm!(
    r#"
    .text
    .balign 16
walk_entries:
    .set vector, 0
    .rept 96
    .balign 16
    .if vector != 8 && (vector < 10 || vector > 14) && vector != 17
    pushq $0
    .endif
    pushq $vector
    jmp walk_event_entry
    .set vector, vector + 1
    .endr
walk_event_entry:
    pushq %r15
    pushq %r14
    pushq %r13
    pushq %r12
    pushq %r11
    pushq %r10
    pushq %r9
    pushq %r8
    pushq %rbp
    pushq %rdi
    pushq %rsi
    pushq %rdx
    pushq %rcx
    pushq %rbx
    pushq %rax
    movq %rsp, %rdi
    cld
    call walk_event
    testl %eax, %eax
    jz walk_resume
    movq walk_way_back, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret
walk_resume:
    popq %rax
    popq %rbx
    popq %rcx
    popq %rdx
    popq %rsi
    popq %rdi
    popq %rbp
    popq %r8
    popq %r9
    popq %r10
    popq %r11
    popq %r12
    popq %r13
    popq %r14
    popq %r15
    addq $16, %rsp
    iretq
walk_enter:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, walk_way_back
    movq %rdi, %rsp
    jmp walk_resume
    .bss
    .balign 16
walk_way_back: .skip 16
    .skip 16384
walk_stack:
    .skip 16384
walk_nmi_stack:
    .text
    "#,
    options(att_syntax)
);

unsafe extern "C" {
    static walk_entries: u8;
    static walk_stack: u8;
    static walk_nmi_stack: u8;
    fn walk_enter(frame: *const Frame);
}

/// A processor that was interrupted, or is to go on.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Frame {
    /// RAX.
    pub rax: u64,
    /// RBX.
    pub rbx: u64,
    /// RCX.
    pub rcx: u64,
    /// RDX.
    pub rdx: u64,
    /// RSI.
    pub rsi: u64,
    /// RDI.
    pub rdi: u64,
    /// RBP.
    pub rbp: u64,
    /// R8 to R15.
    pub r8_to_r15: [u64; 8],
    vector: u64,
    code: u64,
    /// RIP.
    pub rip: u64,
    cs: u64,
    /// RFLAGS.
    pub rflags: u64,
    rsp: u64,
    ss: u64,
}

struct Shared<T>(UnsafeCell<T>);

// SAFETY: one vcpu; handlers write while the code runs, everybody else reads afterwards.
unsafe impl<T> Sync for Shared<T> {}

static SEGMENTS: Shared<[u64; 8]> = Shared(UnsafeCell::new([0; 8]));
static TASK: Shared<[u32; 26]> = Shared(UnsafeCell::new([0; 26]));
static TABLE: Shared<[[u32; 4]; 96]> = Shared(UnsafeCell::new([[0; 4]; 96]));
static LAST: Shared<Frame> = Shared(UnsafeCell::new(Frame {
    rax: 0,
    rbx: 0,
    rcx: 0,
    rdx: 0,
    rsi: 0,
    rdi: 0,
    rbp: 0,
    r8_to_r15: [0; 8],
    vector: 0,
    code: 0,
    rip: 0,
    cs: 0,
    rflags: 0,
    rsp: 0,
    ss: 0,
}));
/// How many NMIs the handler still sends to itself.
static MORE_NMIS: AtomicU32 = AtomicU32::new(0);
/// How much longer than a `code!` a piece may be.
static LENGTH: AtomicU64 = AtomicU64::new(0);

/// An interrupt or exception. Whether the code is over.
#[unsafe(no_mangle)]
extern "C" fn walk_event(frame: &mut Frame) -> u32 {
    let vector = frame.vector;
    let over = match vector {
        DEBUG => {
            let dr6: u64;
            // SAFETY: reads it, and makes it what it is after reset.
            unsafe { asm!("mov {0}, dr6", "mov dr6, {1}", out(reg) dr6, in(reg) 0xffff_0ff0_u64) };
            note(frame, dr6);
            // Whether it was a breakpoint or a step: the instruction there is to be executed now.
            frame.rflags |= RESUME_FLAG;
            false
        }
        NMI => {
            note(frame, 0);
            if MORE_NMIS.load(Ordering::Relaxed) > 0 {
                MORE_NMIS.fetch_sub(1, Ordering::Relaxed);
                send_nmi();
            }
            false
        }
        BREAKPOINT => note(frame, 0),
        0x20..=0x4f => {
            note(frame, 0);
            write_apic(0xb0, 0);
            false
        }
        _ if vector == u64::from(END) => true,
        PAGE_FAULT => {
            let cr2: u64;
            // SAFETY: reading changes nothing.
            unsafe { asm!("mov {0}, cr2", out(reg) cr2) };
            note(frame, cr2);
            true
        }
        _ => {
            note(frame, 0);
            true
        }
    };
    let over = over || log::count_of(DEBUG) > 20;
    if over {
        // SAFETY: see `Shared`.
        unsafe { LAST.0.get().write(*frame) };
    }
    u32::from(over)
}

fn note(frame: &Frame, word: u64) -> bool {
    !log::push(Event {
        vector: frame.vector,
        code: frame.code,
        at: frame.rip.wrapping_sub(CODE),
        word,
    })
}

/// Writes a register of the local APIC.
pub fn write_apic(register: u64, value: u32) {
    // SAFETY: the local APIC is there, mapped to itself.
    unsafe { core::ptr::with_exposed_provenance_mut::<u32>((APIC + register) as usize).write_volatile(value) }
}

/// Sends an NMI to this processor.
fn send_nmi() {
    // SAFETY: as in `write_apic`.
    let id = unsafe { core::ptr::with_exposed_provenance::<u32>((APIC + 0x20) as usize).read_volatile() };
    write_apic(0x310, id);
    write_apic(0x300, 0x400);
}

/// A piece of machine code.
#[derive(Clone, Copy)]
pub struct Code {
    start: usize,
    end: usize,
}

impl Code {
    /// The code between two addresses.
    pub const fn new(start: usize, end: usize) -> Code {
        Code { start, end }
    }

    fn length(self) -> u64 {
        (self.end - self.start) as u64
    }
}

/// The code that these lines of assembly make.
#[macro_export]
macro_rules! code {
    ($($line:literal),+ $(,)?) => {{
        let (start, end): (usize, usize);
        // SAFETY: jumps over the code, which others execute where it was copied to.
        unsafe {
            core::arch::asm!("lea {0}, [rip + 77f]", "lea {1}, [rip + 78f]", "jmp 78f", "77:", $($line,)+ "78:",
                out(reg) start, out(reg) end, options(nomem, nostack, preserves_flags));
        }
        $crate::trial::Code::new(start, end)
    }};
}

/// The guest, and how the next piece of code is run.
pub struct Walk<'a> {
    guest: &'a mut Guest,
    /// What the registers are at first.
    pub registers: Frame,
}

/// Registers that a piece of code begins with.
fn usual() -> Frame {
    Frame {
        rsp: STACK - 0x100,
        rflags: FLAGS,
        ..Frame::default()
    }
}

impl<'a> Walk<'a> {
    /// Prepares everything.
    pub fn begin(guest: &'a mut Guest) -> Walk<'a> {
        load_segments();
        load_table();
        open_pages();
        write_apic(0xf0, 0x1ff);
        Walk {
            guest,
            registers: usual(),
        }
    }

    /// Says a line.
    pub fn say(&mut self, line: fmt::Arguments<'_>) {
        self.guest.say(line);
    }

    /// What `key=` says on the command line.
    pub fn word(&self, key: &str) -> Option<&'static str> {
        self.guest.word(key)
    }

    /// The guest itself.
    pub fn guest(&mut self) -> &mut Guest {
        self.guest
    }

    /// The next piece of code begins with what `set` makes of the registers.
    pub fn with(&mut self, set: impl FnOnce(&mut Frame)) -> &mut Walk<'a> {
        set(&mut self.registers);
        self
    }

    /// The handler of the next NMI sends another one.
    pub fn nmis(&mut self, more: u32) -> &mut Walk<'a> {
        MORE_NMIS.store(more, Ordering::Relaxed);
        self
    }

    /// Runs the code alone.
    pub fn alone(&mut self, name: &str, code: Code) {
        self.run(name, "", code, KERNEL, 0);
        self.registers = usual();
    }

    /// Runs the code at privilege level 3.
    pub fn outside(&mut self, name: &str, code: Code) {
        self.run(name, ", level 3", code, USER, 0);
        self.registers = usual();
    }

    /// Runs the code alone, and with a debug exception behind each instruction.
    pub fn steps(&mut self, name: &str, code: Code) {
        self.run(name, "", code, KERNEL, 0);
        self.run(name, ", in steps", code, KERNEL, TRAP_FLAG);
        self.registers = usual();
    }

    /// Runs the code in steps, and at level 3.
    pub fn everywhere(&mut self, name: &str, code: Code) {
        self.run(name, "", code, KERNEL, 0);
        self.run(name, ", in steps", code, KERNEL, TRAP_FLAG);
        self.outside(name, code);
    }

    /// What the registers were when the last piece of code was over.
    pub fn last(&self) -> Frame {
        // SAFETY: see `Shared`.
        unsafe { LAST.0.get().read() }
    }

    fn run(&mut self, name: &str, how: &str, code: Code, [cs, ss]: [u64; 2], flags: u64) {
        self.execute(code, [cs, ss], flags);
        let story = Story {
            begun: &self.registers,
            ended: &self.last(),
        };
        self.guest.say(format_args!("{name}{how}: {story}"));
    }

    /// Runs the code at level 0 and says nothing.
    pub fn silently(&mut self, code: Code) {
        self.execute(code, KERNEL, 0);
        self.registers = usual();
    }

    fn execute(&mut self, code: Code, [cs, ss]: [u64; 2], flags: u64) {
        place(code);
        log::clear();
        LENGTH.store(code.length(), Ordering::Relaxed);
        let mut frame = self.registers;
        (frame.rip, frame.cs, frame.ss) = (CODE, cs, ss);
        frame.rflags |= flags;
        // SAFETY: it comes back by the code's end or by an exception, on the stack as it was; the code is of this program.
        unsafe { walk_enter(&frame) }
    }
}

/// Copies the code to its page, with the interrupt behind it that ends it.
fn place(code: Code) {
    let mut at = CODE;
    for from in code.start..code.end {
        let mut byte = [0];
        raw::read(from as u64, &mut byte);
        raw::write(at, &byte);
        at += 1;
    }
    raw::write(at, &[0xcd, END]);
}

fn load_segments() {
    let task = TASK.0.get().expose_provenance() as u64;
    let stack = (&raw const walk_stack).expose_provenance() as u64;
    // None, code, data, 32-bit code, user data, user code, task.
    let segments = [
        0,
        0x00af_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0x00cf_9b00_0000_ffff,
        0x00cf_f300_0000_ffff,
        0x00af_fb00_0000_ffff,
        0x0000_8900_0000_0067 | (task & 0xff_ffff) << 16 | (task >> 24 & 0xff) << 56,
        task >> 32,
    ];
    let mut words = [0; 26];
    let nmi_stack = (&raw const walk_nmi_stack).expose_provenance() as u64;
    // The stack of level 0, and two of the seven for the interrupt table's entries.
    for (place, stack) in [(1, stack), (9, stack), (11, nmi_stack)] {
        (words[place], words[place + 1]) = (stack as u32, (stack >> 32) as u32);
    }
    // No bitmap of ports: it would begin behind the limit.
    words[25] = 0x68 << 16;
    // SAFETY: before anything runs that could read them; the first three are those that the guest runs with.
    unsafe {
        SEGMENTS.0.get().write(segments);
        TASK.0.get().write(words);
        load("lgdt", SEGMENTS.0.get().expose_provenance(), 64);
        asm!("ltr {0:x}", in(reg) 0x30);
    }
}

/// Loads a descriptor table register.
///
/// # Safety
/// The table is good for as long as the guest is.
unsafe fn load(which: &str, base: usize, bytes: usize) {
    #[repr(C, packed)]
    struct Pointer {
        limit: u16,
        base: usize,
    }
    let pointer = Pointer {
        limit: (bytes - 1) as u16,
        base,
    };
    // SAFETY: as the caller says.
    unsafe {
        match which {
            "lgdt" => asm!("lgdt [{}]", in(reg) &pointer, options(nostack)),
            _ => asm!("lidt [{}]", in(reg) &pointer, options(nostack)),
        }
    }
}

fn load_table() {
    let entries = (&raw const walk_entries).expose_provenance();
    let mut table = [[0; 4]; 96];
    for (vector, gate) in table.iter_mut().enumerate() {
        let at = (entries + vector * 16) as u64;
        // #BP and the code's end are for everybody. An NMI may come while another handler runs.
        let stack = if vector as u64 == NMI { 2 } else { 1 };
        let level = if matches!(vector, 3) || vector == usize::from(END) {
            3
        } else {
            0
        };
        *gate = [
            (at as u32 & 0xffff) | 8 << 16,
            (at as u32 & 0xffff_0000) | 0x8e00 | stack | level << 13,
            (at >> 32) as u32,
            0,
        ];
    }
    // SAFETY: as in `load_segments`.
    unsafe {
        TABLE.0.get().write(table);
        load("lidt", TABLE.0.get().expose_provenance(), size_of_val(&table));
    }
}

/// Opens the pages of code, stack and data to level 3, and takes away the one behind [`EDGE`].
fn open_pages() {
    const USER_PAGE: u64 = 4;
    let cr3: u64;
    // SAFETY: reading changes nothing.
    unsafe { asm!("mov {0}, cr3", out(reg) cr3) };
    let change = |at: u64, change: &dyn Fn(u64) -> u64| {
        let mut entry = [0; 8];
        raw::read(at, &mut entry);
        let entry = u64::from_le_bytes(entry);
        raw::write(at, &change(entry).to_le_bytes());
        entry & 0x000f_ffff_ffff_f000
    };
    let open = |entry| entry | USER_PAGE;
    let pointers = change(cr3 & !0xfff, &open);
    let directory = change(pointers, &open);
    for page in 12..15 {
        change(directory + page * 8, &open);
    }
    change(directory + (EDGE >> 21) * 8, &|_| 0);
    // SAFETY: has the processor forget what it knew of the tables.
    unsafe { asm!("mov cr3, {0}", in(reg) cr3) };
}

/// What happened to a piece of code, as a line says it.
struct Story<'a> {
    begun: &'a Frame,
    ended: &'a Frame,
}

impl fmt::Display for Story<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in log::events() {
            write!(out, "{event}, ")?;
        }
        if self.ended.vector == u64::from(END) {
            let at = self.ended.rip.wrapping_sub(CODE).wrapping_sub(2);
            match at == LENGTH.load(Ordering::Relaxed) {
                true => out.write_str("done")?,
                false => write!(out, "done elsewhere, at +{at}")?,
            }
        } else {
            out.write_str("over")?;
        }
        let registers = |frame: &Frame| {
            let Frame {
                rax,
                rbx,
                rcx,
                rdx,
                rsi,
                rdi,
                rbp,
                r8_to_r15: [r8, r9, ..],
                ..
            } = *frame;
            [rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9]
        };
        let names = ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9"];
        let (begun, ended) = (registers(self.begun), registers(self.ended));
        for (name, (begun, ended)) in names.iter().zip(begun.iter().zip(ended)) {
            if *begun != ended {
                write!(out, " {name}={ended:#x}")?;
            }
        }
        Ok(())
    }
}
